"""One models folder, one trainer."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from tc_common.errors import UserError
from tc_common.files import write_json

# Loader processes outlive a killed trainer for a few seconds, and hold its lock until they notice.
SECONDS_TO_WAIT_FOR_A_DEAD_OWNER = 15.0


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Hold the folder until the block ends; the operating system frees it if the process dies in between.

    Raises:
        UserError: another trainer holds it (named by pid, host and start), or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".trainer.lock")
        _acquire(lock, folder)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}; pick another --models-dir") from error
    try:
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "start": datetime.now(timezone.utc).isoformat()}
        write_json(folder / ".trainer.json", owner)
        yield
    finally:
        (folder / ".trainer.json").unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, folder: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_WAIT_FOR_A_DEAD_OWNER
    while True:
        try:
            lock.acquire(timeout=0)
            return
        except Timeout:
            owner = _owner(folder)
            if not _is_dead(owner) or time.monotonic() > deadline:
                raise UserError(_refusal(folder, owner)) from None
            time.sleep(0.5)


def _owner(folder: Path) -> dict[str, object]:
    """Who says to hold the folder; empty in the instant between taking the lock and signing it."""
    try:
        owner = json.loads((folder / ".trainer.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_dead(owner: dict[str, object]) -> bool:
    """Whether the owner ran on this host and runs no more."""
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _refusal(folder: Path, owner: dict[str, object]) -> str:
    who = f"pid {owner['pid']} on {owner['host']} since {owner['start']}" if len(owner) == 3 else "another process"
    return f"{folder} is in use by a trainer ({who}); wait for it, stop it, or pick another --models-dir"

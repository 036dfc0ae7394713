"""One models folder, one trainer."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tc_common.errors import UserError
from tc_common.files import write_json

STATUS_FILE = ".trainer.json"
# Between taking the lock and signing it an owner has no name yet, or that of its dead predecessor.
SECONDS_TO_WAIT_FOR_A_NAME = 2.0


@dataclass
class Owner:
    """The trainer that holds a folder, and the note beside the lock in which it says who it is and how far it is."""

    folder: Path
    start: str

    def tell(self, **facts: Any) -> None:
        """Renew the note: pid, host and start, and whatever a watcher may want to know."""
        who = {"pid": os.getpid(), "host": socket.gethostname(), "start": self.start}
        write_json(self.folder / STATUS_FILE, {**who, **facts})


@contextmanager
def lock_folder(folder: Path, flag: str = "--models-dir") -> Iterator[Owner]:
    """Hold the folder until the block ends; the operating system frees it if the process dies in between.

    Args:
        flag: the one that names the folder, for the complaints.

    Raises:
        UserError: another trainer holds it (named by pid, host and start), or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".trainer.lock")
        _acquire(lock, folder, flag)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}; pick another {flag}") from error
    try:
        owner = Owner(folder, datetime.now(timezone.utc).isoformat(timespec="seconds"))
        owner.tell()
        yield owner
    finally:
        (folder / STATUS_FILE).unlink(missing_ok=True)
        lock.release()


def read_owner(folder: Path) -> dict[str, Any]:
    """Who says to hold the folder, and how far it is; empty where nobody does."""
    try:
        owner = json.loads((folder / STATUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _acquire(lock: FileLock, folder: Path, flag: str) -> None:
    started = time.monotonic()
    while True:
        try:
            lock.acquire(timeout=0)
            return
        except Timeout:
            owner, waited = read_owner(folder), time.monotonic() - started
            unnamed = not owner or _is_dead(owner)
            if not unnamed or waited > SECONDS_TO_WAIT_FOR_A_NAME:
                raise UserError(_refusal(folder, owner, flag)) from None
            time.sleep(0.1)


def _is_dead(owner: dict[str, Any]) -> bool:
    """Whether the owner ran on this host and runs no more."""
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _refusal(folder: Path, owner: dict[str, Any], flag: str) -> str:
    named = all(key in owner for key in ("pid", "host", "start"))
    who = f"pid {owner['pid']} on {owner['host']} since {owner['start']}" if named else "which has not signed yet"
    return f"{folder} is in use by a trainer ({who}); wait for it, stop it, or pick another {flag}"

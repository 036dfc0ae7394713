"""Output-folder lock: one run a models folder and a model name in a results folder, with a status file."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from tc_common.errors import UserError
from tc_common.files import read_json, write_json

STATUS_FILE = ".trainer.json"
# A trainer takes the lock first and writes its status then; in between there is none, or that of a dead one.
SECONDS_TO_WAIT_FOR_STATUS = 2.0


@dataclass
class FolderLock:
    """The lock that this process holds, and the status file that it renews for whoever watches."""

    status_file: Path
    start: str

    def write_status(self, **metadata: Any) -> None:
        """Replace the status: pid, host and start, and the `metadata`."""
        who = {"pid": os.getpid(), "host": socket.gethostname(), "start": self.start}
        write_json(self.status_file, {**who, **metadata})


@contextmanager
def lock_folder(folder: Path, flag: str = "--models-dir", name: str = "") -> Iterator[FolderLock]:
    """Hold the folder until the block ends; the operating system frees it if the process dies in between.

    Args:
        flag: the one that names the folder, for error messages.
        name: hold only the files of this name in it; models of other names may be written at the same time.

    Raises:
        UserError: another run holds it (named by pid, host and start), or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _prefixed(name, ".trainer.lock"))
        _acquire(lock, folder, flag, name)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}; pick another {flag}") from error
    try:
        held = FolderLock(folder / _prefixed(name, STATUS_FILE), datetime.now(UTC).isoformat(timespec="seconds"))
        held.write_status()
        yield held
    finally:
        (folder / _prefixed(name, STATUS_FILE)).unlink(missing_ok=True)
        lock.release()


def _prefixed(name: str, file: str) -> str:
    return f".{name}{file}" if name else file


def read_status(folder: Path, name: str = "") -> dict[str, Any]:
    """Status of the trainer that holds the folder, or a name in it; empty where there is none that can be read."""
    try:
        return read_json(folder / _prefixed(name, STATUS_FILE))
    except UserError:
        return {}


def _acquire(lock: FileLock, folder: Path, flag: str, name: str) -> None:
    started = time.monotonic()
    while True:
        try:
            lock.acquire(timeout=0)
            return
        except Timeout:
            status, waited = read_status(folder, name), time.monotonic() - started
            unknown = not status or _is_dead(status)
            if not unknown or waited > SECONDS_TO_WAIT_FOR_STATUS:
                held = f"{name} in {folder}" if name else str(folder)
                raise UserError(_refusal(held, status, flag)) from None
            time.sleep(0.1)


def _is_dead(status: dict[str, Any]) -> bool:
    """Whether the trainer ran on this host and runs no more."""
    pid = status.get("pid")
    here = status.get("host") == socket.gethostname() and isinstance(pid, int) and 0 < pid < 1 << 31
    return here and not psutil.pid_exists(pid)


def _refusal(held: str, status: dict[str, Any], flag: str) -> str:
    named = all(key in status for key in ("pid", "host", "start"))
    who = f"pid {status['pid']} on {status['host']} since {status['start']}" if named else "which has no status yet"
    return f"{held} is in use by another run ({who}); wait for it, stop it, or pick another {flag}"

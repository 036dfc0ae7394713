"""Processes that the monitor starts: the training, the only one it signals, and what keeps the computer awake."""

import os
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import psutil

from monitor.commands import Command
from tc_common.errors import UserError

REMEMBERED_LINES = 40


class Child:
    """A training in a session of its own, so that Ctrl-C at the terminal reaches the monitor alone.

    Args:
        echo: where its lines go as they come; None keeps them for the screen.

    Raises:
        UserError: there is no such program.
    """

    def __init__(self, command: Command, echo: TextIO | None) -> None:
        self.lines: deque[str] = deque(maxlen=REMEMBERED_LINES)
        try:
            self.process = subprocess.Popen(
                command.words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        except OSError as error:
            raise UserError(f"cannot start {command.words[0]}: {error.strerror}; name a program behind --") from error
        self.reader = threading.Thread(target=self._read, args=(echo,), daemon=True)
        self.reader.start()

    @property
    def pid(self) -> int:
        """Process id, also that of its session."""
        return self.process.pid

    def returncode(self, seconds: float = 0.0) -> int | None:
        """Exit status (negative: killed by that signal) once it has ended; waits up to `seconds` for that."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self.reader.join(timeout=5)
        return status

    def stop(self, seconds: float) -> int:
        """Ask it to save and leave; after `seconds`, kill it and its loaders. Returns its exit status."""
        family = self._family()
        self.process.send_signal(signal.SIGTERM)
        status = self.returncode(seconds)
        if status is None:
            self.process.kill()
            status = self.process.wait()
        for process in family:  # psutil knows a process by pid and start, so a recycled pid is safe
            if process.is_running():
                process.kill()
        return status

    def _family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _read(self, echo: TextIO | None) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if echo is not None:
                print(line, end="", file=echo, flush=True)


# Both end by themselves when the monitor ends, however it ends.
HELPERS = {
    "caffeinate": ("-i", "-w", "{pid}"),
    "systemd-inhibit": (
        "--what=sleep:idle", "--who=SuperVision", "--why=a training runs", "--mode=block",
        "tail", "--pid={pid}", "-f", "/dev/null",
    ),
}  # fmt: skip
SECONDS_TO_REFUSE = 0.5


@contextmanager
def awake(wanted: bool = True) -> Iterator[str]:
    """Hold the computer awake inside the block; gives what holds it, or why nothing does."""
    if not wanted:
        yield "the computer may sleep: --no-keep-awake"
        return
    helper = next((name for name in HELPERS if shutil.which(name)), None)
    if helper is None:
        yield f"the computer may sleep: it has no {' nor '.join(HELPERS)}"
        return
    words = [helper, *(word.format(pid=os.getpid()) for word in HELPERS[helper])]
    holder = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield _outcome(helper, holder)
    finally:
        if holder.poll() is None:
            holder.terminate()
        holder.communicate()


def _outcome(helper: str, holder: "subprocess.Popen[bytes]") -> str:
    try:
        holder.wait(SECONDS_TO_REFUSE)
    except subprocess.TimeoutExpired:
        return f"{helper} keeps the computer awake"
    assert holder.stderr is not None
    return f"the computer may sleep: {helper} said {holder.stderr.read().decode(errors='replace').strip()[:200]!r}"

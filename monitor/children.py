"""A training that the monitor started itself: the only process it ever signals."""

import os
import signal
import subprocess
import threading
from collections import deque
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
        for member in family:  # psutil knows a process by pid and start, so a recycled pid is safe
            if member.is_running():
                member.kill()
        return status

    def _family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _read(self, echo: TextIO | None) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.append(line.rstrip())
                if echo is not None:
                    print(line, end="", file=echo, flush=True)

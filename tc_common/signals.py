"""Ctrl-C and SIGTERM as a wish that the training loop reads, so that it can save before it goes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SECONDS_TO_OUTLIVE = 8


class Stopped(SystemExit):
    """The run leaves because a signal asked it to; exit status 128 + its number, as a shell expects."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class StopRequest:
    """Remembers the first signal that asked the run to stop; `number` is 0 until then."""

    number: int = 0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Signal handler."""
        self.number = self.number or number


@contextmanager
def graceful_shutdown() -> Iterator[StopRequest]:
    """Inside the block SIGINT and SIGTERM are noted instead of obeyed; whoever reads the wish raises `Stopped`."""
    wish = StopRequest()
    before = {number: signal.signal(number, wish.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def leave_on_signals() -> Iterator[None]:
    """Inside the block SIGINT and SIGTERM raise `Stopped` at once, where nothing needs to be saved first."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals_in_worker(worker: int) -> None:
    """Start-up of a loader process: a signal to the whole process group must not take the trainer's samples away
    before it has saved; the trainer ends its loaders itself, and one that it forgot ends after some seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _end_soon)


def _end_soon(number: int, frame: FrameType | None) -> None:
    signal.alarm(SECONDS_TO_OUTLIVE)

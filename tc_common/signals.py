"""Graceful shutdown: SIGINT and SIGTERM set a flag; the training loop saves a checkpoint and exits."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SECONDS_UNTIL_WORKERS_END = 8


class Stopped(SystemExit):
    """The run ends because of a signal; exit status 128 + its number, as a shell expects."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class StopRequest:
    """Keeps the first signal that asked the run to stop; `number` is 0 until then."""

    number: int = 0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Signal handler."""
        self.number = self.number or number


@contextmanager
def graceful_shutdown() -> Iterator[StopRequest]:
    """Inside the block SIGINT and SIGTERM are only recorded; whoever reads the request raises `Stopped`."""
    stop = StopRequest()
    with _handled_by(stop.note):
        yield stop


@contextmanager
def leave_on_signals() -> Iterator[None]:
    """Inside the block SIGINT and SIGTERM raise `Stopped` at once, where nothing needs to be saved first."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with _handled_by(leave):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


ENDING = {signal.SIGINT, signal.SIGTERM}


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Inside the block SIGINT and SIGTERM wait, also for processes that are started in it.

    A loader process would die of one before `ignore_signals_in_worker` has run, and torch make an error of that.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals_in_worker(worker: int) -> None:
    """Start-up of a loader process: a signal to the whole process group must not end it before the trainer has saved.

    The trainer ends its workers itself; one that it forgot ends some seconds after SIGTERM.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _end_soon)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # see `signals_held_back`


def _end_soon(number: int, frame: FrameType | None) -> None:
    signal.alarm(SECONDS_UNTIL_WORKERS_END)

"""Ctrl-C and SIGTERM as a wish that the training loop reads, so that it can save before it goes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Remembers the first signal that asked the run to stop; `number` is None until then."""

    number: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Signal handler."""
        self.number = self.number or number


@contextmanager
def heed_signals() -> Iterator[Interruption]:
    """Inside the block SIGINT and SIGTERM are noted instead of obeyed; a process leaves with 128 + their number."""
    wish = Interruption()
    before = {number: signal.signal(number, wish.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

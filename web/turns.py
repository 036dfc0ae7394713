"""One computation at a time, a queue of eight; a request beyond it gets status 429 with Retry-After."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")
MOST_WAITING = 8
FIRST_GUESS_S = 1.0
SMOOTHING = 0.2


class BusyError(Exception):
    """No place left.

    Args:
        retry_after_s: whole seconds after which one is likely.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"the queue is full; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Turns:
    """The queue: a place for each request that is being answered, and one thread that computes in order of arrival.

    The thread is the only one that touches the models and the reader's worker. All other methods are the event loop's.
    """

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._places, self._taken = 1 + most_waiting, 0
        self._seconds = FIRST_GUESS_S
        self._thread = ThreadPoolExecutor(1, "compute")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            BusyError: all are taken.
        """
        if self._taken >= self._places:
            raise BusyError(max(1, math.ceil(self._seconds * self._taken)))
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def work(self, function: Callable[[], Result]) -> Result:
        """Result of a function, computed in turn; cancelled before its turn it never runs."""
        return await asyncio.wrap_future(self._thread.submit(self._timed, function))

    def _timed(self, function: Callable[[], Result]) -> Result:
        started_s = time.monotonic()
        try:
            return function()
        finally:
            self._seconds += SMOOTHING * (time.monotonic() - started_s - self._seconds)

    def close(self) -> None:
        """Let the running computation end, drop the waiting ones."""
        self._thread.shutdown(cancel_futures=True)

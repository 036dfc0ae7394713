"""One crystal of a screening's input: its name and its content, read under a time limit."""

import io
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from pymatgen.core import Structure

from tc_common.crystals import CrystalError, checked_structure, parse_crystal, read_crystal
from tc_common.formats import load

# 3DSC's slowest file takes 0.05 s, the largest crystal that the reader lets through about 2 s.
TIME_LIMIT_S = 10.0


@dataclass(frozen=True)
class Item:
    """A crystal that is not read yet."""

    name: str
    content: bytes | Path
    """Text of a CIF, POSCAR, extended XYZ or pymatgen JSON, or a file of one; empty where `error` says why."""
    error: str = ""
    """Why there is nothing to read."""


def read_item(item: Item) -> Structure:
    """The crystal, checked as every other (`tc_common.crystals`).

    Raises:
        CrystalError: it cannot be read, or not within `TIME_LIMIT_S`.
    """
    if item.error:
        raise CrystalError(item.error)
    with time_limit(TIME_LIMIT_S):
        if isinstance(item.content, Path):
            return _of_file(item.content)
        found = load("", io.BytesIO(item.content), len(item.content))
        return parse_crystal(found) if isinstance(found, str) else checked_structure(found)


def _of_file(path: Path) -> Structure:
    try:
        return read_crystal(path)
    except CrystalError as error:
        raise CrystalError(str(error).removeprefix(f"{path}: ")) from error  # the row has the name already


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what takes longer with a CrystalError; only in a main thread, which alone gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise CrystalError(f"not read within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

"""Rows as lines on the terminal and as lines of a table."""

import csv
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prediction.stream import Row
from tc_common.files import atomic_write, table_text

COLUMNS = tuple(field.name for field in fields(Row))
DIGITS = 4


def header() -> str:
    """Names and units of what `line` prints."""
    return f"{'Tc (K)':>8}  {'90 % interval (K)':>19}  {'formula':<28}  file"


def line(row: Row) -> str:
    """One row as text, its warnings on lines of their own."""
    if row.error:
        return f"{'-':>8}  {'-':>19}  {row.formula or '-':<28}  {row.file}\n{'':10}error: {row.error}"
    interval = "-" if row.tc_lower_K is None else f"{row.tc_lower_K:.2f} to {row.tc_upper_K:.2f}"
    text = f"{row.tc_K:8.2f}  {interval:>19}  {row.formula:<28}  {row.file}"
    return text + "".join(f"\n{'':10}warning: {warning}" for warning in row.warning.split("; ") if warning)


def say(text: str) -> None:
    """Print at once, above a progress bar if there is one; a reader who has left (`| head`) ends the program."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        tqdm.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it closes stdout
        raise SystemExit(1) from None


@contextmanager
def table(path: Path | None) -> Iterator[Callable[[Row], None]]:
    """Give a function that writes one row to a CSV, a temporary file that is renamed when all are there.

    Args:
        path: the table; with None nothing is written.

    Raises:
        UserError: it cannot be written.
    """
    if path is None:
        yield lambda row: None
        return
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)

        def write(row: Row) -> None:
            writer.writerow([_cell(value) for value in astuple(row)])
            stream.flush()

        yield write


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.{DIGITS}f}" if isinstance(value, float) else table_text(value)

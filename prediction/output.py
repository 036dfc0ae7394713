"""Predictions as lines on the terminal, as JSON and as rows of a table; a doping series as a table and a picture."""

import csv
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tqdm import tqdm

from prediction.prediction import Failure, Prediction, interval, known_text, short
from tc_common.errors import UserError
from tc_common.files import atomic_write, plain, table_text
from tc_common.signals import Stopped, signals_held_back

if TYPE_CHECKING:
    from prediction.doping import DopingSeries

Found: TypeAlias = Prediction | Failure
Write: TypeAlias = Callable[[Found], None]
DIGITS = 4
INDENT = " " * 9
NEAREST = 3
SAME_FRACTION = 0.002
PICTURES = (".png", ".svg", ".pdf")
KNOWN = ("formula", "tc_K", "lowest_K", "highest_K", "entries", "source")


# ---- terminal ----------------------------------------------------------------------------------------------------


def width() -> int | None:
    """Columns of the terminal; None where the output goes to a file or a pipe, which cuts nothing."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def header() -> str:
    """Names and units of what `line` prints."""
    return f"{'Tc (K)':>7}  {'90 % interval':>14}  {'formula':<24}  file"


def line(found: Found, columns: int | None = None) -> str:
    """One crystal as text: its prediction, below it what was measured, the nearest known compounds and warnings.

    Args:
        columns: of the terminal; names of files are shortened and lines broken to fit.
    """
    if isinstance(found, Failure):
        tc, bounds, notes = "-", "-", [f"error: {found.error}"]
    else:
        tc, bounds, notes = f"{found.tc_K:.1f}", interval(found), _notes(found)
    first = f"{tc:>7}  {bounds:>14}  {found.formula or '-':<24}  "
    name = found.name if columns is None else shortened(found.name, max(columns - len(first), 12))
    return "\n".join([first + name, *(_wrapped(note, columns) for note in notes)])


def _notes(prediction: Prediction) -> list[str]:
    known = [f"measured: {known_text(prediction.known)}"] if prediction.known else []
    nearest = [f"nearest: {', '.join(map(short, prediction.nearest))}"] if prediction.nearest else []
    warnings = [f"warning: {text}" for text in prediction.warnings]
    return [*known, *nearest, *warnings, *(f"remark: {text}" for text in prediction.remarks)]


def _wrapped(text: str, columns: int | None) -> str:
    if columns is None:
        return INDENT + text
    return textwrap.fill(text, max(columns, 30), initial_indent=INDENT, subsequent_indent=INDENT + "  ")


def shortened(name: str, most: int) -> str:
    """A name of at most so many characters, its middle left out."""
    if len(name) <= most:
        return name
    end = (most - 1) * 2 // 3  # of a path the end says more
    return f"{name[: most - 1 - end]}…{name[-end:]}"


def say(text: str) -> None:
    """Print at once, above a progress bar if there is one; a reader who has left (`| head`) ends the program."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        tqdm.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it closes stdout
        raise SystemExit(1) from None


def as_json(found: "Found | DopingSeries") -> str:
    """One object on one line."""
    return json.dumps(plain(found.to_dict()), ensure_ascii=False, allow_nan=False)


# ---- table -------------------------------------------------------------------------------------------------------


def columns_of(members: Sequence[str]) -> list[str]:
    """Columns of the table of predictions by a predictor with these members."""
    return [
        "name", "formula", "tc_K", "lower_K", "upper_K", *(f"{member}_tc_K" for member in members),
        *(f"known_{field}" for field in KNOWN),
        *(f"nearest_{n}_{field}" for n in range(1, NEAREST + 1) for field in ("formula", "tc_K", "distance")),
        "warnings", "remarks", "error",
    ]  # fmt: skip


def cells(found: Found) -> dict[str, Any]:
    """Values of the columns that are known, by name."""
    if isinstance(found, Failure):
        return {"name": found.name, "formula": found.formula, "error": found.error}
    row: dict[str, Any] = {name: getattr(found, name) for name in ("name", "formula", "tc_K", "lower_K", "upper_K")}
    row |= {f"{member.name}_tc_K": member.tc_K for member in found.members}
    if found.known:
        row |= {f"known_{field}": getattr(found.known, field) for field in KNOWN}
    for number, near in enumerate(found.nearest, start=1):
        row |= {f"nearest_{number}_{field}": getattr(near, field) for field in ("formula", "tc_K", "distance")}
    return row | {"warnings": "; ".join(found.warnings), "remarks": "; ".join(found.remarks)}


@contextmanager
def table(path: Path | None, members: Sequence[str]) -> Iterator[Write]:
    """Give a function that writes one prediction to a CSV, a temporary file that is renamed at the end.

    SIGTERM and Ctrl-C end the table, not only the program: what is renamed holds the rows that were finished. Any
    other error leaves no table.

    Args:
        path: the table; with None nothing is written.

    Raises:
        UserError: it cannot be written.
    """
    if path is None:
        yield lambda found: None
        return
    stopped, rows = None, 0
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns_of(members), restval="", lineterminator="\n")
        writer.writeheader()

        def write(found: Found) -> None:
            nonlocal rows
            with signals_held_back():  # or a signal could cut the row
                writer.writerow({name: _cell(value) for name, value in cells(found).items()})
                stream.flush()
                rows += 1

        try:
            yield write
        except (Stopped, KeyboardInterrupt) as signal:
            stopped = signal
    if stopped is not None:
        print(f"stopped; {path} holds the {rows} rows finished before", file=sys.stderr)
        raise stopped


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.{DIGITS}f}" if isinstance(value, float) else table_text(value)


# ---- doping series -----------------------------------------------------------------------------------------------


def series_lines(series: "DopingSeries") -> Iterable[str]:
    """A doping series as text: a row for every fraction, then what was measured along it and the warnings."""
    yield f"{'fraction':>8}  {'Tc (K)':>7}  {'90 % interval':>14}  formula"
    for fraction, each in zip(series.fractions, series.predictions, strict=True):
        known = f"  (measured {each.known.tc_K:g} K)" if each.known else ""
        yield f"{fraction:8.4g}  {each.tc_K:7.1f}  {interval(each):>14}  {each.formula}{known}"
    if inside := within(series):
        fraction, tc_K, formula = max(inside, key=lambda each: each[1])
        yield f"measured: {len(inside)} compounds, the highest {tc_K:g} K at {fraction:.4g} ({formula})"
    texts = [text for each in series.predictions for text in each.warnings]
    for text in dict.fromkeys(texts):
        yield f"warning ({texts.count(text)} of {len(series.fractions)}): {text}"


def within(series: "DopingSeries") -> list[tuple[float, float, str]]:
    """What was measured between the least and the largest fraction of the series."""
    first, last = min(series.fractions) - SAME_FRACTION, max(series.fractions) + SAME_FRACTION
    return [each for each in series.measured if first <= each[0] <= last]


def write_series(path: Path, series: "DopingSeries") -> None:
    """Write the table of a series as CSV."""
    from tc_common.files import write_csv

    write_csv(path, series.table().round(DIGITS))


def check_picture(path: Path) -> None:
    """Refuse a name that no picture can have.

    Raises:
        UserError: another ending than .png, .svg or .pdf.
    """
    if path.suffix.lower() not in PICTURES:
        raise UserError(f"--plot {path}: a picture ends in {', '.join(PICTURES)}")


def plot_series(path: Path, series: "DopingSeries") -> None:
    """Draw predicted Tc with its intervals along the series, and the measured compounds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    table = series.table()
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    axes.plot(table["fraction"], table["tc_K"], color="#1f5fa8", label=f"predicted ({series.predictions[0].model})")
    if table["lower_K"].notna().all():
        axes.fill_between(
            table["fraction"],
            table["lower_K"],
            table["upper_K"],
            color="#1f5fa8",
            alpha=0.15,
            lw=0,
            label="90 % interval",
        )
    inside = [
        each for each in series.measured if min(series.fractions) - 0.01 <= each[0] <= max(series.fractions) + 0.01
    ]
    if inside:
        axes.plot(
            [each[0] for each in inside], [each[1] for each in inside], "o", color="#c0392b", ms=5, label="measured"
        )
    first = series.predictions[0].formula
    axes.set_title(f"{first}: {series.old} replaced by {series.new or 'vacancies'}")
    axes.set_xlabel(f"fraction of {series.old} replaced")
    axes.set_ylabel("Tc (K)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=150)
    pyplot.close(figure)

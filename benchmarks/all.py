"""One table of all speeds: fills `docs/performance.md` from `benchmarks/results/*.json`.

    python -m benchmarks.all            # fill the table from the results that are there
    python -m benchmarks.all --run      # measure again what takes minutes, one benchmark after the other, then fill it
    python -m benchmarks.all --check    # fail where the page is not what the results say

A result that is missing has a row that says so. Results that were measured while other programs ran are marked.
"""

import difflib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks._machine import is_loaded, load_of
from benchmarks._rows import BENCHMARKS, Benchmark, Row
from tc_common.cli import log, parse, run, set_up_log
from tc_common.errors import UserError
from tc_common.files import read_json, write_text

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- performance:begin -->", "<!-- performance:end -->"
HEAD = (
    "| what | here | others, in the same run | times as fast | least to most | load |\n"
    "| --- | --- | --- | ---: | --- | ---: |"
)
SOURCES = "| command | result | machine |\n| --- | --- | --- |"
MARK = "†"


@dataclass(frozen=True, kw_only=True)
class AllConfig:
    """What to do, and where the results and the page are."""

    run: bool = False
    """Run the benchmarks that take minutes first (SUPERVISION_DATA for those on real crystals)."""
    check: bool = False
    """Change nothing; fail where the page differs from the results."""
    results: Path = Path("benchmarks/results")
    """Folder of the results."""
    page: Path = Path("docs/performance.md")
    """Page that holds the table between its markers."""


def main(config: AllConfig) -> None:
    """Measure if asked to, fill or check the page.

    Raises:
        UserError: the page has no markers, or (--check) is not what the results say.
    """
    set_up_log(None)
    if config.run:
        measure()
    text = read_page(config.page)
    filled = fill(text, config.results)
    if config.check and filled != text:
        changed = [line for line in difflib.ndiff(text.splitlines(), filled.splitlines()) if line[0] in "+-"]
        raise UserError(f"{config.page} differs from {config.results}: {changed[0]:.160}; python -m benchmarks.all")
    if filled != text:
        write_text(config.page, filled)
    log.info(f"{config.page} {'agrees' if filled == text else 'filled'}")


def measure() -> None:
    """The quick benchmarks, one after the other, so that none disturbs another."""
    for benchmark in BENCHMARKS:
        if benchmark.quick:
            log.info(benchmark.command)
            subprocess.run([sys.executable, *benchmark.command.split()[1:]], cwd=ROOT, check=True)


def read_page(page: Path) -> str:
    """The page's text.

    Raises:
        UserError: there is none, or it has no markers.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise UserError(f"{page} needs '{BEGIN}' and '{END}' once each, where the table belongs")
    return text


def fill(text: str, results: Path) -> str:
    """The page with the table of these results between its markers."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table(results)}\n{END}{rest.split(END)[1]}"


def table(results: Path) -> str:
    """The table, then where its rows come from: command, processor and cores of each."""
    sources = [source for benchmark in BENCHMARKS for source in source_of(benchmark, results)]
    rows = [line for benchmark in BENCHMARKS for line in lines_of(benchmark, results)]
    note = f"{MARK} measured while other programs ran: ratios and processor times say more than wall-clock times."
    return "\n".join([HEAD, *rows, "", note, "", SOURCES, *sources])


def lines_of(benchmark: Benchmark, results: Path) -> Iterator[str]:
    """The rows of one benchmark."""
    path = results / benchmark.file
    if not path.is_file():
        yield f"| {benchmark.title} | not measured: `{benchmark.command}` | | | | |"
        return
    found = read_json(path)
    load = load_of(found.get("machine"))
    shown = "not stated" if load is None else f"{load:.1f}{MARK if is_loaded(found['machine']) else ''}"
    for row in benchmark.rows(found):
        yield f"| {line(row)} | {shown} |"


def line(row: Row) -> str:
    """The cells of a row but the last."""
    times = "" if row.times is None else f"{row.times:.2g}" if row.times >= 10 else f"{row.times:.1f}"
    spread = "" if row.spread is None else f"{row.spread[0]:.2f} to {row.spread[1]:.2f}"
    return f"{row.what} | {row.here} | {row.others} | {times} | {spread}"


def source_of(benchmark: Benchmark, results: Path) -> Iterator[str]:
    """Command, file and machine of a result that is there."""
    path = results / benchmark.file
    if path.is_file():
        found = read_json(path)
        machine = found.get("machine")
        known = machine if isinstance(machine, dict) else {"cpu": machine}
        device = known.get("device") or known.get("cpu") or "not stated"
        count = known.get("threads") or known.get("cores") or known.get("processors") or "?"
        yield f"| `{found.get('command', benchmark.command)}` | `{path.name}` | {device}, {count} core(s) |"


if __name__ == "__main__":
    run(lambda: main(parse(AllConfig, prog="python -m benchmarks.all", description=__doc__ or "")))

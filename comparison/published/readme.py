"""Generate the README's result tables from `comparison.json`."""

import os
import re
from pathlib import Path
from typing import Any

from comparison.report.tables import caption, markdown_table, run_rows, runs_caption, score_rows
from tc_common.errors import UserError
from tc_common.files import read_json, write_text

END = "<!-- results:end -->"
# `<!-- results:begin FOLDER -->`, FOLDER relative to the README; a block without one gets the folder in use.
BLOCK = re.compile(r"<!-- results:begin *(?P<folder>\S*) *-->(?P<content>.*?)" + re.escape(END), re.DOTALL)


def update_readme(readme: Path, results_dir: Path) -> str:
    """Fill every block between markers anew; returns what was done.

    Raises:
        UserError: no file, no markers, or no comparison to fill them from.
    """
    text = read_text(readme)
    filled = fill(text, readme.parent, results_dir)
    if filled == text:
        return "already up to date"
    write_text(readme, filled)
    return f"wrote {len(BLOCK.findall(text))} table(s)"


def fill(text: str, root: Path, results_dir: Path | None = None) -> str:
    """`text` with each block's table from the folder it names, or from `results_dir`; folders are relative to `root`.

    Raises:
        UserError: no markers, no comparison to fill them from, or a table of unknown origin.
    """
    if not BLOCK.search(text):
        raise UserError(f"no '<!-- results:begin -->' … '{END}' to fill; put both markers where the table belongs")
    return BLOCK.sub(lambda block: _block(block, root, results_dir), text)


def _block(found: re.Match[str], root: Path, results_dir: Path | None) -> str:
    named = found["folder"]
    if not named and results_dir is None:
        if found["content"].strip():
            raise UserError("a results block of the README names no folder, so its numbers cannot be checked")
        return found[0]
    folder = root / named if named else Path(str(results_dir))
    shown = named or Path(os.path.relpath(folder, root)).as_posix()
    return block(shown, read_comparison(folder))


def named_blocks(text: str) -> dict[str, str]:
    """Every block of the README by the folder that it names.

    Raises:
        UserError: a block names none, so its numbers cannot be checked.
    """
    found = {match["folder"]: match[0] for match in BLOCK.finditer(text)}
    if "" in found:
        raise UserError("a results block of the README names no folder, so its numbers cannot be checked")
    return found


def block(shown: str, comparison: dict[str, Any]) -> str:
    """The block, markers included, of the comparison in the folder `shown`."""
    over_runs = "runs" in comparison
    rows, describe = (run_rows, runs_caption) if over_runs else (score_rows, caption)
    lines = [f"<!-- results:begin {shown} -->", f"{describe(comparison)}.", "", markdown_table(rows(comparison)), ""]
    source = f"From [`{shown}/comparison.json`]({shown}/comparison.json), by `python compare_models.py`."
    return "\n".join([*lines, source, END])


def read_comparison(folder: Path) -> dict[str, Any]:
    """Content of `comparison.json`.

    Raises:
        UserError: it is missing or something else.
    """
    path = folder / "comparison.json"
    content = read_json(path)
    if "models" not in content:
        raise UserError(f"{path} is no comparison; make it with: python compare_models.py")
    return content


def read_text(path: Path) -> str:
    """Content of a text file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); make it first, or name another") from error

"""Generate the result tables of README files from `comparison.json`."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from comparison.published.overview import overview_rows, three_tests_rows
from comparison.report.tables import Rows, caption, main_rows, markdown_table
from tc_common.errors import UserError
from tc_common.files import read_json, write_text

# `<!-- KIND:begin FOLDER … -->`, FOLDER relative to the file; a block `results` without one gets the folder in use.
BLOCK = re.compile(
    r"<!-- (?P<kind>results|overview|tests):begin(?P<folders>[^>]*?) *-->(?P<content>.*?)<!-- (?P=kind):end -->",
    re.DOTALL,
)
# Folders that a block of each kind names.
FOLDERS = {"results": 1, "overview": 2, "tests": 1}
Read: TypeAlias = Callable[[Path], dict[str, Any]]


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
    """`text` with each block's table from the folders it names, or from `results_dir`; folders are relative to `root`.

    Raises:
        UserError: no markers, no comparison to fill them from, or a table of unknown origin.
    """
    if not BLOCK.search(text):
        raise UserError("no '<!-- results:begin -->' … '<!-- results:end -->' to fill; put both where it belongs")
    if results_dir is None:
        named_blocks(text)

    def filled(found: re.Match[str]) -> str:
        folders = found["folders"].split()
        if not folders and found["kind"] == "results":
            if results_dir is None:
                return found[0]
            folders = [Path(os.path.relpath(results_dir, root)).as_posix()]
        return block(found["kind"], folders, root)

    return BLOCK.sub(filled, text)


def named_blocks(text: str) -> list[re.Match[str]]:
    """Every filled block of a README.

    Raises:
        UserError: a block names no folder, so its numbers cannot be checked.
    """
    found = [match for match in BLOCK.finditer(text) if match["folders"].strip() or match["content"].strip()]
    if not all(match["folders"].strip() for match in found):
        raise UserError("a results block of the README names no folder, so its numbers cannot be checked")
    return found


def block(kind: str, folders: list[str], root: Path, read: Read | None = None) -> str:
    """One block, markers included.

    Args:
        kind: one of `FOLDERS`.
        folders: those of the comparisons, relative to `root`.
        read: content of the `comparison.json` of a folder, by default what is written there.

    Raises:
        UserError: another number of folders than the kind has, or no comparison in one.
    """
    if len(folders) != FOLDERS[kind]:
        raise UserError(f"a block '{kind}:begin' names {FOLDERS[kind]} folder(s), not {' '.join(folders) or 'none'}")
    comparisons = [(read or read_comparison)(root / folder) for folder in folders]
    links = " and ".join(f"[`{folder}/comparison.json`]({folder}/comparison.json)" for folder in folders)
    return "\n".join(
        [
            f"<!-- {kind}:begin {' '.join(folders)} -->",
            f"{_caption(kind, comparisons)}.",
            "",
            markdown_table(_table(kind, root / folders[0], comparisons)),
            "",
            f"From {links}, by `python compare_models.py`.",
            f"<!-- {kind}:end -->",
        ]
    )


def _table(kind: str, folder: Path, comparisons: list[dict[str, Any]]) -> Rows:
    if kind == "overview":
        return overview_rows(*comparisons)
    return three_tests_rows(folder, comparisons[0]) if kind == "tests" else main_rows(comparisons[0])


def _caption(kind: str, comparisons: list[dict[str, Any]]) -> str:
    if kind == "results":
        return caption(comparisons[0])
    runs = f" (± SD over {comparisons[1]['runs']} splits)" if kind == "overview" else ""
    tests = "Other structure files are further ones of the test compositions, the literature's are at ambient pressure"
    return f"MAE in K{runs}, the lowest of each column bold. {tests}"


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

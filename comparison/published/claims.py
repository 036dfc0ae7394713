"""Check every number in prose against the results file that it quotes (`results/claims.csv`).

A row says: `document` contains `text`, whose one `{…}` is the number, formatted as Python formats it; the number is
`value` of `file`, divided by `divided_by` (1 where empty; 60 makes minutes of seconds, 0.01 percents). `value` is a
path through the file, its parts separated by `/`:

- of JSON, the names of fields; of a CSV file, which is a list of rows, first the row or the column;
- in a list: a position (`0`, `-1`), the one row that fits `a=ensemble,b=composition`, or a column of all rows;
- of a column: `min`, `max`, `mean`, `sum` or `count`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from statistics import mean
from string import Formatter
from typing import Any

import pandas as pd

from comparison.published.readme import BLOCK, read_text
from tc_common.errors import UserError
from tc_common.files import read_csv, read_json

COLUMNS = ("document", "text", "file", "value", "divided_by")
REDUCE: dict[str, Callable[[list[Any]], float]] = {"min": min, "max": max, "mean": mean, "sum": sum, "count": len}
NUMBER = r"\d[\d,]*\d(?:\.\d+)?|\d(?:\.\d+)?"
# Not the digits of a name such as DINOv3, Nb3Sn, 3DSC or 2D.
IN_PROSE = re.compile(rf"(?<![\w.])(?:{NUMBER})(?!\d|D\b|DSC\b)")
# Code, addresses, HTML, dates, and the year of a reference: (Lei 2018), [Lei 2018].
NO_PROSE = re.compile(r"`[^`]*`|\]\([^)]*\)|<[A-Za-z/!][^>]*>|https?://\S+|\d{4}-\d\d-\d\d|\b(?:19|20)\d\d(?=[])])")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of the list."""

    document: str
    text: str
    file: str
    value: str
    divided_by: float

    def pattern(self) -> re.Pattern[str]:
        """`text` with any number in its gap and any white space between its words."""
        before, _, after = self._parts()
        number = rf"(?P<number>[+−-]?(?:{NUMBER}))(?!\d|[.,]\d)"
        return re.compile(_spaced(before) + number + _spaced(after))

    def printed(self, value: float) -> str:
        """The number as `text` formats it."""
        exact = Decimal(repr(value)) / Decimal(repr(self.divided_by))  # 0.595 is 59.5 %, not 59.49999
        try:
            return format(exact, self._parts()[1])
        except ValueError as error:
            raise UserError(f"claim {self.text!r} cannot format its number ({error}); write {{:.2f}} or so") from error

    def _parts(self) -> tuple[str, str, str]:
        parts = list(Formatter().parse(self.text))
        if [name for _, name, _, _ in parts if name is not None] != [""]:
            raise UserError(f"claim {self.text!r}: exactly one {{}} is needed for the number")
        after = parts[1][0] if len(parts) > 1 else ""
        return parts[0][0], parts[0][2] or "", after


def _spaced(text: str) -> str:
    return r"\s+".join(re.escape(part) for part in re.split(r"\s+", text))


def read_claims(path: Path) -> list[Claim]:
    """All rows of the list.

    Raises:
        UserError: it is missing or lacks a column.
    """
    table = read_csv(path, COLUMNS, "hand, see docs/comparison.md").fillna({"divided_by": 1.0})
    rows = table[list(COLUMNS)].astype({name: str for name in COLUMNS if name != "divided_by"}).to_dict("records")
    return [Claim(**{str(key): value for key, value in row.items()}) for row in rows]


def check_claims(root: Path, claims: list[Claim], covered: Mapping[str, str | None]) -> list[str]:
    """One line for each claim that a document does not make or that its file contradicts, and each number unclaimed.

    Args:
        covered: by document, the heading of the section in which every number must be claimed; None for all of it.
    """
    lines: list[str] = []
    for document in dict.fromkeys([*covered, *(claim.document for claim in claims)]):
        text = without_blocks(read_text(root / document))
        here = [claim for claim in claims if claim.document == document]
        spans: list[tuple[int, int]] = []
        for claim in here:
            found = list(claim.pattern().finditer(text))
            lines += _claim_errors(root, claim, found)
            spans += [match.span("number") for match in found]
        if document in covered:
            lines += _unclaimed(document, text, covered[document], spans)
    return lines


def without_blocks(text: str) -> str:
    """Generated tables blanked, so that lines keep their numbers."""
    return BLOCK.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text)


def _claim_errors(root: Path, claim: Claim, found: list[re.Match[str]]) -> list[str]:
    """Nothing if the document says it once and as the file has it."""
    if len(found) != 1:
        times = "nowhere" if not found else f"{len(found)} times"
        return [f"{claim.document}: {claim.text!r} of the claims is there {times}; once is needed"]
    try:
        value = look_up(root / claim.file, claim.value)
    except UserError as error:
        return [str(error)]
    said, given = found[0]["number"].replace("−", "-"), claim.printed(value)
    if said == given:
        return []
    sentence = " ".join(found[0][0].split())
    return [f"{claim.document}: says {said} in {sentence!r}, but {claim.file} gives {given} ({claim.value})"]


def _unclaimed(document: str, text: str, heading: str | None, spans: list[tuple[int, int]]) -> list[str]:
    """Numbers of one section, or of the whole document, that no claim covers."""
    wanted = ".*" if heading is None else rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)"
    section = re.search(wanted, text, re.DOTALL | re.MULTILINE)
    if not section:
        raise UserError(f"{document} has no section '## {heading}' whose numbers could be checked")
    prose = NO_PROSE.sub(lambda span: "`" * len(span[0]), text)
    lines = []
    for number in IN_PROSE.finditer(prose, section.start(), section.end()):
        if not any(start <= number.start() and number.end() <= end for start, end in spans):
            row = text.count("\n", 0, number.start()) + 1
            context = " ".join(text[max(number.start() - 30, 0) : number.end() + 20].split())
            lines.append(f"{document}, line {row}: no claim covers {number[0]} in '… {context} …'")
    return lines


def look_up(path: Path, value: str) -> float:
    """The number at `value` of a JSON or CSV file.

    Raises:
        UserError: no such file, or nothing or no number there.
    """
    content: Any = read_json(path) if path.suffix == ".json" else read_csv(path, (), "git").to_dict("records")
    try:
        for part in value.split("/"):
            content = _step(content, part)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"{path} has nothing at {value!r} ({type(error).__name__} {error}); mend the claim") from error
    if isinstance(content, bool) or not isinstance(content, (int, float)) or pd.isna(content):
        raise UserError(f"{path} has no number at {value!r}; mend the claim")
    return content


def _step(content: Any, part: str) -> Any:
    if isinstance(content, dict):
        return content[part]
    if part in REDUCE:
        return REDUCE[part](content)
    if "=" in part:
        wanted = [pair.split("=", 1) for pair in part.split(",")]
        (row,) = [row for row in content if all(str(row[key]) == text for key, text in wanted)]
        return row
    return content[int(part)] if re.fullmatch(r"-?\d+", part) else [row[part] for row in content]

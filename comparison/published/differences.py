"""Compare recorded with recomputed results."""

from math import isclose
from typing import Any

import pandas as pd

# Far below any printed digit, far above what another order of summation changes.
RELATIVE, ABSOLUTE = 1e-7, 1e-9


def differences(file: object, recorded: Any, recomputed: Any, field: str = "") -> list[str]:
    """One line per number or text that `file` states otherwise than the predictions give: file, field, both values."""
    if isinstance(recorded, dict) and isinstance(recomputed, dict):
        return _of_tables(file, recorded, recomputed, field)
    if isinstance(recorded, list) and isinstance(recomputed, list) and len(recorded) == len(recomputed):
        pairs = zip(recorded, recomputed, strict=True)
        return [
            line for row, (a, b) in enumerate(pairs) for line in differences(file, a, b, f"{field}/{_name(b, row)}")
        ]
    return [] if _same(recorded, recomputed) else [f"{file}: {field} is {_shown(recorded)}, {_given(recomputed)}"]


def _of_tables(file: object, recorded: dict[str, Any], recomputed: dict[str, Any], field: str) -> list[str]:
    lines = []
    for key in [*recomputed, *(key for key in recorded if key not in recomputed)]:
        where = f"{field}/{key}" if field else key
        if key not in recorded:
            lines.append(f"{file}: {where} is missing, {_given(recomputed[key])}")
        elif key not in recomputed:
            lines.append(f"{file}: {where} is {_shown(recorded[key])}, which nothing recomputed confirms")
        else:
            lines += differences(file, recorded[key], recomputed[key], where)
    return lines


def table_differences(file: object, recorded: pd.DataFrame, recomputed: pd.DataFrame, keys: list[str]) -> list[str]:
    """The same for the rows of a table, which `keys` name."""
    return differences(file, _rows(recorded, keys), _rows(recomputed, keys))


def _rows(table: pd.DataFrame, keys: list[str]) -> dict[str, dict[str, Any]]:
    names = table[keys].astype(str).agg(", ".join, axis=1)
    return dict(zip(names, table.drop(columns=keys).to_dict("records"), strict=True))


def text_differences(file: object, recorded: str, recomputed: str) -> list[str]:
    """The first line that differs, if any."""
    old, new = recorded.splitlines(), recomputed.splitlines()
    for number in range(max(len(old), len(new))):
        a, b = ("".join(lines[number : number + 1]) for lines in (old, new))
        if a != b:
            return [f"{file}, line {number + 1}: says {a!r}, the predictions give {b!r}"]
    return []


def _same(recorded: Any, recomputed: Any) -> bool:
    numbers = [isinstance(value, (int, float)) for value in (recorded, recomputed)]
    if not all(numbers):
        return bool(recorded == recomputed)
    both_unknown = recorded != recorded and recomputed != recomputed
    return both_unknown or isclose(recorded, recomputed, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def _name(row: Any, position: int) -> str:
    """What tells this element of a list from the others."""
    if not isinstance(row, dict):
        return str(position)
    if "group" in row or "material_id" in row:
        return str(row.get("group", row.get("material_id")))
    return f"{row['a']} − {row['b']}" if {"a", "b"} <= set(row) else str(position)


def _given(value: Any) -> str:
    return f"the predictions give {_shown(value)}"


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"

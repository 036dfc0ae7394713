"""Rows of a screening: a prediction's JSON flattened to columns of Parquet.

`name, formula, error, model, tc_K, lower_K, upper_K, coverage` as in the JSON; of each base model `<name>_tc_K,
<name>_lower_K, <name>_upper_K, <name>_weight`; `known_*` of the measured compound; `nearest_1_*` to `nearest_3_*`;
`warnings`, `warning_kinds` and `remarks` joined; before them `number`, the crystal's place in the input.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tc_common.errors import one_line
from tc_common.files import atomic_write

NEAREST = 3
TEXT, NUMBER = pa.string(), pa.float64()
KNOWN = {
    "formula": TEXT, "tc_K": NUMBER, "lowest_K": NUMBER, "highest_K": NUMBER, "entries": pa.int64(), "source": TEXT,
    "distance": NUMBER,
}  # fmt: skip
MEMBER = {"tc_K": NUMBER, "lower_K": NUMBER, "upper_K": NUMBER, "weight": NUMBER}
LONGEST_REASON = 300


def schema_of(members: Sequence[str]) -> pa.Schema:
    """Columns and their types for a predictor of these base models."""
    fields = {"number": pa.int64(), "name": TEXT, "formula": TEXT, "error": TEXT, "model": TEXT}
    fields |= {"tc_K": NUMBER, "lower_K": NUMBER, "upper_K": NUMBER, "coverage": NUMBER}
    for member in members:
        fields |= {f"{member}_{name}": kind for name, kind in MEMBER.items()}
    for prefix in ("known", *(f"nearest_{place}" for place in range(1, NEAREST + 1))):
        fields |= {f"{prefix}_{name}": kind for name, kind in KNOWN.items()}
    return pa.schema({**fields, "warnings": TEXT, "warning_kinds": TEXT, "remarks": TEXT})


def flat(number: int, plain: dict[str, Any]) -> dict[str, Any]:
    """A row of a prediction's (or a failure's) JSON; what it lacks is null in the table."""
    row = {name: plain.get(name) for name in ("name", "formula", "error", "model", "tc_K", "lower_K", "upper_K")}
    row |= {"number": number, "coverage": plain.get("coverage")}
    row["error"] = None if row["error"] is None else one_line(ValueError(row["error"]), LONGEST_REASON)
    for member in plain.get("members", ()):
        row |= {f"{member['name']}_{name}": member.get(name) for name in MEMBER}
    row |= _prefixed("known", plain.get("known"))
    for place, near in enumerate(plain.get("nearest", ())[:NEAREST], start=1):
        row |= _prefixed(f"nearest_{place}", near)
    warnings = plain.get("warnings", ())
    row["warnings"] = "; ".join(warning["text"] for warning in warnings)
    row["warning_kinds"] = ",".join(dict.fromkeys(warning["kind"] for warning in warnings))
    row["remarks"] = "; ".join(plain.get("remarks", ()))
    return row


def _prefixed(prefix: str, known: dict[str, Any] | None) -> dict[str, Any]:
    return {} if known is None else {f"{prefix}_{name}": known.get(name) for name in KNOWN}


def table_of(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of this schema.

    Raises:
        ValueError: a row has a column that the schema lacks.
    """
    rows, known = list(rows), set(schema.names)
    if strange := {name for row in rows for name in row} - known:
        raise ValueError(f"the schema has no column {', '.join(sorted(strange))}")
    return pa.Table.from_pylist(rows, schema)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table whole or not at all; the same rows give the same bytes."""
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")

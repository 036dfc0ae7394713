"""Dopant campaigns: parents expanded by a table of substitutions, and their series ranked by the highest Tc."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pymatgen.core import Composition, Element, Structure

from prediction.doping import substituted
from prediction.screening.contents import Entry
from prediction.screening.inputs import Source, write_index
from prediction.screening.items import Item, read_item
from prediction.screening.plan import Plan, sha256_of_text
from prediction.screening.shard import shard_path
from tc_common.errors import UserError
from tc_common.files import atomic_write, read_csv, sha256

COLUMNS = ("old", "new", "fractions")
SEPARATOR = "|"


@dataclass(frozen=True)
class Substitution:
    """Atoms of one element exchanged for another's, or taken out, at some fractions."""

    old: str
    new: str
    """Empty for a vacancy."""
    fractions: tuple[float, ...]
    """Of the old element's atoms."""

    def __str__(self) -> str:
        return f"{self.old}>{self.new or 'vacancy'}"


def read_substitutions(path: Path) -> list[Substitution]:
    """Rows of a table `old,new,fractions`, the fractions with blanks between.

    Raises:
        UserError: the table cannot be read, names no element, or a fraction is outside 0 to 1.
    """
    table = read_csv(path, COLUMNS, "a spreadsheet: one substitution a row, such as La,Sr,0 0.05 0.1").fillna("")
    found = []
    for number, row in enumerate(table.to_dict("records"), start=2):
        old, new, fractions = (str(row[name]).strip() for name in COLUMNS)
        try:
            values = tuple(float(text) for text in fractions.split())
            Element(old), new and Element(new)
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: {error}; write old,new,fractions as in La,Sr,0 0.1 0.2"
            ) from error
        if not values or not all(0 <= value <= 1 for value in values) or old == new:
            raise UserError(f"{path}, line {number}: fractions must be from 0 to 1, and the elements differ")
        found.append(Substitution(old, new, values))
    if not found:
        raise UserError(f"{path} has no rows; write old,new,fractions as in La,Sr,0 0.1 0.2")
    return found


def expanded(plan: Plan, table: Path, index: Path) -> Plan:
    """A plan of all substituted crystals; those whose charges cannot balance are rows with that reason."""
    substitutions = read_substitutions(table)
    digest = sha256_of_text(f"{sha256(table)} {plan.crystals}")
    parents = (item for shard in range(plan.shards) for item in plan.items(shard))
    crystals = write_index(_entries(parents, substitutions), index, digest)
    if not crystals:
        raise UserError(f"{table}: no input has an element that it exchanges")
    return Plan((Source(index, crystals),), plan.shard)


def _entries(parents: Iterator[Item], substitutions: list[Substitution]) -> Iterator[Entry]:
    for parent in parents:
        try:
            structure = read_item(parent)
        except UserError as error:
            yield parent.name, b"", str(error)
            continue
        present = {element.symbol for element in structure.composition}
        for substitution in substitutions:
            if substitution.old in present:
                for fraction in substitution.fractions:
                    yield _entry(parent.name, structure, substitution, fraction)


def _entry(parent: str, structure: Structure, substitution: Substitution, fraction: float) -> Entry:
    name = SEPARATOR.join((parent, str(substitution), f"{fraction:g}"))
    try:
        doped = substituted(structure, substitution.old, substitution.new, fraction)
    except UserError as error:
        return name, b"", f"rejected: {error}"
    if can_balance(structure.composition) and not can_balance(doped.composition):
        return name, b"", "rejected: no usual oxidation states balance its charges, as they do in the parent"
    return name, json.dumps(doped.as_dict(), default=float).encode(), ""


@cache
def oxidation_states(symbol: str) -> tuple[int, int]:
    """Lowest and highest usual oxidation state of an element (pymatgen: common, or found in the ICSD)."""
    element = Element(symbol)
    states = {*element.common_oxidation_states, *element.icsd_oxidation_states} or {0}
    return min(states), max(states)


def can_balance(composition: Composition) -> bool:
    """Whether usual oxidation states, also mixed ones of an element, can add up to no charge."""
    amounts = composition.get_el_amt_dict()
    ranges = {symbol: oxidation_states(symbol) for symbol in amounts}
    lowest = sum(amount * ranges[symbol][0] for symbol, amount in amounts.items())
    highest = sum(amount * ranges[symbol][1] for symbol, amount in amounts.items())
    return lowest <= 1e-6 and highest >= -1e-6


# ---- series ------------------------------------------------------------------------------------------------------


def write_series(path: Path, shards: Path, number: int, count: int) -> None:
    """Write the `count` series with the highest Tc: that of their dome, where it is, and what is gained by doping."""
    best: list[dict[str, Any]] = []
    for _, rows in groupby(_rows(shards, number), key=lambda row: row["name"].rpartition(SEPARATOR)[0]):
        points = [row for row in rows if row["tc_K"] is not None and SEPARATOR in row["name"]]
        if points:
            best.append(_series(points))
        if len(best) > 10 * count:
            best = _highest(best, count)
    with atomic_write(path) as temporary:
        pq.write_table(pa.Table.from_pylist(_highest(best, count), SERIES), temporary, compression="zstd")


SERIES = pa.schema(
    [("parent", pa.string()), ("substitution", pa.string()), ("points", pa.int64()), ("highest_tc_K", pa.float64()),
     ("at_fraction", pa.float64()), ("gain_K", pa.float64()), ("lower_K", pa.float64()), ("formula", pa.string())]
)  # fmt: skip


def _rows(shards: Path, number: int) -> Iterator[dict[str, Any]]:
    for shard in range(number):
        columns = ["name", "formula", "tc_K", "lower_K"]
        yield from pq.read_table(shard_path(shards, shard), columns=columns).to_pylist()


def _series(points: list[dict[str, Any]]) -> dict[str, Any]:
    """One series: `gain_K` is its highest Tc less that of its smallest fraction."""
    highest = max(points, key=lambda row: row["tc_K"])
    parent, substitution, fraction = highest["name"].rsplit(SEPARATOR, 2)
    first = min(points, key=lambda row: float(row["name"].rpartition(SEPARATOR)[2]))
    return {
        "parent": parent, "substitution": substitution, "points": len(points), "highest_tc_K": highest["tc_K"],
        "at_fraction": float(fraction), "gain_K": highest["tc_K"] - first["tc_K"], "lower_K": highest["lower_K"],
        "formula": highest["formula"],
    }  # fmt: skip


def _highest(series: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return sorted(series, key=lambda row: -row["highest_tc_K"])[:count]

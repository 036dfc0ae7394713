"""Compounds with a measured Tc: looked up and shown beside a prediction, never used to make one.

Rows are compositions of the literature sample at ambient pressure, of 3DSC (all splits), of SuperCon, and of the
sample under pressure; the first of these that has a composition gives its Tc, all together its range and count.
Two compositions are the same compound here if at most 0.5 % of the atoms differ: sources round differently.

Legend: n known compositions, E elements.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tc_common.composition import (
    ROUNDING,
    Array,
    chemical_formula,
    composition_key,
    element_fractions,
    fractions,
    parse_formula,
)
from tc_common.errors import UserError
from tc_common.files import read_csv
from tc_common.further import ROOT, SAME_COMPOSITION, SAMPLE_COLUMNS

COLUMNS = ("formula", "tc", "lowest", "highest", "entries", "source")
NUMBERS = ["tc", "lowest", "highest"]
MADE_BY = "python -m prediction.ship"
LITERATURE, SPLITS, SUPERCON = "literature", "3DSC", "SuperCon"
PRESSURE = "GPa"
SAMPLE = ROOT / "data" / "sample" / "sample.csv"
# Rows of the audit log of `data.supercon` that are no measurement.
REJECTED = "rejected"


@dataclass(frozen=True)
class Known:
    """A measured composition."""

    formula: str
    tc_K: float
    lowest_K: float
    highest_K: float
    entries: int
    """Measurements that lie between these two."""
    source: str
    distance: float
    """Fraction of the atoms to exchange to come to it."""

    @property
    def under_pressure(self) -> bool:
        """Whether the literature measured it under pressure."""
        return PRESSURE in self.source

    def to_dict(self) -> dict[str, Any]:
        """Fields by name."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class KnownCompounds:
    """All measured compositions."""

    table: pd.DataFrame
    """`COLUMNS`; Tc in K."""
    fractions: NDArray[np.float32]
    """(n, E)"""

    def lookup(self, formula: str) -> Known | None:
        """The nearest within 0.5 % of the atoms, of the same elements if there is one.

        Range and entries are those of all that are so near and of its elements: none with a trace of another.

        Raises:
            UserError: a text that is no formula.
        """
        distance = self._distances(formula)
        near = np.flatnonzero(distance <= SAME_COMPOSITION + ROUNDING)
        if not len(near):
            return None
        same = near[self._has_elements_of(near, element_fractions([formula])[0])]
        candidates = same if len(same) else near
        row = int(candidates[distance[candidates].argmin()])
        group = self.table.iloc[near[self._has_elements_of(near, self.fractions[row])]]
        lowest_K, highest_K = float(group["lowest"].min()), float(group["highest"].max())
        return replace(
            self._known(row, distance), lowest_K=lowest_K, highest_K=highest_K, entries=int(group["entries"].sum())
        )

    def _has_elements_of(self, rows: NDArray[np.int64], wanted: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray(((self.fractions[rows] > 0) == (wanted > 0)).all(axis=1))

    def nearest(self, formula: str, count: int = 3) -> list[Known]:
        """The nearest compositions, the nearest first.

        Raises:
            UserError: a text that is no formula.
        """
        distance = self._distances(formula)
        farthest = np.partition(distance, min(count, len(distance)) - 1)[min(count, len(distance)) - 1]
        rows = np.flatnonzero(distance <= farthest)
        return [self._known(int(row), distance) for row in rows[np.argsort(distance[rows], kind="stable")][:count]]

    def _distances(self, formula: str) -> Array:
        """Fraction of the atoms to exchange (n,): 1 less what the two compositions have in common."""
        wanted = element_fractions([formula])[0]
        columns = np.flatnonzero(wanted)
        common = np.minimum(self.fractions[:, columns], wanted[columns]).sum(axis=1)
        return np.maximum(1.0 - common, 0.0)

    def _known(self, row: int, distance: Array) -> Known:
        found = self.table.iloc[row]
        tc_K, lowest_K, highest_K = (float(found[name]) for name in NUMBERS)
        formula = chemical_formula(parse_formula(str(found["formula"])))
        return Known(
            formula, tc_K, lowest_K, highest_K, int(found["entries"]), str(found["source"]),
            round(float(distance[row]), 6),
        )  # fmt: skip


def read_known(path: Path) -> KnownCompounds:
    """The compositions in a file that `known_table` made.

    Raises:
        UserError: it is missing or damaged, or a number or formula in it is none.
    """
    table = read_csv(path, COLUMNS, MADE_BY)
    numbers = table[[*NUMBERS, "entries"]].apply(pd.to_numeric, errors="coerce")
    fits = np.isfinite(numbers.to_numpy(float)).all() and (numbers.to_numpy(float) >= 0).all() and len(table)
    if not fits or (numbers["lowest"] > numbers["highest"]).any():
        raise UserError(f"{path} holds a number that is no Tc or count; make it again with: {MADE_BY}")
    table = table.assign(**{name: numbers[name] for name in numbers})
    return KnownCompounds(table, element_fractions(table["formula"].astype(str).tolist()).astype(np.float32))


def known_table(splits: dict[str, pd.DataFrame], supercon: pd.DataFrame | None = None) -> pd.DataFrame:
    """`COLUMNS` of every measured composition, sorted by formula.

    Args:
        splits: `formula`, `tc` (K) of all splits, one row a composition.
        supercon: the audit log of `data.supercon` (`name`, `tc`, `status`); its rows of a composition of the splits
            are the measurements behind that composition's Tc. Other compositions have the median of their positive
            entries, as the extra labels have.

    Raises:
        UserError: the sample cannot be read, or a formula is none.
    """
    sample = read_csv(SAMPLE, SAMPLE_COLUMNS, "python -m data.sample.build")
    pressure_GPa = sample["pressure_GPa"].astype(float)
    tables = [sample[pressure_GPa == 0].assign(source=LITERATURE)]
    tables += [pd.concat(splits.values()).assign(source=SPLITS)]
    if supercon is not None:
        rows = supercon[supercon["status"] != REJECTED].rename(columns={"name": "formula"})
        tables += [rows.assign(source=SUPERCON)]
    at = [f"{LITERATURE} at {value:g} {PRESSURE}" for value in pressure_GPa]
    tables += [sample.assign(source=at)[pressure_GPa > 0]]
    entries = pd.concat([table[["formula", "tc", "source"]] for table in tables], ignore_index=True)
    entries = entries.assign(tc=entries["tc"].astype(float), key=[_key(formula) for formula in entries["formula"]])
    # the splits' Tc is the mean of SuperCon's rows, where those are known: no entry of its own
    own = (entries["source"] == SPLITS) & entries["key"].isin(entries.loc[entries["source"] == SUPERCON, "key"])
    by_key = entries.groupby("key", sort=False)
    first = by_key[["formula", "tc", "source"]].first()
    positive = entries[entries["tc"] > 0].groupby("key")["tc"].median().reindex(first.index).fillna(0.0)
    table = pd.DataFrame(
        {
            "formula": first["formula"],
            "tc": first["tc"].where(first["source"] != SUPERCON, positive),
            "lowest": by_key["tc"].min(),
            "highest": by_key["tc"].max(),
            "entries": (~own).groupby(entries["key"], sort=False).sum(),
            "source": _sources(entries, first["source"]),
        }
    )
    return table.sort_values("formula", kind="stable").reset_index(drop=True)


def _sources(entries: pd.DataFrame, first: pd.Series) -> pd.Series:
    """The first source of each composition, and that of a measurement under pressure where there is one."""
    others = entries[entries["source"].str.contains(PRESSURE)].drop_duplicates("key").set_index("key")["source"]
    others = others.reindex(first.index)
    return first.where(others.isna() | (others == first), first + "; " + others)


def _key(formula: str) -> str:
    return composition_key(fractions(parse_formula(formula)))

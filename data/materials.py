"""From rows to materials: what counts as one material, which structure represents it, which Tc it has."""

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data.families import family
from data.reading import Facts
from data.sources import relative
from data.tables import included, reject
from tc_common.composition import chemical_system, composition_key, formula_distance, fractions, parse_formula
from tc_common.reading import Outcome

# Fraction of atoms in which a structure may differ from its row's formula. SuperCon rounds to 3 decimals of a formula
# unit, and oxygen contents are known to about 0.05 in 7 atoms, 0.7 %; all of 3DSC agrees to 1e-11. Two percent is one
# atom in fifty: another material.
LARGEST_MISMATCH = 0.02
REPORTED_MISMATCH = 0.001
# Steps in which formula distances are compared, so that rounding does not decide between structures.
DISTANCE_STEP = 1e-4

# Entries of databases end in a number, as mp-19735, mvc-3929 and JVASP-816 do. The mvc entries, hypothetical cathodes
# for multivalent batteries, were numbered apart and came later.
NUMBERED = re.compile(r"(?P<prefix>[A-Za-z]+)-(?P<number>\d{1,15})")
LATER_PREFIXES = ("mvc",)

OTHER_STRUCTURE = "other structure"
TC_ZERO = "tc zero"
TcBelongsTo = Literal["formula", "structure"]


def add_facts(rows: pd.DataFrame, readings: dict[int, Outcome[Facts]]) -> pd.DataFrame:
    """Add what was found in each row's structure; reject what cannot be used or is of another formula.

    New columns: the facts of `data.reading.facts_of`, `distance` (of the formula from the structure), `remark`.
    """
    facts = pd.DataFrame({index: reading.result for index, reading in readings.items() if reading.result}).T
    reasons = pd.Series({index: reading.reason for index, reading in readings.items()}, dtype=object)
    rows = rows.join(facts.reindex(columns=list(FACTS)).astype(object))
    rows = reject(rows, rows["found"].isna(), reasons.reindex(rows.index).fillna(""))
    rows["formula"] = rows["formula"].where(rows["formula"] != "", rows["found_formula"].fillna(""))
    rows["distance"] = [_distance(*pair) for pair in zip(rows["formula"], rows["found"], strict=True)]
    difference = rows["distance"].map("its structure differs from its formula in {:.1%} of the atoms".format)
    rows["remark"] = difference.where(rows["distance"] > REPORTED_MISMATCH, rows["remarks"].fillna(""))
    return reject(rows, rows["distance"] > LARGEST_MISMATCH, difference)


FACTS = (
    "found_formula", "found", "sites", "partial", "volume_per_atom_A3", "shortest_distance_A", "a15_chains",
    "boron_honeycomb", "remarks",
)  # fmt: skip


def _distance(formula: str, found: Any) -> float:
    """Distance of a formula from the fractions found; 0 where nothing was read."""
    return formula_distance(fractions(parse_formula(formula)), found) if isinstance(found, dict) else 0.0


def add_keys(rows: pd.DataFrame) -> pd.DataFrame:
    """Add `key`, equal for rows of one composition however their formulas are written; empty without a formula."""
    keys = {text: composition_key(fractions(parse_formula(text))) for text in included(rows)["formula"].unique()}
    return rows.assign(key=rows["formula"].map(keys).where(rows["status"] == "", "").fillna(""))


def merge_tc(rows: pd.DataFrame, belongs_to: TcBelongsTo) -> pd.DataFrame:
    """Add `tc_min`, `tc_max`, `structures` per composition, and give its rows one Tc where Tc belongs to the formula.

    The Tc as listed stays in `tc_listed`.

    A composition that is listed twice gets the median of its positive Tc: not having seen superconductivity down to
    some temperature is no measurement of 0 K, and must not be averaged with one (aimat-lab/3DSC issue 3).
    """
    by_key = included(rows).groupby("key")["tc"]
    rows = rows.assign(
        tc_listed=rows["tc"], tc_min=rows["key"].map(by_key.min()), tc_max=rows["key"].map(by_key.max())
    )
    rows["structures"] = rows["key"].map(by_key.size()).fillna(0).astype(int)
    if belongs_to == "structure":
        return rows
    entries = included(rows).drop_duplicates(["key", "formula", "tc"])
    positive = entries[entries["tc"] > 0].groupby("key")["tc"].median()
    merged = rows["key"].map(positive).fillna(0.0)
    return rows.assign(tc=rows["tc"].where(rows["status"] != "", merged))


def multiple_tc(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Compositions listed with more than one Tc, for the report."""
    groups = rows[rows["tc_max"] > rows["tc_min"]].groupby("key")
    return [
        {
            "formulas": sorted(set(group["formula"])),
            "listed_K": sorted(set(group["tc_listed"])),
            "spread_K": float(group["tc_max"].iloc[0] - group["tc_min"].iloc[0]),
            "included_K": sorted(set(included(group)["tc"])),
        }
        for _, group in groups
    ]


def drop_tc_zero(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out materials in which no superconductivity was found."""
    return reject(rows, rows["tc"] == 0, "no superconductivity was found (--tc-zero drop)", TC_ZERO)


def one_structure(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep one structure of each composition, see `chosen_ids`; the others get the status `OTHER_STRUCTURE`."""
    mine = rows["key"].map(chosen_ids(included(rows))).astype(object).fillna("")
    return reject(rows, rows["material_id"] != mine, "represented by " + mine, OTHER_STRUCTURE)


def chosen_ids(rows: pd.DataFrame) -> pd.Series:
    """Chosen structure of each composition: smallest formula distance, then undoped, then the oldest database entry.

    Entries are as old as their number is low. The Materials Project began with the experimental structures of the
    ICSD and has added hypothetical polymorphs ever since; mp-19735, the CuO6 of La2CuO4, must come before mp-1077929,
    a hypothetical relative with square-planar copper, which sorts first as text. `benchmarks.chosen_structures` checks
    the rule against structures from the literature.
    """
    steps = (rows["distance"] / DISTANCE_STEP).round()
    ages = [_age(*pair) for pair in zip(rows["mp_id"], rows["material_id"], strict=True)]
    table = rows[["key", "doped", "material_id"]].assign(steps=steps, age=pd.Series(ages, rows.index, dtype=object))
    best_first = table.sort_values(["key", "steps", "doped", "age", "material_id"])
    return best_first.groupby("key")["material_id"].first()


def _age(entry: str, material_id: str) -> tuple[bool, float]:
    """Order of a database entry: whether it is one of `LATER_PREFIXES`, then its number (infinite without one)."""
    found = NUMBERED.fullmatch(entry or material_id)
    return (found["prefix"] in LATER_PREFIXES, float(found["number"])) if found else (False, float("inf"))


def materials_of(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per chosen structure, with the columns of the split files and of `materials.csv`, sorted by id."""
    return _described(included(rows), rows)


def other_structures_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The structures that `one_structure` did not choose, with the columns of `materials_of`."""
    return _described(rows[rows["status"] == OTHER_STRUCTURE], rows)


def _described(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """`table`, a part of `rows`, with what follows from composition and parents; a composition's weights sum to 1."""
    table = table.sort_values("material_id", ignore_index=True)
    compositions = [fractions(parse_formula(formula)) for formula in table["formula"]]
    return table.assign(
        cif=[relative(Path(path)) for path in table["cif"]],
        chemical_system=[chemical_system(composition) for composition in compositions],
        family=table["key"].map(families_of(rows)),
        weight=weights_of(table),
        parent_group=table["key"].map(parent_groups(rows)),
    )


def weights_of(table: pd.DataFrame) -> pd.Series:
    """1 / number of rows of the same composition."""
    return 1 / table.groupby("key")["key"].transform("size")


def families_of(rows: pd.DataFrame) -> dict[str, str]:
    """Family of each composition; a structure type counts if any of its structures has it.

    3DSC lists several structures for a formula, of which one is chosen; the measured sample had the one type.
    """
    read = rows[rows["found"].notna() & (rows["key"] != "")]
    marks = read.groupby("key").agg({"formula": "first", "a15_chains": "max", "boron_honeycomb": "max"})
    return {
        str(key): family(fractions(parse_formula(formula)), a15_chains=bool(a15), boron_honeycomb=bool(honeycomb))
        for key, formula, a15, honeycomb in marks.itertuples()
    }


def parent_groups(rows: pd.DataFrame) -> dict[str, str]:
    """For each composition the first parent structure of its connected component.

    Compositions are connected that share a parent, through any of their structures: those not chosen, too.
    """
    pairs = rows.loc[rows["key"] != "", ["key", "parent"]].drop_duplicates()
    compositions = "composition " + pairs["key"]
    parents = ("parent " + pairs["parent"]).where(pairs["parent"] != "", compositions)
    numbers, names = pd.factorize(pd.concat([compositions, parents]), sort=True)
    edges = coo_array((np.ones(len(pairs)), numbers.reshape(2, -1)), shape=(len(names), len(names)))
    component = connected_components(edges, directed=False)[1]
    first = pd.Series(names).groupby(component).first().to_numpy()
    return dict(zip(pairs["key"], first[component[numbers[: len(pairs)]]], strict=True))


# Rows of 3DSC whose measurement was withdrawn by its authors.
RETRACTED = "retracted"
_RH_FOR_PD = "retracted, the samples held Pd and not Rh (doi 10.1103/PhysRevB.83.019901)"
# Formula, Tc as 3DSC lists it (K), why. Collected in aimat-lab/3DSC issue 5.
RETRACTIONS = (
    ("YRh2Sn", 4.1, _RH_FOR_PD),
    ("LuRh2Sn", 2.9, _RH_FOR_PD),
    ("ScRh2Sn", 2.0, _RH_FOR_PD),
    ("Eu", 1.375, "2.75 K under pressure, retracted (doi 10.1103/PhysRevLett.127.269902), averaged with 0 K"),
)
TC_TOLERANCE_K = 0.01


def mark_retracted(rows: pd.DataFrame, source: str) -> pd.DataFrame:
    """Add `retraction`: why, where a row of 3DSC rests on a retracted paper, else empty.

    A row with another Tc rests on another paper and is left alone, as is every other source.
    """
    found = pd.Series("", rows.index)
    for formula, tc_K, why in RETRACTIONS if source == "3dsc" else ():
        same = rows["key"] == composition_key(fractions(parse_formula(formula)))
        found = found.mask(same & ((rows["tc"] - tc_K).abs() < TC_TOLERANCE_K), why)
    return rows.assign(retraction=found)


def drop_retracted(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out what `mark_retracted` marked."""
    return reject(rows, rows["retraction"] != "", rows["retraction"], RETRACTED)

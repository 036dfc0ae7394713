"""From rows to materials: which structure, which Tc, which parents."""

import random
from itertools import combinations

import pandas as pd
import pytest

from data.materials import (
    LARGEST_MISMATCH,
    add_facts,
    add_keys,
    drop_retracted,
    drop_tc_zero,
    mark_retracted,
    materials_of,
    merge_tc,
    multiple_tc,
    one_structure,
    parent_groups,
)
from data.tables import included
from tc_common.composition import fractions, parse_formula
from tc_common.reading import Outcome

Entry = tuple[str, str, float, str, bool]


def table(*entries: Entry, found: dict[str, str] | None = None) -> pd.DataFrame:
    """Rows of (id, formula, Tc in K, parent, doped) whose structures were read; `found` names other formulas found."""
    columns = ["material_id", "formula", "tc", "parent", "doped"]
    rows = pd.DataFrame(list(entries), columns=columns)
    rows = rows.assign(row=range(2, 2 + len(rows)), mp_id=rows["parent"], cif="/x.cif", status="", reason="")
    rows["formula_in_structure"] = False
    readings = {}
    for index, entry in enumerate(entries):
        formula = (found or {}).get(entry[0], entry[1])
        readings[index] = (
            Outcome(result=facts(formula), reason="") if formula else Outcome(result=None, reason="broken")
        )
    return add_keys(add_facts(rows, readings))


def facts(formula: str) -> dict[str, object]:
    return {
        "found_formula": formula,
        "found": fractions(parse_formula(formula)),
        "sites": 4,
        "partial": False,
        "volume_per_atom_A3": 12.0,
        "shortest_distance_A": 2.5,
        "a15_chains": formula.startswith("V3"),
        "boron_honeycomb": False,
        "remarks": "",
    }


def ids(rows: pd.DataFrame) -> list[str]:
    return sorted(included(rows)["material_id"])


def test_one_structure_is_the_nearest_then_undoped_then_first_id() -> None:
    rows = table(
        ("d", "LaO1.000", 1.0, "p1", False),
        ("a", "LaO1.000", 1.0, "p2", True),
        ("c", "LaO1.000", 1.0, "p3", False),
        ("b", "LaO1.000", 1.0, "p4", False),
        found={"b": "LaO1.01"},
    )
    assert ids(one_structure(rows)) == ["c"]
    assert ids(one_structure(rows.sample(frac=1, random_state=3))) == ["c"]
    assert set(one_structure(rows)["reason"]) == {"", "represented by c"}


def test_structures_of_another_formula_are_reported_and_beyond_two_percent_rejected() -> None:
    rows = table(
        ("a", "La2CuO4", 1.0, "p", False),
        ("b", "La2CuO4", 1.0, "p", False),
        ("c", "La2CuO4", 1.0, "p", False),
        found={"b": "La2CuO3.95", "c": "La2CuO3"},
    )
    assert ids(rows) == ["a", "b"]
    assert 0.001 < rows["distance"][1] < LARGEST_MISMATCH < rows["distance"][2]
    assert list(rows["remark"] != "") == [False, True, True]
    assert "of the atoms" in rows["reason"][2]


def test_unreadable_structures_keep_their_reason() -> None:
    rows = table(("a", "Nb", 9.2, "p", False), ("b", "Pb", 7.2, "p", False), found={"b": ""})
    assert list(rows["status"]) == ["", "rejected"]
    assert rows["reason"][1] == "broken"


def test_one_composition_gets_the_median_of_its_positive_tc_and_its_spread() -> None:
    rows = merge_tc(
        table(
            ("a", "Nb3Sn", 18.0, "p", False),
            ("b", "Nb0.75Sn0.25", 17.0, "p", False),
            ("c", "Nb6Sn2", 0.0, "p", False),
            ("d", "Pb", 0.0, "p", False),
        ),
        "formula",
    )
    assert list(rows["tc"]) == [17.5, 17.5, 17.5, 0.0]
    (entry,) = multiple_tc(one_structure(rows))
    assert entry["listed_K"] == [0.0, 17.0, 18.0]
    assert (entry["spread_K"], entry["included_K"]) == (18.0, [17.5])


def test_tc_of_a_structure_is_never_merged() -> None:
    rows = merge_tc(table(("a", "TiS", 8.0, "a", False), ("b", "TiS", 0.4, "b", False)), "structure")
    assert list(rows["tc"]) == [8.0, 0.4]
    assert multiple_tc(rows)[0]["spread_K"] == pytest.approx(7.6)


def test_not_superconducting_is_dropped_on_request_only() -> None:
    rows = merge_tc(table(("a", "Cu", 0.0, "p", False), ("b", "Pb", 7.2, "p", False)), "formula")
    assert ids(rows) == ["a", "b"]
    assert ids(drop_tc_zero(rows)) == ["b"]


def test_weights_of_a_composition_sum_to_one() -> None:
    materials = materials_of(merge_tc(table(("a", "Pb", 7.2, "p", False), ("b", "Pb", 7.2, "q", False)), "formula"))
    assert list(materials["weight"]) == [0.5, 0.5]
    assert list(materials["structures"]) == [2, 2]


def test_a_family_counts_if_any_structure_of_the_composition_has_its_type() -> None:
    rows = table(("a", "V3Si", 17.0, "p", False), ("b", "V3Si", 17.0, "q", False))
    rows["a15_chains"] = [False, True]
    assert set(materials_of(one_structure(merge_tc(rows, "formula")))["family"]) == {"A15"}
    rows["a15_chains"] = [False, False]
    assert set(materials_of(one_structure(merge_tc(rows, "formula")))["family"]) == {"other"}


def test_parent_groups_are_the_connected_components() -> None:
    """Against a brute-force oracle: merge groups as long as any two share a parent."""
    source = random.Random(0)
    for _ in range(20):
        pairs = [(f"Nb{source.randint(1, 12)}Sn", f"p{source.randint(1, 12)}") for _ in range(14)]
        rows = table(*[(f"m{n}", formula, 1.0, parent, False) for n, (formula, parent) in enumerate(pairs)])
        groups = parent_groups(rows)
        clusters: list[set[str]] = [{key, parent} for key, parent in zip(rows["key"], rows["parent"], strict=True)]
        while pair := next(((a, b) for a, b in combinations(clusters, 2) if a & b), None):
            clusters = [cluster for cluster in clusters if cluster not in pair] + [pair[0] | pair[1]]
        for a, b in combinations(sorted(groups), 2):
            together = any({a, b} <= cluster for cluster in clusters)
            assert (groups[a] == groups[b]) == together


def test_parents_of_structures_not_chosen_connect_too() -> None:
    rows = table(
        ("a", "LaO", 1.0, "p1", False),
        ("b", "LaO", 1.0, "p2", True),
        ("c", "LaO1.1", 2.0, "p2", True),
        ("d", "Pb", 7.2, "p3", False),
    )
    groups = materials_of(one_structure(merge_tc(rows, "formula"))).set_index("material_id")["parent_group"]
    assert groups["a"] == groups["c"] != groups["d"]


def test_rows_without_a_parent_are_their_own() -> None:
    rows = table(("a", "Nb", 9.2, "", False), ("b", "Pb", 7.2, "", False))
    assert len(set(parent_groups(rows).values())) == 2


def test_retracted_measurements_are_marked_and_dropped_on_request() -> None:
    rows = mark_retracted(
        table(
            ("a", "Rh2Sn1Y1", 4.1, "p", False),
            ("b", "Rh2Sn1Y1", 0.9, "p", False),
            ("c", "Pd2Sn1Y1", 4.81, "p", False),
            ("d", "Eu1", 1.375, "p", False),
        ),
        "3dsc",
    )
    assert ["retracted" in why for why in rows["retraction"]] == [True, False, False, True]
    assert set(mark_retracted(rows, "jarvis")["retraction"]) == {""}, "computed, not measured"
    assert ids(rows) == ["a", "b", "c", "d"]
    assert ids(drop_retracted(rows)) == ["b", "c"]

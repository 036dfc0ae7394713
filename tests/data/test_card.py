"""The dataset card says what the benchmark's file says."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import chosen_structures
from benchmarks.data_room import OUT, audit_table, family_table
from data.families import FAMILIES
from data.materials import RETRACTIONS

CARD = Path(__file__).parents[2] / "data" / "README.md"


@pytest.fixture(scope="module")
def card() -> str:
    return CARD.read_text(encoding="utf-8")


def test_tables_of_the_card_are_those_of_the_benchmark(card: str) -> None:
    report = json.loads(OUT.read_text(encoding="utf-8"))
    assert audit_table(report) in card
    assert family_table(report) in card


def test_counts_of_the_card_are_those_of_the_benchmark(card: str) -> None:
    report = json.loads(OUT.read_text(encoding="utf-8"))
    assert [split["groups_on_two_sides"] for split in report["splits"].values()] == [0, 0, 0]
    counts = (
        report["rows"]["in source"],
        report["materials"],
        report["formulas_with_multiple_structures"],
        report["doped_structures_listed"],
        report["doped_structures_chosen"],
        report["at_0_K"],
    )
    for count in counts:
        assert f"{count:,}" in card
    assert f"{report['a15_formulas_represented_by_another_type']} of {report['families']['A15']['materials']}" in card
    assert f"{report['rows']['rejected']} are rejected" in card
    for formula in report["formulas_without_a_usable_structure"]:
        assert formula in card
    for column, share in (("parent_group", r"(\d+) % of the formulas"), ("chemical_system", r"and (\d+) % a set of")):
        found = re.search(share, card)
        assert found is not None
        assert int(found.group(1)) == round(100 * report["neighbourhood"][column])


def test_the_card_says_what_the_check_of_chosen_structures_found(card: str) -> None:
    found = json.loads(chosen_structures.OUT.read_text(encoding="utf-8"))
    right = found["right_by_rule"]
    assert list(right) == list(chosen_structures.RULES)
    text = " ".join(card.split())
    assert f"{found['compounds_with_a_right_structure']} compounds of the shipped sample" in text
    assert f"chooses a matching one in {right['oldest entry (in use)']} of them" in text
    assert f"did in {right['first id as text (before)']} ({found['expected_of_a_random_choice']} are expected" in text
    assert f"Fewest sites chooses right in {right['fewest sites']}, the smallest volume per atom in" in text
    assert f"{found['changed_by_the_rule_in_use']:,} of {found['compositions']:,} compositions have another" in text
    assert right["oldest entry (in use)"] > max(list(right.values())[1:])


def test_licences_figures_and_what_is_wrong_are_named(card: str) -> None:
    assert card.count("CC BY 4.0") >= 3
    assert (CARD.parent / "tc_by_family.png").stat().st_size < 100_000
    assert all(name in card for name in FAMILIES)
    assert all(formula in card for formula, _, _ in RETRACTIONS)
    assert "issue 3" in card

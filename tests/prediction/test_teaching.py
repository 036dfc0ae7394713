"""Crystals for the student: real ones, reproducible, and none of a composition that is held out."""

from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Composition, Structure

from prediction.teaching import away_from, changed_copy, copies_of, drawn_partner, partners
from tc_common.crystals import check_crystal, read_crystal

SAMPLE = Path(__file__).parents[2] / "data/sample/cifs"


@pytest.fixture
def crystal() -> Structure:
    """YBa2Cu3O7."""
    return read_crystal(next(SAMPLE.glob("YBa2Cu3O*.cif")))


def test_ionic_neighbours_are_those_of_chemistry() -> None:
    table = partners()
    assert {"Ca", "Ba"} & set(table["Sr"]) and table["Sr"].get("Ca", 0) > table["Sr"].get("F", 0)
    assert all(old not in news and min(news.values()) > 0 for old, news in table.items())


def test_a_partner_is_no_element_of_the_crystal() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        found = drawn_partner(Composition("YBa2Cu3O7"), random)
        assert found is not None and found[0] in {"Y", "Ba", "Cu", "O"} and found[1] not in {"Y", "Ba", "Cu", "O"}


@pytest.mark.parametrize("kind", ["substituted", "doped", "strained", "occupancy"])
def test_each_kind_of_copy_is_a_crystal_of_its_kind(crystal: Structure, kind: str) -> None:
    copies = [changed_copy(crystal, kind, np.random.default_rng(seed)) for seed in range(8)]
    made = [copy for copy in copies if copy is not None]
    assert made
    for copy in made:
        check_crystal(copy)
        shared = {e.symbol for e in copy.composition} & {e.symbol for e in crystal.composition}
        new = len(copy.composition) - len(shared)
        assert new == (1 if kind in ("substituted", "doped") else 0)
        assert abs(copy.volume / crystal.volume - 1) < 0.08
        if kind == "substituted":
            assert len(copy.composition) == len(crystal.composition)
    assert any(abs(copy.volume - crystal.volume) > 1e-3 for copy in made)


def test_copies_depend_on_the_seed_alone(crystal: Structure) -> None:
    first, again, other = (
        [copy.as_dict() for _, copy in copies_of(crystal, 4, np.random.default_rng(seed))] for seed in (1, 1, 2)
    )
    assert first == again and first != other and 1 <= len(first) <= 4


def test_held_out_compositions_are_found_within_half_a_percent(crystal: Structure) -> None:
    doped = crystal.copy()
    doped.replace_species({"Y": {"Y": 0.9, "Ca": 0.1}})
    near = crystal.copy()
    near.replace_species({"Y": {"Y": 0.97, "Ca": 0.03}})  # 0.0023 of the atoms
    held_out = [crystal.composition.reduced_formula]
    assert away_from([crystal, near, doped], held_out) == [False, False, True]
    assert away_from([crystal], ["Nb3Sn"]) == [True]

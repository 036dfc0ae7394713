"""Bonds against a search over periodic images by brute force, and CrystalNN's failures in the open."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.analysis.local_env import CrystalNN
from pymatgen.core import Composition, Lattice, Structure

from dinov3_pipeline.render.atoms import (
    COVALENT_TOLERANCE_A,
    BondMode,
    Bonds,
    covalent_radius_A,
    dominant,
    find_bonds,
    orbits,
)
from tc_common.crystals import read_crystal
from tests.dinov3_pipeline.crystals import cuprate, random_crystal, rock_salt

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "cifs"

Directed = set[tuple[int, int, int, int, int]]


def as_set(bonds: Bonds) -> Directed:
    columns = (bonds.center, bonds.neighbor, *bonds.image.T)
    return {(i, j, a, b, c) for i, j, a, b, c in zip(*(column.tolist() for column in columns), strict=True)}


def brute_force(structure: Structure, reach: int) -> Directed:
    """Covalent bonds by trying every pair in every neighbouring cell."""
    found: Directed = set()
    for i, j in product(range(len(structure)), repeat=2):
        limit_A = sum(covalent_radius_A(structure[k].specie.symbol) for k in (i, j)) + COVALENT_TOLERANCE_A
        for a, b, c in product(range(-reach, reach + 1), repeat=3):
            offset = structure[j].frac_coords + (a, b, c) - structure[i].frac_coords
            if 0.5 < np.linalg.norm(offset @ structure.lattice.matrix) <= limit_A:
                found.add((i, j, a, b, c))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_covalent_bonds_are_those_found_by_brute_force(seed: int) -> None:
    structure = random_crystal(np.random.default_rng(seed))
    found = as_set(find_bonds(structure, "covalent"))
    assert found == brute_force(structure, reach=5)
    assert len(found) > 10


def test_vectors_have_the_length_of_the_bonds() -> None:
    structure = rock_salt()
    bonds = find_bonds(structure, "crystal-nn")
    lengths_A = np.linalg.norm(bonds.vectors_A(structure), axis=1)
    assert lengths_A == pytest.approx(np.full(8 * 6, 2.82))


def test_every_bond_is_listed_from_both_ends() -> None:
    bonds = as_set(find_bonds(cuprate(0), "crystal-nn"))
    assert bonds == {(j, i, -a, -b, -c) for i, j, a, b, c in bonds}


@pytest.mark.parametrize("material_id", ["Nb3Sn-Cr3Si", "MgB2-AlB2", "YBa2Cu3O6.93-YBa2Cu3O7", "FeSe-PbO", "Mg-Mg"])
def test_crystal_nn_asked_once_per_kind_finds_what_it_finds_at_every_site(
    material_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    structure = dominant(read_crystal(SAMPLE / f"{material_id}.cif"))
    structure.translate_sites(range(len(structure)), [0.1, 0.7, -2.3], to_unit_cell=False)
    asked: list[int] = []
    original = CrystalNN.get_nn_info

    def counting(self: CrystalNN, crystal: Structure, n: int) -> list[dict[str, Any]]:
        asked.append(n)
        return original(self, crystal, n)

    monkeypatch.setattr(CrystalNN, "get_nn_info", counting)
    found = as_set(find_bonds(structure, "crystal-nn"))
    assert len(asked) < len(structure)
    every_site = {
        (center, near["site_index"], *map(int, near["image"]))
        for center in range(len(structure))
        for near in original(CrystalNN(), structure, center)
    }
    assert found == every_site | {(j, i, -a, -b, -c) for i, j, a, b, c in every_site}


def test_nearly_equivalent_sites_are_left_apart() -> None:
    structure = rock_salt()
    assert sorted(map(len, orbits(structure))) == [4, 4]
    structure.translate_sites([1], [0.001, 0, 0])  # 0.006 Å
    assert len(orbits(structure)) > 2
    on_top = Structure(Lattice.cubic(4), ["Cu", "Cu"], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert list(map(len, orbits(on_top))) == [1, 1]
    assert len(find_bonds(on_top, "crystal-nn").failures) in (0, 2)  # but no crash


def test_a_doped_crystal_keeps_the_bonds_of_its_parent() -> None:
    with pytest.raises((AttributeError, ValueError)):  # CrystalNN itself cannot read a shared site
        CrystalNN().get_nn_info(cuprate(0.2), 0)
    modes: list[BondMode] = ["crystal-nn", "covalent"]
    for mode in modes:
        doped = find_bonds(cuprate(0.2), mode)
        assert as_set(doped) == as_set(find_bonds(cuprate(0), mode)) != set()
        assert not doped.failures


def test_a_mixed_site_bonds_like_its_most_frequent_element() -> None:
    sites = [Composition({"La": 0.4, "Sr": 0.6}), Composition({"Sr": 0.3, "Ba": 0.3, "La": 0.2}), Composition("O")]
    mixed = Structure(Lattice.cubic(5), sites, [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.0]])
    assert [site.specie.symbol for site in dominant(mixed)] == ["Sr", "Ba", "O"]


def test_a_site_that_crystal_nn_fails_on_is_listed_and_the_others_keep_their_bonds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = CrystalNN.get_nn_info

    def failing(self: CrystalNN, structure: Structure, n: int) -> list[dict[str, object]]:
        if structure[n].specie.symbol == "Na":
            raise RuntimeError("No Voronoi neighbors found\nfor site")
        return original(self, structure, n)

    monkeypatch.setattr(CrystalNN, "get_nn_info", failing)
    bonds = find_bonds(rock_salt(), "crystal-nn")
    assert len(bonds.failures) == 4
    assert bonds.failures[0] == "site 0 (Na): No Voronoi neighbors found for site"
    assert len(bonds.center) == 48  # each Na still hangs on its Cl neighbours' bonds


def test_an_unforeseen_error_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: CrystalNN, structure: Structure, n: int) -> None:
        raise AttributeError("a defect")

    monkeypatch.setattr(CrystalNN, "get_nn_info", broken)
    with pytest.raises(AttributeError):
        find_bonds(rock_salt(), "crystal-nn")


def test_no_bonds_when_none_are_asked_for() -> None:
    bonds = find_bonds(rock_salt(), "none")
    assert bonds.vectors_A(rock_salt()).shape == (0, 3)

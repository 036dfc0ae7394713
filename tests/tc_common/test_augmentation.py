"""Changed crystals: as large as asked for, the same composition, and crystals still."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from tc_common.augmentation import LARGEST, MovableCrystal, StructureAugmentation, displaced, symmetrised
from tc_common.crystals import CrystalError, check_crystal, read_crystal

CIFS = sorted((Path(__file__).parents[2] / "data" / "sample" / "cifs").glob("*.cif"))[::12]
SHAPES: tuple[dict[str, float], ...] = ({"strain": 0.02}, {"shear": 0.01}, {"displacement_A": 0.03}, {"symmetrise": 1})


@pytest.fixture(scope="module")
def crystals() -> list[Structure]:
    return [read_crystal(cif) for cif in CIFS]


def changed(structure: Structure, seed: int = 0, **sizes: float) -> Structure:
    return StructureAugmentation(**sizes).apply(structure, np.random.default_rng(seed))


def rock_salt(a_A: float = 4.2, **sodium: float) -> Structure:
    metal = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    species: list[Any] = [sodium or {"Na": 1.0}] * 4 + ["Cl"] * 4
    return Structure(Lattice.cubic(a_A), species, [*metal, *(metal + 0.5) % 1])


def symbol(structure: Structure) -> str:
    with warnings.catch_warnings():  # pymatgen calls spglib in a way that spglib deprecates
        warnings.simplefilter("ignore")
        return str(SpacegroupAnalyzer(structure, 1e-3).get_space_group_symbol())


@pytest.mark.parametrize("sizes", [*SHAPES, {name: size for shape in SHAPES for name, size in shape.items()}])
def test_shape_changes_leave_the_composition_and_give_crystals(
    crystals: list[Structure], sizes: dict[str, float]
) -> None:
    moved = 0
    for seed, crystal in enumerate(crystals):
        result = changed(crystal, seed, **sizes)
        check_crystal(result)
        before, after = (structure.composition.fractional_composition for structure in (crystal, result))
        assert all(after[element] == pytest.approx(before[element], abs=1e-9) for element in before)
        assert set(before) == set(after)
        moved += result is not crystal
    assert moved == len(crystals)


def test_strain_changes_all_lengths_alike_and_up_to_its_size(crystals: list[Structure]) -> None:
    factors = []
    for seed in range(200):
        crystal = crystals[seed % len(crystals)]
        result = changed(crystal, seed, strain=0.02)
        ratios = np.array(result.lattice.abc) / crystal.lattice.abc
        assert ratios == pytest.approx(ratios[0])
        assert result.lattice.angles == pytest.approx(crystal.lattice.angles)
        assert np.allclose(result.frac_coords, crystal.frac_coords)
        factors.append(ratios[0] - 1)
    assert -0.02 < min(factors) < -0.018 and 0.018 < max(factors) < 0.02
    assert np.std(factors) == pytest.approx(0.02 / 3**0.5, rel=0.1)


def test_shear_turns_right_angles_by_up_to_twice_its_size() -> None:
    angles = np.array([changed(rock_salt(), seed, shear=0.01).lattice.angles for seed in range(200)])
    turns = np.abs(np.radians(angles - 90))
    assert 0.018 < turns.max() < 0.0202
    assert np.median(turns) > 0.005


def test_displacements_have_their_sd_and_no_more_than_three() -> None:
    crystal = rock_salt()
    moves_A = np.concatenate(
        [changed(crystal, seed, displacement_A=0.03).cart_coords - crystal.cart_coords for seed in range(200)]
    )
    assert moves_A.std() == pytest.approx(0.03, rel=0.05)
    assert 0.085 < np.abs(moves_A).max() <= 0.09 + 1e-9


def test_moved_arrays_are_those_of_the_changed_crystal(crystals: list[Structure]) -> None:
    sizes = StructureAugmentation(strain=0.02, shear=0.006, displacement_A=0.02)
    for seed, crystal in enumerate(crystals):
        whole = sizes.apply(crystal, np.random.default_rng(seed))
        matrix_A, xyz_A = sizes.move(MovableCrystal(crystal), np.random.default_rng(seed))
        assert whole != crystal
        assert np.allclose(matrix_A, whole.lattice.matrix, atol=1e-12)
        assert np.allclose(xyz_A, whole.cart_coords, atol=1e-12)


def test_a_cell_that_no_crystal_has_is_refused() -> None:
    thin = MovableCrystal(Structure(Lattice.cubic(5.31), ["He"], [[0, 0, 0]]))  # 149.7 Å³ an atom, of at most 150
    refused = 0
    for seed in range(40):
        try:
            matrix_A, _ = StructureAugmentation(strain=0.02).move(thin, np.random.default_rng(seed))
            assert np.linalg.det(matrix_A) <= 150
        except CrystalError as error:
            assert "per atom" in str(error)
            refused += 1
    assert 10 < refused < 30


def test_a_symmetrised_copy_has_the_symmetry_that_small_moves_broke() -> None:
    crystal = rock_salt()
    broken = displaced(crystal, 0.01, np.random.default_rng(0))
    assert symbol(broken) == "P1"
    mended = changed(broken, symmetrise=1.0)
    assert symbol(mended) == "Fm-3m"
    assert mended.volume / len(mended) == pytest.approx(crystal.volume / len(crystal), rel=1e-6)
    halves = [len(changed(crystal, seed, symmetrise=0.5)) == 2 for seed in range(200)]
    assert 0.4 < np.mean(halves) < 0.6


def test_sites_of_other_mixtures_are_not_alike() -> None:
    crystal = rock_salt(Na=0.5, K=0.5)
    crystal.replace(0, {"Na": 0.6, "K": 0.4})
    assert symmetrised(crystal).composition.fractional_composition.almost_equals(
        crystal.composition.fractional_composition, rtol=1e-9
    )
    assert symbol(symmetrised(crystal)) != "Fm-3m"


def test_occupancies_change_within_their_bound_and_sites_stay_full() -> None:
    crystal = rock_salt(Na=0.9, K=0.1)
    amounts = []
    for seed in range(100):
        result = changed(crystal, seed, occupancy=0.005)
        mixed = [site.species for site in result if len(site.species) > 1]
        assert len(mixed) == 4 and len(set(mixed)) == 1, "alike sites stay alike"
        assert mixed[0].num_atoms == pytest.approx(1)
        assert all(
            site.species == before.species
            for site, before in zip(result, crystal, strict=True)
            if len(before.species) == 1
        )
        amounts.append(mixed[0]["K"] - 0.1)
    assert 0.002 < np.abs(amounts).max() <= 0.005
    assert abs(np.mean(amounts)) < 0.001


def test_a_trace_never_leaves_its_site_and_a_vacancy_is_shared_in() -> None:
    trace = [changed(rock_salt(Na=0.999, K=0.001), seed, occupancy=0.05)[0].species["K"] for seed in range(100)]
    assert 0.0005 - 1e-9 <= min(trace) < 0.00051
    vacant = [changed(rock_salt(Na=0.9), seed, occupancy=0.005)[0].species.num_atoms for seed in range(100)]
    assert 0.895 <= min(vacant) < 0.898 and 0.902 < max(vacant) <= 0.905
    assert changed(rock_salt(), 0, occupancy=0.05) == rock_salt(), "an ordered crystal has nothing to change"


def test_the_same_seed_gives_the_same_crystal_and_nothing_asked_changes_nothing(crystals: list[Structure]) -> None:
    sizes = {"strain": 0.02, "shear": 0.01, "displacement_A": 0.03, "symmetrise": 0.5, "occupancy": 0.005}
    for crystal in crystals[:8]:
        before = crystal.copy()
        assert changed(crystal, 5, **sizes) == changed(crystal, 5, **sizes)
        assert changed(crystal, 5, **sizes) != changed(crystal, 6, **sizes)
        assert crystal == before, "the crystal itself was changed"
        assert changed(crystal) == crystal
    assert not StructureAugmentation().changes
    assert all(StructureAugmentation(**{name: size}).changes for name, size in sizes.items())


def test_a_crystal_that_a_change_would_break_stays_as_it_is() -> None:
    molecule = Structure(Lattice.cubic(5), ["H", "H", "Au"], np.array([[0, 0, 0], [0.101, 0, 0], [0.5] * 3]))
    check_crystal(molecule)
    results = [changed(molecule, seed, strain=0.05) for seed in range(20)]
    kept = [result is molecule for result in results]
    assert 0 < sum(kept) < 20
    augmentation = StructureAugmentation(strain=0.05)
    said = [augmentation.changed(molecule, np.random.default_rng(seed)) is None for seed in range(20)]
    assert said == kept, "the copy is reported as unchanged"
    for result in results:
        check_crystal(result)


@pytest.mark.parametrize("name", LARGEST)
def test_sizes_out_of_bounds_are_refused(name: str) -> None:
    for size in (-0.001, LARGEST[name] * 1.01, float("nan")):
        with pytest.raises(ValueError, match=f"--augment-structure.{name.replace('_', '-')} must be from 0 to"):
            StructureAugmentation(**{name: size})
    StructureAugmentation(**{name: LARGEST[name]})

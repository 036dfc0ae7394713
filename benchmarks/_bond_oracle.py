"""Bonds found once per unit cell, counted against searches that share no code with it."""

import warnings
from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pymatgen.analysis.local_env import CrystalNN
from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
from pymatgen.core import Structure

from dinov3_pipeline.render.atoms import BondMode, dominant, find_bonds

Lengths = Counter[tuple[str, str, float]]  # (element, element, length in Å) -> directed bonds
MOST_SITES = 12


def look_at_bonds(table: pd.DataFrame, crystal_nn_crystals: int) -> dict[str, Any]:
    """Compare the bonds of crystals of up to `MOST_SITES` sites; list the sites of all where CrystalNN fails."""
    small = [crystal for crystal in table["crystal"] if len(crystal) <= MOST_SITES]
    few = [dominant(crystal) for crystal in small[:crystal_nn_crystals]]
    covalent = [(found_lengths(crystal, "covalent"), brute_force_lengths(crystal)) for crystal in small]
    twice = [
        (found_lengths(crystal, "crystal-nn"), halved(crystal_nn_lengths(crystal * (2, 1, 1)))) for crystal in few
    ]
    failures = [
        f"{row.material_id}: {failure}"
        for row in table.itertuples()
        for failure in find_bonds(row.crystal, "crystal-nn").failures
    ]
    return {
        "covalent_crystals": len(small),
        "covalent_directed_bonds": sum(expected.total() for _, expected in covalent),
        "covalent_missing_or_surplus": sum(differing(*pair) for pair in covalent),
        "crystal_nn_crystals": len(few),
        "crystal_nn_directed_bonds": sum(expected.total() for _, expected in twice),
        "crystal_nn_missing_or_surplus": sum(differing(*pair) for pair in twice),
        "crystal_nn_failed_sites": failures,
    }


def differing(found: Lengths, expected: Lengths) -> int:
    """Bonds that only one of the two has."""
    return ((found - expected) + (expected - found)).total()


def halved(lengths: Lengths) -> Lengths:
    """Bonds per unit cell of a supercell of two cells."""
    assert all(number % 2 == 0 for number in lengths.values())
    return Counter({bond: number // 2 for bond, number in lengths.items()})


def found_lengths(crystal: Structure, mode: BondMode) -> Lengths:
    """The renderer's bonds."""
    symbols = [site.specie.symbol for site in dominant(crystal)]
    bonds = find_bonds(crystal, mode)
    lengths_A = np.linalg.norm(bonds.vectors_A(crystal), axis=1)
    return Counter(
        (symbols[i], symbols[j], round(float(length_A), 3))
        for i, j, length_A in zip(bonds.center, bonds.neighbor, lengths_A, strict=True)
    )


def crystal_nn_lengths(crystal: Structure) -> Lengths:
    """CrystalNN asked at every site; a bond counts in both directions if either end names it."""
    finder = CrystalNN()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        listed = {
            (center, near["site_index"], *map(int, near["image"]))
            for center in range(len(crystal))
            for near in finder.get_nn_info(crystal, center)
        }
    listed |= {(j, i, -a, -b, -c) for i, j, a, b, c in listed}
    return Counter(
        (crystal[i].specie.symbol, crystal[j].specie.symbol, round(float(crystal.get_distance(i, j, cell)), 3))
        for i, j, *cell in listed
    )


def brute_force_lengths(crystal: Structure) -> Lengths:
    """Covalent bonds by trying all pairs over all cells that could matter."""
    symbols = [site.specie.symbol for site in dominant(crystal)]
    radii_A = [CovalentRadius.radius.get(symbol, 1.5) for symbol in symbols]
    images = cells_within(crystal, 2 * max(radii_A) + 0.4)
    found: Lengths = Counter()
    for i, j in product(range(len(crystal)), repeat=2):
        offsets_A = (crystal[j].frac_coords - crystal[i].frac_coords + images) @ crystal.lattice.matrix
        for length_A in np.linalg.norm(offsets_A, axis=1):
            if 0.5 < length_A <= radii_A[i] + radii_A[j] + 0.4:
                found[symbols[i], symbols[j], round(float(length_A), 3)] += 1
    return found


def cells_within(crystal: Structure, reach_A: float) -> NDArray[np.int64]:
    """(C, 3) every cell that may hold a neighbour within the radius, and some more."""
    heights_A = 1 / np.array(crystal.lattice.reciprocal_lattice_crystallographic.abc)
    limits = [int(np.ceil(reach_A / height_A)) + 1 for height_A in heights_A]
    return np.array(list(product(*(range(-limit, limit + 1) for limit in limits))))

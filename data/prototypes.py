"""Two structure types that a formula cannot tell: the chains of A15 and the boron honeycomb of MgB2.

Both are read off the shell of nearest neighbours, so cell choice, supercells and doped sites make no difference.
"""

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

# A15: chain neighbours at a/2, the next ones at 0.559 a, 12 % further.
A15_SHELL = 1.06
# B-B in AlB2-type borides measures 1.70 to 1.90 Å (a / sqrt 3).
LONGEST_BORON_BOND_A = 2.1
# Length of the sum of unit vectors to the neighbours: 0 if they lie opposite or in a plane, 0.9 in puckered ReB2.
FLAT = 0.3


def has_a15_chains(structure: Structure) -> bool:
    """Whether three quarters of the sites form straight chains, their two neighbours nearer than any others.

    The Cr3Si type (space group Pm-3n): A atoms of A3B run in chains along the three cubic axes.
    """
    if len(structure) < 8:
        return False
    counts, imbalance = _shells(structure, A15_SHELL * shortest_distance_A(structure))
    chains = (counts == 2) & (imbalance < FLAT)
    return bool(chains.mean() == 0.75 and (counts[~chains] == 0).all())


def has_boron_honeycomb(structure: Structure) -> bool:
    """Whether every site with boron has exactly three such neighbours, in a plane: graphite-like layers, AlB2 type."""
    boron = [site for site in structure if "B" in site.species.get_el_amt_dict()]
    if not 0 < len(boron) < len(structure):
        return False
    counts, imbalance = _shells(Structure.from_sites(boron), LONGEST_BORON_BOND_A)
    return bool((counts == 3).all() and (imbalance < FLAT).all())


def shortest_distance_A(structure: Structure) -> float:
    """Shortest distance between two sites, images of one site included."""
    distances_A = np.array(structure.distance_matrix)
    np.fill_diagonal(distances_A, min(structure.lattice.abc))
    return float(distances_A.min())


def _shells(structure: Structure, cutoff_A: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Per site: number of neighbours within the cutoff, and length of the sum of the unit vectors to them."""
    centers, neighbors, images, distances_A = structure.get_neighbor_list(cutoff_A)
    fractional = structure.frac_coords[neighbors] + images - structure.frac_coords[centers]
    vectors_A = structure.lattice.get_cartesian_coords(fractional)
    sums = np.zeros((len(structure), 3))
    np.add.at(sums, centers, vectors_A / np.maximum(distances_A, 1e-9)[:, None])
    return np.bincount(centers, minlength=len(structure)), np.linalg.norm(sums, axis=1)

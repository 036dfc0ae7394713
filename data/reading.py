"""What the data room needs to know of each structure, read once, in worker processes with a time and a memory limit.

Among it two structure types that a formula cannot tell: the chains of A15 and the boron honeycomb of MgB2. Both are
read off the shell of nearest neighbours, so cell choice, supercells and doped sites make no difference.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from tc_common.composition import fractions
from tc_common.crystals import read_crystal
from tc_common.reading import Limits, Outcome, read_files

Facts = dict[str, Any]
# A15: chain neighbours at a/2, the next ones at 0.559 a, 12 % further.
A15_SHELL = 1.06
# B-B in AlB2-type borides measures 1.70 to 1.90 Å (a / sqrt 3).
LONGEST_BORON_BOND_A = 2.1
# Length of the sum of unit vectors to the neighbours: 0 if they lie opposite or in a plane, 0.9 in puckered ReB2.
FLAT = 0.3


def read_all(paths: list[Path], workers: int, limits: Limits | None = None) -> list[Outcome[Facts]]:
    """Facts of every file, or why there are none; their order is that of the paths, whatever the number of workers."""
    return read_files(facts_of, paths, workers, limits or Limits(), "reading crystals")


def facts_of(path: Path) -> Facts:
    """What the rest of the data room needs to know of a structure.

    Raises:
        CrystalError: the file cannot be used.
    """
    structure = read_crystal(path)
    sites = [site.species for site in structure]
    return {
        "found_formula": structure.composition.reduced_formula,
        "found": fractions(structure.composition),
        "sites": len(structure),
        "partial": any(len(species) > 1 or species.num_atoms < 1 - 1e-6 for species in sites),
        "volume_per_atom_A3": round(structure.volume / structure.composition.num_atoms, 3),
        "shortest_distance_A": round(shortest_distance_A(structure), 3),
        "a15_chains": has_a15_chains(structure),
        "boron_honeycomb": has_boron_honeycomb(structure),
        "remarks": "; ".join(structure.properties["remarks"]),
    }


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

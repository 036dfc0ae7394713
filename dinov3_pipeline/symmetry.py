"""What is true of a site is true of the sites that symmetry maps it to: find it once, carry it there."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

# Sites that are only nearly equivalent are left apart: what is found must be the same as without symmetry.
TOLERANCE_A = 1e-3

Neighbor = tuple[int, int, int, int]
"""Site and the cell it lies in, relative to the cell of the site whose neighbour it is."""


@dataclass(frozen=True)
class Operation:
    """x -> rotation @ x + translation, in fractional coordinates, takes `source` to `target`."""

    source: int
    target: int
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]


def orbits(structure: Structure) -> list[list[Operation]]:
    """Every site once: lists of operations that take one site of each symmetry-distinct kind to all of its kind."""
    try:
        dataset = SpacegroupAnalyzer(structure, symprec=TOLERANCE_A).get_symmetry_dataset()
    except SymmetryUndeterminedError:  # atoms on top of each other; every site is then its own kind
        return [[Operation(site, site, np.eye(3), np.zeros(3))] for site in range(len(structure))]
    kinds: dict[int, list[Operation]] = {}
    for target, source in enumerate(dataset.equivalent_atoms.tolist()):
        moved = dataset.rotations @ structure.frac_coords[source] + dataset.translations  # (operations, 3)
        distances_A, _ = _distances_A(structure, moved, np.array([target]))
        nearest = int(distances_A.argmin())
        operation = Operation(source, target, dataset.rotations[nearest], dataset.translations[nearest])
        kinds.setdefault(source, []).append(operation)
    return list(kinds.values())


def carry(structure: Structure, operation: Operation, neighbors: Iterable[Neighbor]) -> list[Neighbor]:
    """The neighbours of `operation.target`, given those of `operation.source`."""
    listed = list(neighbors)
    if operation.source == operation.target:
        return listed
    sites = np.array([operation.source, *(site for site, *_ in listed)])
    cells = np.array([(0, 0, 0), *(cell for _, *cell in listed)])
    moved = (structure.frac_coords[sites] + cells) @ operation.rotation.T + operation.translation
    distances_A, offsets = _distances_A(structure, moved, np.arange(len(structure)))
    found = distances_A.argmin(axis=0)
    assert distances_A.min(axis=0).max() < 10 * TOLERANCE_A and found[0] == operation.target
    shifts = offsets[found, np.arange(len(sites))]
    carried = np.column_stack([found, shifts - shifts[0]])[1:].astype(int)
    return [(site, a, b, c) for site, a, b, c in carried.tolist()]


def _distances_A(
    structure: Structure, points: NDArray[np.float64], sites: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(S, P) distances of points from the nearest image of sites, and (S, P, 3) the cells those images lie in."""
    difference = points[None] - structure.frac_coords[sites][:, None]
    cells = np.rint(difference)
    return np.linalg.norm((difference - cells) @ structure.lattice.matrix, axis=-1), cells

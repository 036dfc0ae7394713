"""From images of atoms to sites: shared sites, split positions, repeated rows; and which atoms come too close.

One rule for all who read crystals: atoms closer than `SHORTEST_DISTANCE_A` that fill at most one site together are
alternatives of one atom (a mixed site, or an oxygen that sits left or right), and become one site at their mean.
"""

import math
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from tc_common.atoms import LARGEST_CELL_SITES, OCCUPANCY_TOLERANCE, Atoms
from tc_common.cif import CrystalError
from tc_common.space_groups import Operations

Floats = NDArray[np.float64]
Species = dict[str, float]
MOST_IMAGES = 200_000  # listed atoms times operations, most of which coincide; unfolded in 0.2 s
# Images of one atom that come so close are one atom on a special position, written with few digits (0.333).
SAME_ATOM_A = 0.05
# The H2 molecule, the shortest bond there is, measures 0.74 Å.
SHORTEST_DISTANCE_A = 0.5
SNAPPED_A = 5e-4  # what is moved further than this is mentioned
ROWS_AT_ONCE = 128
MOST_NEIGHBOURS = 20_000  # sites times neighbouring cells that are searched for close pairs: a second
MOST_CLOSE_PAIRS = 20_000
SCALED = f"occupancies of a shared site that sum to at most {OCCUPANCY_TOLERANCE} were scaled to 1"
MERGED = "split positions of one atom were merged to their mean"
WHOLE = "lists all atoms of the cell and its symmetry too; every atom was taken once"


@dataclass(frozen=True, eq=False)
class Images:
    """Every atom of the cell, once for each listed atom that it is an image of."""

    frac: Floats
    """(N, 3), in [0, 1)"""
    atom: NDArray[np.int64]
    """(N,) index of the listed atom"""
    count: NDArray[np.int64]
    """(A,) images of each listed atom"""
    moved_A: float
    """The furthest that an atom was moved to its special position."""


def unfold(atoms: Atoms, operations: Operations, matrix: Floats) -> Images:
    """All images of the listed atoms in the cell; those of one atom closer than `SAME_ATOM_A` are one.

    Args:
        matrix: (3, 3) lattice vectors as rows, angstrom.

    Raises:
        CrystalError: more than `LARGEST_CELL_SITES`.
    """
    size = len(atoms.frac) * len(operations.rotations)
    if size > MOST_IMAGES:
        raise CrystalError(f"up to {size} atoms in the cell; at most {MOST_IMAGES} are unfolded")
    frac, stabilisers, moved_A = _special_positions(atoms.frac, operations, matrix)
    images = wrapped((operations.rotations @ frac.T).transpose(2, 0, 1) + operations.translations)
    distinct = [each[first] for each, first in zip(images, _first_of_each(images), strict=True)]
    if any(len(each) * order != images.shape[1] for each, order in zip(distinct, stabilisers.tolist(), strict=True)):
        distinct = [_apart(each, matrix) for each in distinct]
    found, count = np.concatenate(distinct), np.array([len(each) for each in distinct])
    if len(found) > LARGEST_CELL_SITES:
        raise CrystalError(f"{len(found)} sites; between 1 and {LARGEST_CELL_SITES} can be used")
    return Images(found, np.repeat(np.arange(len(count)), count), count, moved_A)


def wrapped(frac: Floats) -> Floats:
    """Coordinates in [0, 1), free of rounding at the border."""
    frac = frac % 1.0
    return np.where(frac > 1 - 1e-9, 0.0, frac)


def _special_positions(
    frac: Floats, operations: Operations, matrix: Floats
) -> tuple[Floats, NDArray[np.int64], float]:
    """Every atom at the mean of those of its images that coincide with it.

    Returns:
        (A, 3), the number of operations that leave each atom in place (A,), and the furthest move in angstrom.
    """
    moves = (operations.rotations @ frac.T).transpose(2, 0, 1) + operations.translations - frac[:, None]
    moves -= np.rint(moves)
    cartesian = moves @ matrix
    here = np.einsum("aoi,aoi->ao", cartesian, cartesian) < SAME_ATOM_A**2
    stabilisers = here.sum(axis=1)
    shift = (here[:, None] @ moves)[:, 0] / stabilisers[:, None]
    return frac + shift, stabilisers, math.sqrt(((shift @ matrix) ** 2).sum(axis=1).max())


def _first_of_each(images: Floats) -> list[list[int]]:
    """Which of the images (A, O, 3) of each atom are the first at their place, to a millionth of the cell."""
    grid = np.rint(images * 1e6).astype(np.int64) % 1_000_000
    keys = (grid[..., 0] * 1_000_003 + grid[..., 1]) * 1_000_003 + grid[..., 2]
    last = images.shape[1] - 1
    return [sorted({key: last - n for n, key in enumerate(reversed(row))}.values()) for row in keys.tolist()]


def _apart(found: Floats, matrix: Floats) -> Floats:
    """Images of one atom (O, 3) without those that nearly coincide: the operations are written with few digits."""
    keep: list[int] = []
    for n, image in enumerate(found):
        apart = found[keep] - image
        apart -= np.rint(apart)
        if not keep or ((apart @ matrix) ** 2).sum(axis=1).min() >= SAME_ATOM_A**2:
            keep.append(n)
    return found[keep]


def volume_and_spacings(matrix: Floats) -> tuple[float, list[float]]:
    """Volume of a cell (Å³) and the distances of its (100), (010) and (001) planes (Å)."""
    a, b, c = matrix.tolist()
    normals = [_cross(b, c), _cross(c, a), _cross(a, b)]
    volume_A3 = abs(sum(x * y for x, y in zip(a, normals[0], strict=True)))
    return volume_A3, [volume_A3 / math.hypot(*normal) if any(normal) else 0.0 for normal in normals]


def _cross(one: list[float], other: list[float]) -> list[float]:
    (a, b, c), (x, y, z) = one, other
    return [b * z - c * y, c * x - a * z, a * y - b * x]


def close_pairs(frac: Floats, matrix: Floats, radius_A: float) -> tuple[NDArray[np.int64], Floats]:
    """Pairs i < j of sites closer than a radius, (P, 2), and the vector from i to the nearest image of j, (P, 3).

    A component of that vector is at most radius / plane spacing, so that rounding finds it where planes are more than
    two radii apart; otherwise the neighbouring cells are tried too.
    """
    spacings_A = volume_and_spacings(matrix)[1]
    ranges = [min(3, max(0, math.ceil(radius_A / spacing_A - 0.5))) for spacing_A in spacings_A]
    cells = np.array(list(product(*(range(-n, n + 1) for n in ranges))), dtype=float)
    if len(frac) * len(cells) > MOST_NEIGHBOURS:
        raise CrystalError("its cell is so skewed that distances take long; give the reduced cell (_cell_angle_)")
    rows = ROWS_AT_ONCE // len(cells) + 1
    found = [_pairs_from(start, rows, frac, matrix, radius_A, cells) for start in range(0, len(frac), rows)]
    if sum(len(pairs) for pairs, _ in found) > MOST_CLOSE_PAIRS:
        raise CrystalError(f"more than {MOST_CLOSE_PAIRS} pairs of atoms closer than {radius_A} Å (_atom_site_fract_)")
    if len(found) == 1:
        return found[0]
    return np.concatenate([pairs for pairs, _ in found]), np.concatenate([vectors for _, vectors in found])


def _pairs_from(
    start: int, rows: int, frac: Floats, matrix: Floats, radius_A: float, cells: Floats
) -> tuple[NDArray[np.int64], Floats]:
    """Close pairs whose first site is one of some rows."""
    apart = frac[None] - frac[start : start + rows, None]
    apart -= np.rint(apart)
    if len(cells) > 1:
        shifted = apart[..., None, :] + cells
        nearest = ((shifted @ matrix) ** 2).sum(axis=-1).argmin(axis=-1)
        apart = apart + cells[nearest]
    cartesian = apart @ matrix
    i, j = np.nonzero(np.einsum("ijk,ijk->ij", cartesian, cartesian) < radius_A**2)
    upper = i + start < j
    i, j = i[upper], j[upper]
    return np.stack([i + start, j], axis=1), apart[i, j]


def sites_of(atoms: Atoms, images: Images, matrix: Floats) -> tuple[Floats, list[Species], list[str]]:
    """Sites of the cell: fractional coordinates (N, 3), occupancies by element, and remarks.

    Raises:
        CrystalError: atoms too close to be alternatives, a site filled more than once, or an atom listed twice.
    """
    pairs, vectors = close_pairs(images.frac, matrix, SHORTEST_DISTANCE_A)
    species = [dict(atoms.species[atom]) for atom in images.atom]
    if not len(pairs):
        return images.frac, species, []
    kept, remarks = _without_repetitions(atoms, images, pairs, vectors @ matrix)
    chosen = np.isin(pairs, kept).all(axis=1)
    frac, species, more = merge(images.frac, species, pairs[chosen], vectors[chosen], matrix)
    return frac[kept_sites(kept, pairs[chosen])], [species[n] for n in kept_sites(kept, pairs[chosen])], remarks + more


def kept_sites(kept: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sites that remain when every group of close ones is represented by its first."""
    groups = _groups(pairs)
    gone = {n for group in groups for n in group[1:]}
    return np.array([n for n in kept if n not in gone], dtype=np.int64)


def merge(
    frac: Floats, species: list[Species], pairs: NDArray[np.int64], vectors: Floats, matrix: Floats
) -> tuple[Floats, list[Species], list[str]]:
    """Put every group of close alternatives at its first site; the others are left for the caller to drop.

    Raises:
        CrystalError: together they fill more than one site.
    """
    frac, species, remarks = frac.copy(), list(species), set()
    near = {(int(i), int(j)): vector for (i, j), vector in zip(pairs, vectors, strict=True)}
    for group in _groups(pairs):
        total = sum(sum(species[n].values()) for n in group)
        if total > OCCUPANCY_TOLERANCE:
            raise CrystalError(_too_close(group, near, species, matrix, total))
        offsets = _offsets(group, near)
        weights = np.array([sum(species[n].values()) for n in group])
        mean = weights @ np.array([offsets[n] for n in group]) / weights.sum()
        if np.linalg.norm(np.array([offsets[n] for n in group]) @ matrix, axis=1).max() > SAME_ATOM_A:
            remarks.add(MERGED)
        frac[group[0]] = wrapped(frac[group[0]] + mean)
        species[group[0]] = _sum([species[n] for n in group], max(total, 1.0))
        if total > 1 + 1e-6:
            remarks.add(SCALED)
    return frac, species, sorted(remarks)


def _sum(parts: list[Species], divisor: float) -> Species:
    total: Species = {}
    for part in parts:
        for element, amount in part.items():
            total[element] = total.get(element, 0.0) + amount / divisor
    return total


def _groups(pairs: NDArray[np.int64]) -> list[list[int]]:
    """Sets of sites that are linked by pairs, each ascending."""
    root: dict[int, int] = {}

    def find(n: int) -> int:
        while root.setdefault(n, n) != n:
            n = root[n]
        return n

    for i, j in pairs.tolist():
        first, second = sorted((find(i), find(j)))
        root[second] = first
    groups: dict[int, list[int]] = {}
    for n in sorted(root):
        groups.setdefault(find(n), []).append(n)
    return list(groups.values())


def _offsets(group: list[int], near: dict[tuple[int, int], Floats]) -> dict[int, Floats]:
    """Vector from the first site of a group to each of its sites, along the pairs that link them."""
    offsets = {group[0]: np.zeros(3)}
    while len(offsets) < len(group):
        for (i, j), vector in near.items():
            if i in offsets and j not in offsets and j in group:
                offsets[j] = offsets[i] + vector
            elif j in offsets and i not in offsets and i in group:
                offsets[i] = offsets[j] - vector
    return offsets


def _too_close(
    group: list[int], near: dict[tuple[int, int], Floats], species: list[Species], matrix: Floats, total: float
) -> str:
    (i, j), vector = min(
        ((pair, vector) for pair, vector in near.items() if pair[0] in group),
        key=lambda item: float(np.linalg.norm(item[1] @ matrix)),
    )
    names = " and ".join(" + ".join(f"{amount:g} {name}" for name, amount in species[n].items()) for n in (i, j))
    distance_A = float(np.linalg.norm(vector @ matrix))
    return (
        f"{names} are {distance_A:.2f} Å apart and fill their site {total:.3g} times; "
        f"atoms need {SHORTEST_DISTANCE_A} Å: mend coordinates or occupancies (_atom_site_)"
    )


def _without_repetitions(
    atoms: Atoms, images: Images, pairs: NDArray[np.int64], vectors_A: Floats
) -> tuple[NDArray[np.int64], list[str]]:
    """Images to keep where rows repeat one atom: all, or each once if the list is that of the whole cell.

    Raises:
        CrystalError: one atom is listed twice, and whether its occupancies add up is not said.
    """
    everything = np.arange(len(images.frac))
    same = np.linalg.norm(vectors_A, axis=1) < SAME_ATOM_A
    repeated = [(i, j) for i, j in pairs[same].tolist() if atoms.keys[images.atom[i]] == atoms.keys[images.atom[j]]]
    if not repeated:
        return everything, []
    if _is_whole_cell(atoms, images, repeated):
        gone = {j for _, j in repeated}
        return np.array([n for n in everything if n not in gone]), [WHOLE]
    i, j = repeated[0]
    rows = sorted((int(images.atom[i]) + 1, int(images.atom[j]) + 1))
    raise CrystalError(
        f"one atom is listed twice (rows {rows[0]} and {rows[1]}, {atoms.keys[images.atom[i]].split()[0]}) by its "
        "symmetry; list it once, with its occupancy"
    )


def _is_whole_cell(atoms: Atoms, images: Images, repeated: list[tuple[int, int]]) -> bool:
    """Whether every atom's images are all listed, and some site would be filled twice if that were no repetition."""
    groups = _groups(np.array(repeated))
    listed = np.ones(len(images.frac), dtype=np.int64)
    for group in groups:
        listed[group] = len(group)
    filled = max(sum(sum(dict(atoms.species[images.atom[n]]).values()) for n in group) for group in groups)
    complete = bool((listed == images.count[images.atom]).all())
    return complete and filled > OCCUPANCY_TOLERANCE and all(i < j for group in groups for i, j in pairwise(group))

"""Crystal to atom graph and line graph.

The recipe is ALIGNN's (Choudhary & DeCost 2021, doi 10.1038/s41524-021-00650-1): bonds to the 12 nearest
neighbours, both directions, and an angle for every pair of bonds that share an atom. Two things differ. A site is
the mixture of elements that occupies it, so doping is seen; and a shell of neighbours is closed with a tolerance, so
that rounding cannot drop one of several symmetry-equivalent bonds.

Legend: N atoms, E directed bonds, A angles (edges of the line graph), F features of an atom.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element, Lattice, Species, Structure
from pymatgen.optimization.neighbors import find_points_in_spheres

from tc_common.cli import current_settings
from tc_common.errors import UserError, one_line
from tc_common.state_checks import mistyped

Floats: TypeAlias = NDArray[np.float32]
Matrix: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]
Bonds: TypeAlias = tuple[Indices, Indices, Indices, NDArray[np.float64]]
"""Source (E,), target (E,), lattice image of the target (E, 3), length in angstrom (E,)."""

ELEMENTS = Path(__file__).with_name("cgcnn_elements.json")
CLOSEST_ATOMS_A = 0.5
LARGEST_LINE_GRAPH = 100_000
# Raised whenever the same crystal and options give another graph, so that old caches are not read.
RECIPE = 1


class GraphError(UserError):
    """A crystal that has no usable graph, with the site and the reason."""


@dataclass(frozen=True, kw_only=True)
class GraphOptions:
    """How a crystal becomes a graph."""

    rule: Literal["nearest", "radius"] = "nearest"
    """Bonds to the nearest neighbours (published ALIGNN) or to all atoms within the cutoff (ALIGNN 2.0)."""
    cutoff_A: float = 8.0
    """Radius in angstrom: of the bonds (rule radius), or within which an atom must have a neighbour (rule nearest)."""
    neighbours: int = 12
    """Neighbours of an atom before its last shell is closed (rule nearest; >= 1)."""
    shell_tolerance_A: float = 1e-5
    """Distances closer than this are one shell (angstrom)."""
    angle_cutoff_A: float | None = None
    """Only bonds up to this length form angles (angstrom; none = all bonds)."""

    def __post_init__(self) -> None:
        if self.rule not in ("nearest", "radius"):
            raise ValueError(f"the rule {self.rule!r:.40} is neither nearest nor radius")
        if self.cutoff_A <= CLOSEST_ATOMS_A or self.neighbours < 1 or self.shell_tolerance_A < 0:
            raise ValueError(f"a graph needs a cutoff > {CLOSEST_ATOMS_A} Å, neighbours >= 1, a tolerance >= 0 Å")

    def plain(self) -> dict[str, Any]:
        """The options as JSON-ready values, for cards and checkpoints."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Any, origin: str) -> "GraphOptions":
        """The options that a card or a checkpoint states, written by this version or an earlier one.

        Raises:
            UserError: they are no graph options, or need what no longer exists.
        """
        settings = current_settings(plain, origin) if isinstance(plain, dict) else {"graph": plain}
        if said := mistyped(settings, _TYPES, "graph"):
            raise UserError(f"{origin} states no graph options: {said}")
        try:
            return cls(**settings)
        except (TypeError, ValueError) as error:
            raise UserError(f"{origin} states no graph options: {one_line(error)}") from error


_TYPES = {"rule": "", "cutoff_A": 0.0, "neighbours": 0, "shell_tolerance_A": 0.0, "angle_cutoff_A": 0.0}


@dataclass(frozen=True, eq=False)
class CrystalGraph:
    """Atoms and directed bonds of one unit cell, sorted by target; every bond's reverse is there too."""

    atom_features: Floats
    """(N, F)"""
    source: Indices
    """(E,) atom that a bond starts from"""
    target: Indices
    """(E,) atom that a bond ends at, ascending"""
    bond_A: Floats
    """(E, 3) vector from source to target"""
    lattice: Floats
    """(6,) a, b, c in angstrom and alpha, beta, gamma in degrees"""
    composition: Floats
    """(101,) atomic fractions by atomic number"""

    @property
    def angles(self) -> int:
        """A, the number of edges of the line graph without an angle cutoff."""
        return self.angles_within(None)

    def angles_within(self, angle_cutoff_A: float | None) -> int:
        """A, the number of edges of the line graph of the bonds up to this length (none = all)."""
        atoms = len(self.atom_features)
        ends = [self.source, self.target]
        if angle_cutoff_A is not None:
            ends = [end[bonds_up_to(self.bond_A, angle_cutoff_A)] for end in ends]
        leaving, ending = (np.bincount(end, minlength=atoms) for end in ends)
        return int(leaving @ ending)


def build_graph(structure: Structure, options: GraphOptions) -> CrystalGraph:
    """Graph of one crystal.

    Raises:
        GraphError: an element without features, atoms that nearly coincide, an isolated atom, or too many angles.
    """
    occupancy = occupancies(structure)
    return _graph(Cell.of(structure), options, atom_features(occupancy), occupancy.sum(axis=0) / occupancy.sum())


def moved_graph(graph: CrystalGraph, matrix_A: Matrix, xyz_A: Matrix, options: GraphOptions) -> CrystalGraph:
    """Graph of the crystal with the same atoms at other positions (N, 3), in another cell (3, 3), in angstrom.

    Raises:
        GraphError: atoms that nearly coincide, an isolated atom, or too many angles.
    """
    return _graph(Cell(matrix_A, xyz_A), options, graph.atom_features, graph.composition)


def _graph(cell: "Cell", options: GraphOptions, features: Floats, composition: Floats) -> CrystalGraph:
    source, target, image, _ = bonds_of(cell, options)
    bond_A = cell.xyz_A[target] + image @ cell.matrix_A - cell.xyz_A[source]
    graph = CrystalGraph(
        atom_features=features,
        source=source,
        target=target,
        bond_A=bond_A.astype(np.float32),
        lattice=np.array(Lattice(cell.matrix_A).parameters, np.float32),
        composition=composition,
    )
    if graph.angles > LARGEST_LINE_GRAPH:
        raise GraphError(f"{graph.angles} bond angles; at most {LARGEST_LINE_GRAPH} are computed: use a smaller cell")
    return graph


# ---- atoms -------------------------------------------------------------------------------------------------------


@cache
def cgcnn_table() -> Floats:
    """CGCNN features by atomic number, (101, 92), row 0 unused.

    One-hot group, period, electronegativity, radius, … of Xie & Grossman 2018 (doi 10.1103/PhysRevLett.120.145301),
    as alignn has them: `cgcnn_elements.json`, with its source and licence.
    """
    by_number = json.loads(ELEMENTS.read_text(encoding="utf-8"))["features"]
    table = np.zeros((1 + max(map(int, by_number)), len(by_number["1"])), np.float32)
    for number, digits in by_number.items():
        table[int(number)] = [*map(int, digits)]
    table.setflags(write=False)
    return table


def occupancies(structure: Structure) -> Floats:
    """Occupancy of every site by every element, (N, 101); a row sums to 1 less the vacancy.

    Raises:
        GraphError: an element without CGCNN features (beyond fermium, or a dummy).
    """
    table = np.zeros((len(structure), len(cgcnn_table())), np.float32)
    for number, site in enumerate(structure):
        for specie, occupancy in site.species.items():
            table[number, _atomic_number(specie, number)] += occupancy
    return table


def _atomic_number(specie: Any, site: int) -> int:
    if not isinstance(specie, Element | Species) or not 0 < specie.Z < len(cgcnn_table()):
        raise GraphError(f"site {site} holds {specie}, an element without CGCNN features (H to Fm have them)")
    return int(specie.Z)


def atom_features(occupancy: Floats) -> Floats:
    """CGCNN features averaged over each site's elements by occupancy (N, 101), (N, F); a vacancy scales them down."""
    return occupancy @ cgcnn_table()


# ---- bonds -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Cell:
    """What bonds follow from: lattice vectors (3, 3), positions (N, 3) in angstrom, and how errors name a site."""

    matrix_A: Matrix
    xyz_A: Matrix
    name: Callable[[int], str] = "atom {}".format

    @classmethod
    def of(cls, structure: Structure) -> "Cell":
        """That of a structure."""
        return cls(structure.lattice.matrix, structure.cart_coords, lambda site: structure[site].species_string)

    @property
    def volume_A3(self) -> float:
        """Volume in Å³."""
        return abs(float(np.linalg.det(self.matrix_A)))

    def __len__(self) -> int:
        return len(self.xyz_A)


def bonds_of(cell: Cell, options: GraphOptions) -> Bonds:
    """Directed bonds of the options' rule, each once, each with its reverse, sorted by target, source and image.

    Raises:
        GraphError: two atoms nearly coincide, or an atom has no neighbour within the cutoff.
    """
    if options.rule == "radius":
        near = neighbours_within(cell, options.cutoff_A)
        _refuse_isolated(cell, near, options.cutoff_A)
    else:
        near = nearest_shells(_enough_neighbours(cell, options), options.neighbours, options.shell_tolerance_A)
    _refuse_coinciding(near)
    return both_directions(near)


def _enough_neighbours(cell: Cell, options: GraphOptions) -> Bonds:
    """Neighbours within a radius at which every atom has enough of them; a larger radius gives the same graph.

    It starts at a radius estimated from the density: 8 Å hold 130 neighbours an atom where 12 are needed.
    """
    sphere = 3 * options.neighbours
    radius_A = min(options.cutoff_A, (3 * sphere * cell.volume_A3 / (4 * np.pi * len(cell))) ** (1 / 3))
    near = neighbours_within(cell, radius_A)
    while np.bincount(near[0], minlength=len(cell)).min() < options.neighbours:
        radius_A *= 2
        near = neighbours_within(cell, radius_A)
        if radius_A >= options.cutoff_A:
            _refuse_isolated(cell, near, options.cutoff_A)
    return near


def neighbours_within(cell: Cell, radius_A: float) -> Bonds:
    """All pairs of an atom and a periodic image of an atom, closer than `radius_A` and not the atom itself."""
    xyz_A = np.ascontiguousarray(cell.xyz_A)
    matrix_A = np.ascontiguousarray(cell.matrix_A)
    periodic = np.ones(3, dtype=np.int64)
    source, target, image, length_A = find_points_in_spheres(
        xyz_A, xyz_A, r=float(radius_A), pbc=periodic, lattice=matrix_A, tol=1e-8
    )
    image = image.astype(np.int64)
    other = (source != target) | image.any(axis=1)
    return source[other], target[other], image[other], length_A[other]


def _refuse_isolated(cell: Cell, near: Bonds, cutoff_A: float) -> None:
    close = near[0][near[3] <= cutoff_A]
    lonely = np.flatnonzero(np.bincount(close, minlength=len(cell)) == 0)
    if len(lonely):
        raise GraphError(
            f"site {lonely[0]} ({cell.name(int(lonely[0]))}) is isolated: no neighbour within {cutoff_A:g} Å"
        )


def _refuse_coinciding(near: Bonds) -> None:
    closest = int(near[3].argmin())
    if near[3][closest] < CLOSEST_ATOMS_A:
        raise GraphError(
            f"sites {near[0][closest]} and {near[1][closest]} are {near[3][closest]:.3f} Å apart;"
            f" atoms closer than {CLOSEST_ATOMS_A} Å are no crystal"
        )


def nearest_shells(near: Bonds, neighbours: int, tolerance_A: float) -> Bonds:
    """Of each source's bonds the shortest `neighbours`, and all others as long as the last of them."""
    order = np.lexsort((near[3], near[0]))
    source, length_A = near[0][order], near[3][order]
    first = np.flatnonzero(np.diff(source, prepend=-1))
    farthest_A = length_A[first + neighbours - 1]
    kept = order[length_A <= farthest_A[source] + tolerance_A]
    return near[0][kept], near[1][kept], near[2][kept], near[3][kept]


def both_directions(bonds: Bonds) -> Bonds:
    """Add the reverse of every bond; each directed bond once, sorted by target, source and image."""
    source, target, image, length_A = bonds
    both = np.hstack([source, target]), np.hstack([target, source]), np.vstack([image, -image])
    farthest = int(np.abs(image).max()) + 1
    atoms, images = int(max(source.max(), target.max())) + 1, 2 * farthest + 1
    code = both[1] * atoms + both[0]
    for axis in range(3):
        code = code * images + both[2][:, axis] + farthest
    _, first = np.unique(code, return_index=True)
    return both[0][first], both[1][first], both[2][first], np.hstack([length_A, length_A])[first]


# ---- angles ------------------------------------------------------------------------------------------------------


def line_graph(source: Indices, target: Indices, atoms: int) -> tuple[Indices, Indices]:
    """Edges of the line graph: all pairs of a bond u→v and a bond v→w (w may be u), (A,) and (A,), by second bond.

    A bond to an atom's own image may follow itself, straight on; DGL leaves that pair out, and a supercell, where the
    two are different bonds, would then have another graph. Needs bonds sorted by target: those that end at an atom
    are one contiguous run.
    """
    ending = np.bincount(target, minlength=atoms)
    start = np.cumsum(ending) - ending
    pairs = ending[source]
    second = np.repeat(np.arange(len(source)), pairs)
    within = np.arange(len(second)) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    return start[source[second]] + within, second


def bonds_up_to(bond_A: Floats, length_A: float) -> NDArray[np.bool_]:
    """Whether each bond (E, 3) is at most so long (E,)."""
    return np.linalg.norm(bond_A, axis=1) <= length_A


def bond_cosines(bond_A: Floats, first: Indices, second: Indices) -> Floats:
    """Cosine of the angle at the shared atom, (A,): +1 for a bond and its own reverse."""
    unit = bond_A / np.linalg.norm(bond_A, axis=1, keepdims=True)
    return np.clip(-np.einsum("ax,ax->a", unit[first], unit[second]), -1, 1)

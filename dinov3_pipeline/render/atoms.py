"""What is drawn of the atoms of one unit cell: colours that encode physics, and bonds.

Colours: red = d electrons, green = valence electrons, blue = phonon frequency from the mass. A channel value v is in
[0, 1]; its 8-bit value is ceil(255 v - 1/2), so that a lone Cu atom is RGB (229, 234, 108).

Bonds are found once per symmetry-inequivalent site and mapped to the equivalent sites.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import DummySpecies, Element, Species, Structure

from tc_common.crystals import CrystalError
from tc_common.errors import one_line

if TYPE_CHECKING:
    from pymatgen.analysis.local_env import CrystalNN

# Valence d electrons of the neutral atom's ground state (NIST Atomic Spectra Database). Cu counts 9, its state in
# the cuprates, not 10. La and Lu, both claimed for group 3, have one 5d electron each; Lr has none (7s2 7p1).
D_ELECTRONS = (
    {"Sc": 1, "Ti": 2, "V": 3, "Cr": 5, "Mn": 5, "Fe": 6, "Co": 7, "Ni": 8, "Cu": 9, "Zn": 10}
    | {"Y": 1, "Zr": 2, "Nb": 4, "Mo": 5, "Tc": 5, "Ru": 7, "Rh": 8, "Pd": 10, "Ag": 10, "Cd": 10}
    | {"La": 1, "Lu": 1, "Hf": 2, "Ta": 3, "W": 4, "Re": 5, "Os": 6, "Ir": 7, "Pt": 9, "Au": 10, "Hg": 10}
    | {"Ac": 1, "Rf": 2, "Db": 3, "Sg": 4, "Bh": 5, "Hs": 6, "Mt": 7, "Ds": 8, "Rg": 9, "Cn": 10}
)
MOST_D_ELECTRONS = 10
MOST_VALENCE_ELECTRONS = 12
# B(M) = (1 + x^-p)^(-1/p) with x = sqrt(M0 / M): a frequency ~ M^-1/2 that saturates at 1 for the lightest atoms.
PHONON_MASS_U = 11.36
PHONON_SHARPNESS = 5.8

# Sites that are only nearly equivalent are left apart: what is found must be the same as without symmetry.
TOLERANCE_A = 1e-3

Neighbor = tuple[int, int, int, int]
"""Site and its cell, relative to the cell of the site whose neighbour it is."""

BondMode = Literal["crystal-nn", "covalent", "none"]
# Two atoms are bonded up to the sum of their covalent radii plus this (the convention of the Cambridge Structural
# Database); closer than OVERLAP_A they are two descriptions of one disordered site.
COVALENT_TOLERANCE_A = 0.4
OVERLAP_A = 0.5
# What CrystalNN raises on cells it cannot partition (qhull errors are RuntimeError, LinAlgError is ValueError).
CRYSTAL_NN_FAILURES = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)


def valence_electrons(element: Element) -> int:
    """Group number for groups 1-12, group - 10 for 13-18, 3 for the f block."""
    if 57 <= element.Z <= 71 or 89 <= element.Z <= 103:
        return 3
    return element.group if element.group <= 12 else element.group - 10


def phonon_proxy(mass_u: float) -> float:
    """Relative phonon frequency in (0, 1) of an atom of `mass_u` atomic mass units."""
    x = (PHONON_MASS_U / mass_u) ** 0.5
    return float((1 + x**-PHONON_SHARPNESS) ** (-1 / PHONON_SHARPNESS))


@cache
def element_color(symbol: str) -> tuple[float, float, float]:
    """(R, G, B) in [0, 1] of a full site of one element (D and T are heavier H)."""
    element = Element(symbol)
    return (
        D_ELECTRONS.get(symbol, 0) / MOST_D_ELECTRONS,
        valence_electrons(element) / MOST_VALENCE_ELECTRONS,
        phonon_proxy(float(element.atomic_mass)),
    )


def chemical_symbol(species: Element | Species | DummySpecies) -> str:
    """Element symbol without charge.

    Raises:
        CrystalError: the species is a placeholder such as `X`, not an element.
    """
    if isinstance(species, DummySpecies):
        raise CrystalError(f"species {species} is no element; its colour is unknown")
    return species.symbol


def site_color(occupancies: Mapping[str, float]) -> NDArray[np.uint8]:
    """8-bit (R, G, B) of a site: occupancy-weighted mean in which a vacancy counts as black."""
    mean = sum(amount * np.array(element_color(symbol)) for symbol, amount in occupancies.items())
    return to_uint8(np.asarray(mean))


def to_uint8(channels: NDArray[np.float64]) -> NDArray[np.uint8]:
    """ceil(255 v - 1/2): round to nearest, halves down; 1e-9 keeps round-off from lifting a half."""
    return np.clip(np.ceil(255 * channels - 0.5 - 1e-9), 0, 255).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class Bonds:
    """Directed bonds, both directions listed: K rows sorted by centre."""

    center: NDArray[np.int64]
    """(K,) index of the site the bond starts at."""
    neighbor: NDArray[np.int64]
    """(K,) index of the site it ends at."""
    image: NDArray[np.int64]
    """(K, 3) cell of the neighbour relative to the cell of the centre."""
    failures: tuple[str, ...] = ()
    """One line for each site whose neighbours could not be found."""

    def vectors_A(self, structure: Structure) -> NDArray[np.float64]:
        """(K, 3) Cartesian vectors from centre to neighbour in Å."""
        fractional = structure.frac_coords
        return (fractional[self.neighbor] + self.image - fractional[self.center]) @ structure.lattice.matrix


def find_bonds(structure: Structure, mode: BondMode) -> Bonds:
    """Bonds of `structure`, whose sites may be mixed: a mixed site bonds like its dominant element."""
    if mode == "none":
        return _bonds(set())
    if mode == "covalent":
        return _bonds(_covalent(structure))
    return _crystal_nn(dominant(structure))


def dominant(structure: Structure) -> Structure:
    """The ordered structure in which each site holds its most frequent element (of equals, the alphabet's first)."""
    return Structure(structure.lattice, dominant_symbols(structure), structure.frac_coords)


def dominant_symbols(structure: Structure) -> list[str]:
    """Most frequent element of each site."""
    sites = [{chemical_symbol(species): amount for species, amount in site.species.items()} for site in structure]
    return [min(site, key=lambda symbol: (-site[symbol], symbol)) for site in sites]


_Directed = tuple[int, int, int, int, int]  # centre, neighbour, image


def _bonds(directed: set[_Directed], failures: tuple[str, ...] = ()) -> Bonds:
    """Both directions of every bond, sorted, so that the image does not depend on their order."""
    reverse = {(j, i, -a, -b, -c) for i, j, a, b, c in directed}
    table = np.array(sorted(directed | reverse), dtype=np.int64).reshape(-1, 5)
    return Bonds(center=table[:, 0], neighbor=table[:, 1], image=table[:, 2:], failures=failures)


def _covalent(structure: Structure) -> set[_Directed]:
    radii_A = np.array([covalent_radius_A(symbol) for symbol in dominant_symbols(structure)])
    longest_A = 2 * float(radii_A.max()) + COVALENT_TOLERANCE_A
    center, neighbor, image, distance_A = structure.get_neighbor_list(longest_A)
    bonded = (distance_A <= radii_A[center] + radii_A[neighbor] + COVALENT_TOLERANCE_A) & (distance_A > OVERLAP_A)
    columns = np.column_stack([center, neighbor, image])[bonded]
    return {tuple(row) for row in columns.astype(int).tolist()}


def covalent_radius_A(symbol: str) -> float:
    """Covalent radius in Å (Cordero et al., Dalton Trans. 2008, 2832, in pymatgen); 1.5 Å for elements beyond Cm."""
    # takes 0.2 s to import with scipy.spatial; pictures without bonds need it not
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius

    return CovalentRadius.radius.get("H" if symbol in ("D", "T") else symbol, 1.5)


def _crystal_nn(structure: Structure) -> Bonds:
    """CrystalNN on one site of each symmetry-inequivalent kind, its neighbours mapped to the others."""
    from pymatgen.analysis.local_env import CrystalNN  # takes a second to import; pictures without bonds need it not

    finder = CrystalNN()
    directed: set[_Directed] = set()
    failures = []
    for operations in orbits(structure):
        try:
            neighbors = _neighbors(finder, structure, operations[0].source)
        except CRYSTAL_NN_FAILURES as error:
            reason = one_line(error, 120)
            targets = [operation.target for operation in operations]
            failures += [f"site {n} ({structure[n].species_string}): {reason}" for n in targets]
            continue
        for operation in operations:
            directed |= {(operation.target, *near) for near in carry(structure, operation, neighbors)}
    return _bonds(directed, tuple(failures))


def _neighbors(finder: "CrystalNN", structure: Structure, center: int) -> list[Neighbor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CrystalNN mentions at every site that no oxidation states are given
        return [(near["site_index"], *map(int, near["image"])) for near in finder.get_nn_info(structure, center)]


@dataclass(frozen=True)
class Operation:
    """x -> rotation @ x + translation, in fractional coordinates, takes `source` to `target`."""

    source: int
    target: int
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]


def symmetry_dataset(structure: Structure, tolerance_A: float) -> Any:
    """What spglib finds in the sites; None where it finds nothing, as with atoms on top of each other."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError  # brings scipy.spatial too

    try:
        with warnings.catch_warnings():  # pymatgen calls spglib in a way that spglib deprecates
            warnings.filterwarnings("ignore", "Set OLD_ERROR_HANDLING", DeprecationWarning)
            return SpacegroupAnalyzer(structure, symprec=tolerance_A).get_symmetry_dataset()
    except SymmetryUndeterminedError:
        return None


def orbits(structure: Structure) -> list[list[Operation]]:
    """Every site once: lists of operations that take one site of each symmetry-distinct kind to all of its kind."""
    dataset = symmetry_dataset(structure, TOLERANCE_A)
    if dataset is None:  # every site is then its own kind
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
    """(S, P) distances of points from the nearest image of sites, and (S, P, 3) the cells of those images."""
    difference = points[None] - structure.frac_coords[sites][:, None]
    cells = np.rint(difference)
    return np.linalg.norm((difference - cells) @ structure.lattice.matrix, axis=-1), cells

"""Crystals are read here and nowhere else: what the file says, checked against itself and against physics.

`cif` reads the text, `symbols` and `atoms` what is listed, `symmetry` its operations, `sites` what the cell holds. A
file whose parts contradict each other is refused with one line; what was altered is a remark, in
`structure.properties["remarks"]`.
"""

import math
import stat
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, DummySpecies, Element, Lattice, Species, Structure

from tc_common.atoms import LARGEST_CELL_SITES, Atoms, check_multiplicity, listed_atoms
from tc_common.cif import CELL_TAGS, SIGNIFICANT, SYMMETRY_TAGS, Block, CrystalError, crystal_block
from tc_common.declared import check_formula, check_mass, check_volume
from tc_common.formats import load
from tc_common.sites import (
    SHORTEST_DISTANCE_A,
    SNAPPED_A,
    WHOLE,
    close_pairs,
    kept_sites,
    merge,
    sites_of,
    unfold,
    volume_and_spacings,
)
from tc_common.space_groups import Operations
from tc_common.symmetry import candidates

__all__ = [
    "CrystalError", "check_crystal", "checked_structure", "crystal_from_stream", "parse_crystal", "read_crystal",
]  # fmt: skip

Floats = NDArray[np.float64]

# At 500 GPa, the highest pressure it was studied at, hydrogen takes about 1.2 Å³ an atom; H3S at 155 GPa 3.7 Å³; the
# most dilute crystal of an element, caesium, 115-123 Å³. What is thinner is a failed relaxation or a box with a
# molecule in it: 39 of the 10,904 structures of 3DSC, for 4 formulas the only one.
VOLUME_PER_ATOM_A3 = (1.0, 150.0)
LARGEST_DENSITY_G_CM3 = 25.0  # osmium has 22.6, the densest of 3DSC 22.8
LEAST_FILLED = 0.2  # of the fullest site; every structure of 3DSC has full ones
LONGEST_CELL_A = 1_000.0
GRAMS_PER_CM3 = 1.66053907  # one atomic mass unit in 1 Å³

MAGNETIC_TAGS = ("_space_group_symop_magn", "_space_group_magn", "_atom_site_moment")


def read_crystal(path: Path) -> Structure:
    """Read one structure; sites with several elements or vacancies keep their occupancies.

    CIF, POSCAR, extended XYZ and pymatgen's JSON are recognised by the name, or by the content where the name says
    nothing; `.gz` is unpacked.

    Raises:
        CrystalError: the file is missing, too large, of another kind, says two things, or fails `check_crystal`.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise CrystalError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise CrystalError(f"{str(path)!r}: no file name ({error})") from error
    if not stat.S_ISREG(status.st_mode):
        raise CrystalError(f"{path}: not a plain file")
    try:
        with path.open("rb") as stream:
            return crystal_from_stream(path.name, stream, status.st_size)
    except OSError as error:
        raise CrystalError(f"{path}: cannot be read ({error.strerror or error})") from error
    except CrystalError as error:
        raise CrystalError(f"{path}: {error}") from error


def crystal_from_stream(name: str, stream: IO[bytes], size: int) -> Structure:
    """Read one structure of a name, which says of what kind it is, and a size in bytes; as `read_crystal`.

    Raises:
        CrystalError: as `read_crystal`, without the name.
    """
    found = load(name, stream, size)
    return parse_crystal(found) if isinstance(found, str) else checked_structure(found)


def parse_crystal(text: str) -> Structure:
    """Parse CIF text into one checked structure of plain elements (no oxidation states, deuterium as hydrogen).

    Raises:
        CrystalError: too large, no structure in it, or one that contradicts itself or fails `check_crystal`.
    """
    block = crystal_block(text)
    if any(tag.startswith(MAGNETIC_TAGS) for tag in block.tags - SIGNIFICANT):
        raise CrystalError("a magnetic CIF; give the nuclear structure alone")
    lattice = _lattice(block)
    atoms = listed_atoms(block)
    settings = candidates(block, lattice.matrix @ lattice.matrix.T)
    if len(settings) == 1:
        return _build(block, lattice, atoms, settings[0])
    return _only_consistent(block, lattice, atoms, settings)


def _only_consistent(block: Block, lattice: Lattice, atoms: Atoms, settings: list[Operations]) -> Structure:
    """The structure in the one setting of an ambiguous name that agrees with all else in the file."""
    found, errors = {}, []
    for setting in settings:
        try:
            found[setting.name] = _build(block, lattice, atoms, setting)
        except CrystalError as error:
            errors.append(str(error))
    if not found:
        raise CrystalError(errors[0])
    if len(found) > 1:
        raise CrystalError(f"its space group may be {' or '.join(found)}; name the setting, or list the operations")
    name, structure = next(iter(found.items()))
    structure.properties["remarks"].append(f"the setting {name} was taken, the only one that agrees with the file")
    return structure


def _lattice(block: Block) -> Lattice:
    cell = [block.number(tag) for tag in CELL_TAGS]
    lengths, angles = cell[:3], cell[3:]
    if not (min(lengths) > 0 and 0 < min(angles) <= max(angles) < 180):
        raise CrystalError(f"a cell of lengths {cell[:3]} Å and angles {cell[3:]} degrees has no volume (_cell_)")
    if max(lengths) > LONGEST_CELL_A:
        raise CrystalError(f"a cell edge of {max(lengths):g} Å (_cell_length_); at most {LONGEST_CELL_A:g} Å are read")
    cosines = [math.cos(math.radians(angle)) for angle in angles]
    if 1 + 2 * math.prod(cosines) - sum(cosine**2 for cosine in cosines) <= 1e-9:
        raise CrystalError(f"a cell of angles {angles} degrees has no volume (_cell_angle_)")
    matrix = np.array(_vectors(lengths, angles))
    _check_planes(volume_and_spacings(matrix)[1])
    return Lattice(matrix)


def _vectors(lengths: list[float], angles: list[float]) -> list[list[float]]:
    """Lattice vectors as rows, by the formula of `Lattice.from_parameters` (c along z, a in the xz plane)."""
    (a, b, c), (alpha, beta, gamma) = lengths, [math.radians(angle) for angle in angles]
    sin_alpha, sin_beta = math.sin(alpha), math.sin(beta)
    cos_star = (math.cos(alpha) * math.cos(beta) - math.cos(gamma)) / (sin_alpha * sin_beta)
    gamma_star = math.acos(max(-1.0, min(1.0, cos_star)))
    return [
        [a * sin_beta, 0.0, a * math.cos(beta)],
        [-b * sin_alpha * math.cos(gamma_star), b * sin_alpha * math.sin(gamma_star), b * math.cos(alpha)],
        [0.0, 0.0, c],
    ]


def _build(block: Block, lattice: Lattice, atoms: Atoms, operations: Operations) -> Structure:
    """The structure under these operations, compared with everything that the file declares."""
    matrix = lattice.matrix
    images = unfold(atoms, operations, matrix)
    frac, species, remarks = sites_of(atoms, images, matrix)
    if WHOLE not in remarks:
        check_multiplicity(atoms, images.count, len(operations.rotations))
    if images.moved_A > SNAPPED_A:
        remarks.append(f"coordinates were moved by up to {images.moved_A:.4f} Å to their special positions")
    occupants = [tuple(each.items()) for each in species]
    compositions = [_composition(each) for each in occupants]
    order = sorted(range(len(compositions)), key=lambda n: _electronegativity(occupants[n]))
    structure = Structure(lattice, [compositions[n] for n in order], frac[order])
    if any(name == "D" for each in occupants for name, _ in each):
        remarks.append("deuterium or tritium was read as hydrogen")
    species_of_sites = structure.species_and_occu
    amounts = _amounts(species_of_sites)
    volume_A3, mass = _check_physics(matrix, species_of_sites, amounts)
    remarks = atoms.remarks + remarks + check_formula(block, amounts)
    check_volume(block, volume_A3)
    check_mass(block, mass, mass * GRAMS_PER_CM3 / volume_A3)
    if not block.known(SYMMETRY_TAGS):
        remarks.append("no symmetry is stated; the atoms listed were taken as all of the cell (P 1)")
    structure.properties = {"remarks": remarks}
    return structure


@lru_cache(maxsize=4096)
def _composition(occupants: tuple[tuple[str, float], ...]) -> Composition:
    """Composition of a site; deuterium is hydrogen."""
    amounts: dict[str, float] = {}
    for name, amount in occupants:
        element = "H" if name == "D" else name
        amounts[element] = amounts.get(element, 0.0) + amount
    return Composition(amounts)


@lru_cache(maxsize=4096)
def _electronegativity(occupants: tuple[tuple[str, float], ...]) -> float:
    """What sites are sorted by, as pymatgen does; sites of one value keep the order of the file."""
    mean = _composition(occupants).average_electroneg
    return mean if math.isfinite(mean) else 0.0


def _amounts(species: list[Composition]) -> dict[str, float]:
    total: dict[str, float] = {}
    for each in species:
        for element, amount in each.items():
            total[element.symbol] = total.get(element.symbol, 0.0) + amount
    return total


# ---- structures from elsewhere -----------------------------------------------------------------------------------


def checked_structure(structure: Structure) -> Structure:
    """A structure that was not read from a CIF, under the same rules: plain elements, split positions merged, checked.

    Raises:
        CrystalError: see `check_crystal`.
    """
    if not 0 < len(structure) <= LARGEST_CELL_SITES:
        raise CrystalError(f"{len(structure)} sites; between 1 and {LARGEST_CELL_SITES} can be used")
    species = [_plain(site.species) for site in structure]
    frac, matrix = structure.frac_coords, structure.lattice.matrix
    _check_finite(matrix, frac)
    _check_planes(volume_and_spacings(matrix)[1])
    pairs, vectors = close_pairs(frac, matrix, SHORTEST_DISTANCE_A)
    remarks: list[str] = []
    if len(pairs):
        frac, species, remarks = merge(frac, species, pairs, vectors, matrix)
        kept = kept_sites(np.arange(len(frac)), pairs)
        frac, species = frac[kept], [species[n] for n in kept]
    if any("D" in each for each in species):
        remarks.append("deuterium or tritium was read as hydrogen")
    made = Structure(structure.lattice, [_composition(tuple(each.items())) for each in species], frac)
    check_crystal(made)
    made.properties = {"remarks": remarks}
    return made


def _plain(species: Composition) -> dict[str, float]:
    """Occupancies by element, without oxidation states."""
    amounts: dict[str, float] = {}
    for each, amount in species.items():
        if isinstance(each, DummySpecies) or not isinstance(each, Element | Species):
            raise CrystalError(f"{each} is no element; name the element of every site")
        name = "D" if each.symbol in ("D", "T") else each.symbol
        amounts[name] = amounts.get(name, 0.0) + amount
    return amounts


# ---- physics -----------------------------------------------------------------------------------------------------


def check_crystal(structure: Structure) -> None:
    """Refuse what cannot exist or what no model can use.

    Raises:
        CrystalError: no atoms or too many, an occupancy outside (0, 1], a volume per atom outside
            `VOLUME_PER_ATOM_A3`, a density above `LARGEST_DENSITY_G_CM3`, or atoms closer than `SHORTEST_DISTANCE_A`.
    """
    if not 0 < len(structure) <= LARGEST_CELL_SITES:
        raise CrystalError(f"{len(structure)} sites; between 1 and {LARGEST_CELL_SITES} can be used")
    matrix, frac = structure.lattice.matrix, structure.frac_coords
    _check_finite(matrix, frac)
    for site in structure:
        _plain(site.species)
    species = structure.species_and_occu
    _check_physics(matrix, species, _amounts(species))
    pairs, vectors = close_pairs(frac, matrix, SHORTEST_DISTANCE_A)
    if len(pairs):
        names = " and ".join(structure[int(n)].species_string for n in pairs[0])
        distance_A = np.linalg.norm(vectors[0] @ matrix)
        raise CrystalError(f"{names} are {distance_A:.2f} Å apart; atoms need {SHORTEST_DISTANCE_A} Å")


def _check_finite(matrix: Floats, frac: Floats) -> None:
    if not (np.isfinite(matrix).all() and np.isfinite(frac).all()):
        raise CrystalError("a coordinate or lattice vector is not a finite number")
    if np.abs(frac).max() > 1e6 or abs(np.linalg.det(matrix)) < 1e-6:
        raise CrystalError("a coordinate is far outside the cell, or the cell has no volume")


def _check_physics(matrix: Floats, species: list[Composition], amounts: dict[str, float]) -> tuple[float, float]:
    """Check occupancies, volume, planes and density of a cell; its volume in Å³ and mass in atomic mass units."""
    filled = [each.num_atoms for each in species]
    if not 0 < min(filled) <= max(filled) <= 1 + 1e-6:
        raise CrystalError("a site has an occupancy outside (0, 1]")
    if max(filled) < LEAST_FILLED:
        raise CrystalError(
            f"no site is filled more than {max(filled):.2g}; give the filled fraction of each site, whatever its "
            "multiplicity (_atom_site_occupancy)"
        )
    mass = sum(amount * _mass(element) for element, amount in amounts.items())
    return check_cell(matrix, sum(filled), mass), mass


def check_cell(matrix: Floats, atoms: float, mass: float) -> float:
    """Volume in Å³ of a cell with so many atoms, a vacancy being none, of this mass in atomic mass units.

    Raises:
        CrystalError: no crystal has this volume per atom, these lattice planes, or this density.
    """
    volume_A3, spacings_A = volume_and_spacings(matrix)
    smallest, largest = VOLUME_PER_ATOM_A3
    if not smallest <= volume_A3 / atoms <= largest:
        raise CrystalError(f"{volume_A3 / atoms:.3g} Å³ per atom; crystals have {smallest:g} to {largest:g} Å³")
    _check_planes(spacings_A)
    density = mass * GRAMS_PER_CM3 / volume_A3
    if density > LARGEST_DENSITY_G_CM3:
        raise CrystalError(
            f"a density of {density:.3g} g/cm³; no crystal exceeds {LARGEST_DENSITY_G_CM3:g}: check the cell "
            "(_cell_length_, _cell_angle_) and the setting of the space group"
        )
    return volume_A3


def _check_planes(spacings_A: list[float]) -> None:
    """Refuse cells that are flat, however long their edges are."""
    if min(spacings_A) < SHORTEST_DISTANCE_A:
        raise CrystalError(f"lattice planes closer than {SHORTEST_DISTANCE_A} Å (_cell_length_, _cell_angle_)")


def mass_of(species: list[Composition]) -> float:
    """Mass of these sites in atomic mass units."""
    return sum(amount * _mass(element) for element, amount in _amounts(species).items())


@lru_cache(maxsize=256)
def _mass(element: str) -> float:
    return float(Element(element).atomic_mass)

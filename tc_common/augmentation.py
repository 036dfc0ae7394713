"""Changes of a crystal that leave its Tc as it is, to the accuracy of the data: for training only.

A structure file is one estimate of a crystal. Lattice constants of density functional theory and of diffraction at
another temperature differ by up to 2 %, free coordinates by some 0.03 Å, and compositions are known to about 0.5 %.
A model that must give such files one Tc is shown the crystal within these limits, drawn anew every epoch.
"""

import warnings
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Lattice, Structure

from tc_common.crystals import CrystalError, check_cell, check_crystal, mass_of

LARGEST = {"strain": 0.05, "shear": 0.05, "displacement_A": 0.2, "symmetrise": 1.0, "occupancy": 0.05}
# Displacements beyond this many SD are cut: a Gaussian has no limit, a bond has.
FARTHEST_SD = 3.0
SYMMETRY_TOLERANCE_A = 0.1
# An occupancy loses at most this part of itself to noise, so that no element leaves its site.
LARGEST_LOSS = 0.5
FULL = 1 - 1e-6

Floats: TypeAlias = NDArray[np.float64]


class MovableCrystal:
    """A crystal as arrays, for changes that leave the species of its sites: as pymatgen's they cost twice the time.

    Attributes: `matrix_A` (3, 3) in angstrom, `frac` (N, 3), number of `atoms` and their `mass` in atomic mass units.
    """

    def __init__(self, structure: Structure) -> None:
        self.matrix_A, self.frac = np.array(structure.lattice.matrix), np.array(structure.frac_coords)
        species = structure.species_and_occu
        self.atoms, self.mass = float(sum(each.num_atoms for each in species)), mass_of(species)


@dataclass(frozen=True, kw_only=True)
class StructureAugmentation:
    """Which changes are made, and how large they are; 0 everywhere changes nothing."""

    strain: float = 0.0
    """Largest relative change of all lengths, either way (0 to 0.05): temperature, density functional."""
    shear: float = 0.0
    """Largest shear of the cell in each plane, either way (0 to 0.05)."""
    displacement_A: float = 0.0
    """SD of each site's displacement along x, y and z in angstrom (0 to 0.2), cut at three SD."""
    symmetrise: float = 0.0
    """Probability (0 to 1) of taking the crystal with the symmetry that it has within 0.1 Å."""
    occupancy: float = 0.0
    """Largest change of an occupancy on sites with several elements or vacancies (0 to 0.05)."""

    def __post_init__(self) -> None:
        for name, largest in LARGEST.items():
            if not 0 <= getattr(self, name) <= largest:  # NaN is not
                flag = f"--augment-structure.{name.replace('_', '-')}"
                raise ValueError(f"{flag} must be from 0 to {largest:g}, got {getattr(self, name)}")

    @property
    def changes(self) -> bool:
        """Whether anything is changed at all."""
        return any(getattr(self, field.name) > 0 for field in fields(self))

    @property
    def keeps_species(self) -> bool:
        """Whether only the cell and the positions change, so that `move` makes the changes."""
        return not self.symmetrise and not self.occupancy

    def move(self, crystal: MovableCrystal, random: np.random.Generator) -> tuple[Floats, Floats]:
        """What `apply` does to a crystal whose species it keeps: its cell (3, 3) and positions (N, 3) in angstrom.

        Raises:
            CrystalError: no crystal has this cell. Whether atoms are too close is not looked at.
        """
        random.random()  # whether to symmetrise
        matrix_A = crystal.matrix_A
        if self.strain or self.shear:
            matrix_A = matrix_A @ deformation(self.strain, self.shear, random)
            check_cell(matrix_A, crystal.atoms, crystal.mass)
        xyz_A = crystal.frac @ matrix_A
        return matrix_A, xyz_A + moves(len(xyz_A), self.displacement_A, random) if self.displacement_A else xyz_A

    def apply(self, structure: Structure, random: np.random.Generator) -> Structure:
        """A changed copy, or the structure itself where the copy would be no crystal (`changed`)."""
        changed = self.changed(structure, random)
        return structure if changed is None else changed

    def changed(self, structure: Structure, random: np.random.Generator) -> Structure | None:
        """A changed copy with the same elements on the same sites; None where it would be no crystal.

        That is what `tc_common.crystals.check_crystal` says, as where split positions 0.5 Å apart come closer. Without
        `occupancy` the composition stays what it is.
        """
        changed = symmetrised(structure) if random.random() < self.symmetrise else structure
        if self.strain or self.shear:
            changed = deformed(changed, self.strain, self.shear, random)
        if self.displacement_A:
            changed = displaced(changed, self.displacement_A, random)
        if self.occupancy:
            changed = with_occupancy_noise(changed, self.occupancy, random)
        try:
            check_crystal(changed)
        except CrystalError:
            return None
        return changed


def symmetrised(structure: Structure) -> Structure:
    """Primitive cell with the symmetry found within `SYMMETRY_TOLERANCE_A`; a copy where spglib finds none.

    Sites are alike only if they hold the same elements in the same amounts.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer  # takes 0.3 s to import; whoever predicts needs none

    with warnings.catch_warnings():  # pymatgen calls spglib in a way that spglib deprecates
        warnings.simplefilter("ignore")
        try:
            return SpacegroupAnalyzer(structure, symprec=SYMMETRY_TOLERANCE_A).find_primitive()
        except ValueError:
            return structure.copy()


def deformed(structure: Structure, strain: float, shear: float, random: np.random.Generator) -> Structure:
    """The crystal with a cell that `deformation` has changed."""
    lattice = Lattice(structure.lattice.matrix @ deformation(strain, shear, random))
    return Structure(lattice, structure.species_and_occu, structure.frac_coords)


def deformation(strain: float, shear: float, random: np.random.Generator) -> Floats:
    """All lengths scaled by one factor, and each pair of axes sheared (a symmetric matrix (3, 3), no rotation)."""
    matrix = np.eye(3) * (1 + random.uniform(-strain, strain))
    for first, second in ((0, 1), (0, 2), (1, 2)):
        matrix[first, second] = matrix[second, first] = random.uniform(-shear, shear)
    return matrix


def displaced(structure: Structure, sd_A: float, random: np.random.Generator) -> Structure:
    """Every site moved by Gaussian noise of this SD along each axis."""
    coordinates_A = structure.cart_coords + moves(len(structure), sd_A, random)
    return Structure(structure.lattice, structure.species_and_occu, coordinates_A, coords_are_cartesian=True)


def moves(sites: int, sd_A: float, random: np.random.Generator) -> Floats:
    """Gaussian moves (N, 3) of this SD in angstrom, cut at `FARTHEST_SD`."""
    return sd_A * random.normal(size=(sites, 3)).clip(-FARTHEST_SD, FARTHEST_SD)


def with_occupancy_noise(structure: Structure, largest: float, random: np.random.Generator) -> Structure:
    """Occupancies of shared and partly empty sites changed by at most `largest`; alike sites change alike."""
    noisy: dict[Composition, Composition] = {}
    for species in structure.species_and_occu:
        if species not in noisy:
            noisy[species] = _noisy(species, largest, random)
    changed = [noisy.get(species, species) for species in structure.species_and_occu]
    return Structure(structure.lattice, changed, structure.frac_coords)


def _noisy(species: Composition, largest: float, random: np.random.Generator) -> Composition:
    """Move occupancy between the elements of a site, its vacancy being one more; their sum stays 1."""
    amounts = np.array([*species.values(), 1 - species.num_atoms])
    amounts = amounts if species.num_atoms < FULL else amounts[:-1]
    if len(amounts) == 1:
        return species
    moves = random.uniform(-largest / 2, largest / 2, len(amounts))
    moves -= moves.mean()
    losses = -moves / amounts
    moves *= min(1.0, LARGEST_LOSS / max(losses.max(), LARGEST_LOSS))
    return Composition(dict(zip(species, amounts + moves, strict=False)))

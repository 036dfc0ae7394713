"""CIFs of crystals in any setting, and the sites that they must give, worked out apart from the reader."""

from collections.abc import Iterable
from itertools import product

import gemmi
import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

Floats = NDArray[np.float64]
SETTINGS = list(gemmi.spacegroup_table())
CELLS = np.array(list(product((-1, 0, 1), repeat=3)))
Site = tuple[Floats, dict[str, float]]
ROTATED = np.array([[1.0, 0.13, 0.07], [0.0, 0.93, 0.21], [0.0, 0.0, 1.17]])


def fitting_lattice(setting: gemmi.SpaceGroup, volume_A3: float) -> Lattice:
    """A lattice without more symmetry than the setting needs: an arbitrary metric, averaged over its rotations."""
    rotations = np.array([op.rot for op in setting.operations().sym_ops]) / gemmi.Op.DEN
    metric = ROTATED @ ROTATED.T
    mean = (rotations.transpose(0, 2, 1) @ metric @ rotations).mean(axis=0)
    lengths = np.sqrt(np.diag(mean))
    angles = [np.degrees(np.arccos(mean[i, j] / lengths[i] / lengths[j])) for i, j in ((1, 2), (0, 2), (0, 1))]
    lattice = Lattice.from_parameters(*lengths, *np.round(angles, 6))
    return Lattice.from_parameters(*np.round(np.array(lengths) * (volume_A3 / lattice.volume) ** (1 / 3), 6), *angles)


def operations(setting: gemmi.SpaceGroup) -> list[tuple[Floats, Floats]]:
    """Rotations and translations of a setting."""
    return [(np.array(op.rot) / gemmi.Op.DEN, np.array(op.tran) / gemmi.Op.DEN) for op in setting.operations()]


def images(setting: gemmi.SpaceGroup, atom: Floats, lattice: Lattice) -> list[Floats]:
    """Images of one atom, each once."""
    found: list[Floats] = []
    for rotation, translation in operations(setting):
        image = (rotation @ atom + translation) % 1.0
        if not found or distances_A(image, np.array(found), lattice).min() > 1e-3:
            found.append(image)
    return found


def distances_A(one: Floats, others: Floats, lattice: Lattice) -> Floats:
    """Shortest distances from one site to others, (N, 3) to (N,), over the neighbouring cells."""
    apart = others - one
    apart = (apart - np.round(apart))[:, None] + CELLS
    return np.asarray(np.linalg.norm(apart @ lattice.matrix, axis=2).min(axis=1))


def cif(lattice: Lattice, symmetry: str, rows: Iterable[str], block: str = "x") -> str:
    """A CIF of a cell, lines of symmetry, and rows `symbol x y z occupancy`."""
    keys = [f"_cell_length_{axis}" for axis in "abc"] + [f"_cell_angle_{name}" for name in ("alpha", "beta", "gamma")]
    cell = "".join(f"{key} {value:.6f}\n" for key, value in zip(keys, lattice.parameters, strict=True))
    columns = "".join(f"_atom_site_{name}\n" for name in ("type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"))
    return f"data_{block}\n{cell}{symmetry}\nloop_\n{columns}" + "\n".join(rows) + "\n"


def same_sites(structure: Structure, expected: list[Site], tolerance_A: float = 1e-3) -> bool:
    """Whether the structure's sites are these, in any order."""
    if len(structure) != len(expected):
        return False
    fracs, taken = np.array([frac for frac, _ in expected]), set()
    for site in structure:
        distance_A = distances_A(site.frac_coords, fracs, structure.lattice)
        nearest, found = int(distance_A.argmin()), site.species.as_dict()
        species = expected[nearest][1]
        same = found.keys() == species.keys() and all(abs(found[name] - species[name]) < 1e-6 for name in species)
        if distance_A[nearest] > tolerance_A or not same or nearest in taken:
            return False
        taken.add(nearest)
    return True

"""Small crystals that the tests of this room share."""

from collections.abc import Sequence

import numpy as np
from pymatgen.core import Composition, Lattice, Structure


def lone(symbol: str, edge_A: float = 3.6) -> Structure:
    """One atom in a cubic cell."""
    return Structure(Lattice.cubic(edge_A), [symbol], [[0, 0, 0]])


def crystal(lattice: Lattice, symbols: list[str], fractional: Sequence[Sequence[float]]) -> Structure:
    """Atoms given by symbol and fractional coordinates."""
    return Structure(lattice, symbols, np.array(fractional, dtype=float))


def rock_salt() -> Structure:
    """NaCl, conventional cell."""
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def cuprate(strontium: float) -> Structure:
    """La2-xSrxCuO4 (I4/mmm), whose La site is shared with `strontium` / 2 of Sr."""
    lanthanum = Composition({"La": 1 - strontium / 2, "Sr": strontium / 2})
    return Structure.from_spacegroup(
        "I4/mmm",
        Lattice.tetragonal(3.78, 13.2),
        [lanthanum, Composition("Cu"), Composition("O"), Composition("O")],
        [[0, 0, 0.361], [0, 0, 0], [0, 0.5, 0], [0, 0, 0.182]],
    )


def random_crystal(rng: np.random.Generator, sites: int = 6) -> Structure:
    """A triclinic cell of the usual density, its atoms at random at least 1 Å apart."""
    edge_A = (15 * sites) ** (1 / 3)
    lattice = Lattice.from_parameters(*(edge_A * rng.uniform(0.8, 1.25, 3)), *rng.uniform(65, 115, 3))
    symbols = rng.choice(["Cu", "O", "Ba", "H", "Nb", "La"], size=sites).tolist()
    while True:
        structure = Structure(lattice, symbols, rng.uniform(-1, 2, (sites, 3)))
        distances_A = structure.distance_matrix + 10 * np.eye(sites)
        if distances_A.min() > 1:
            return structure

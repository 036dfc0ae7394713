"""Colours that encode physics: red = d electrons, green = valence electrons, blue = phonon frequency from the mass.

A channel value v lies in [0, 1]; its 8-bit value is ceil(255 v - 1/2), so that a lone Cu atom is RGB (229, 234, 108).
"""

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import DummySpecies, Element, Species

from tc_common.crystals import CrystalError

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

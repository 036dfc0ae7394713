"""The elements as numbers: properties of each from pymatgen, valence electrons by shell.

Legend: E elements, P properties.
"""

import warnings
from collections import Counter
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element

Array = NDArray[np.float64]
LAST_Z = 103
NOBLE_GASES = (2, 10, 18, 36, 54, 86)
# Attributes of pymatgen's Element. Left out: the element's own superconducting temperature, which is the answer.
PROPERTIES = (
    "Z",
    "atomic_mass",
    "X",
    "mendeleev_no",
    "row",
    "group",
    "melting_point",
    "molar_volume",
    "atomic_radius",
    "average_ionic_radius",
    "van_der_waals_radius",
    "ionization_energy",
    "electron_affinity",
    "thermal_conductivity",
    "max_oxidation_state",
)
CAPACITY = {"s": 2, "p": 6, "d": 10, "f": 14}


@lru_cache(maxsize=1)
def element_table() -> Array:
    """Properties (E, P) of H to Lr; what pymatgen does not know is the median over the elements it does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of each value it does not have; they are filled in below
        table = np.array([_properties(Element.from_Z(z)) for z in range(1, LAST_Z + 1)], float)
    return np.where(np.isnan(table), np.nanmedian(table, axis=0), table)


def _properties(element: Element) -> list[float]:
    known = [getattr(element, name) for name in PROPERTIES]
    valence = valence_electrons(element)
    unfilled = [float(-valence[shell] % CAPACITY[shell]) if valence[shell] else 0.0 for shell in CAPACITY]
    return [float("nan") if value is None else float(value) for value in known] + [*valence.values(), *unfilled]


def valence_electrons(element: Element) -> dict[str, float]:
    """Electrons outside the noble-gas core, by the kind of shell (neutral atom)."""
    core = max((z for z in NOBLE_GASES if z < element.Z), default=None)
    counts = _electrons(element)
    counts.subtract(_electrons(Element.from_Z(core)) if core else Counter())
    return {shell: float(counts[shell]) for shell in CAPACITY}


def _electrons(element: Element) -> Counter[str]:
    counts: Counter[str] = Counter()
    for _, shell, number in element.full_electronic_structure:
        counts[shell] += number
    return counts


def property_names() -> list[str]:
    """Names of the columns of `element_table`."""
    return [*PROPERTIES, *(f"{shell}_valence" for shell in CAPACITY), *(f"{shell}_unfilled" for shell in CAPACITY)]


def element_symbols() -> list[str]:
    """H to Lr."""
    return [Element.from_Z(z).symbol for z in range(1, LAST_Z + 1)]

"""Compositions as numbers: statistics of element properties over the atoms of a formula, doped fractions included.

In the manner of Magpie (Ward et al. 2016, doi 10.1038/npjcompumats.2016.28), with element data from pymatgen.

Legend: n materials, E elements, P properties, F features.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element

from tc_common.errors import UserError

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
STATISTICS = ("mean", "deviation", "min", "max", "range", "main")


def feature_names() -> list[str]:
    """Names of the features, in the order of `composition_features`."""
    properties = [
        *PROPERTIES,
        *(f"{shell}_valence" for shell in CAPACITY),
        *(f"{shell}_unfilled" for shell in CAPACITY),
    ]
    statistics = [f"{statistic} {name}" for statistic in STATISTICS for name in properties]
    return [*statistics, "elements", "largest fraction", "norm 2", *(f"fraction {s}" for s in _symbols())]


def composition_features(formulas: Sequence[str]) -> Array:
    """Features (n, F) of chemical formulas.

    Raises:
        UserError: a text that is no formula, by its text.
    """
    return composition_statistics(element_fractions(formulas))


def composition_statistics(shares: Array) -> Array:
    """Features (n, F) of shares of the atoms (n, E) by Z from 1 on."""
    elements = element_table()
    present = shares > 0
    mean = shares @ elements
    statistics = [mean, _deviation(shares, elements, mean)]
    low = _extreme(present, elements, np.inf).min(axis=1)
    high = _extreme(present, elements, -np.inf).max(axis=1)
    statistics += [low, high, high - low, elements[shares.argmax(axis=1)]]
    amounts = np.stack([present.sum(axis=1), shares.max(axis=1), np.sqrt((shares**2).sum(axis=1))], axis=1)
    return np.hstack([*statistics, amounts, shares])


def _deviation(shares: Array, elements: Array, mean: Array) -> Array:
    """Mean absolute deviation (n, P) of the properties about their means."""
    columns = [(shares * np.abs(elements[:, p] - mean[:, p, None])).sum(axis=1) for p in range(elements.shape[1])]
    return np.stack(columns, axis=1)


def _extreme(present: NDArray[np.bool_], elements: Array, absent: float) -> Array:
    """Properties (n, E, P) of the elements that are there, `absent` for the others."""
    return np.where(present[:, :, None], elements, absent)


def element_fractions(formulas: Sequence[str]) -> Array:
    """Share of the atoms (n, E) that each element has, by Z from 1 on; deuterium and tritium count as hydrogen."""
    shares = np.zeros((len(formulas), LAST_Z))
    for row, formula in enumerate(formulas):
        for element, share in _parse(formula).fractional_composition.items():
            shares[row, element.Z - 1] += share
    return shares


def _parse(formula: str) -> Composition:
    try:
        composition = Composition(formula)
    except ValueError as error:
        raise UserError(f"{formula!r} is no chemical formula ({error}); mend it in the split files") from error
    known = all(isinstance(species, Element) and species.Z <= LAST_Z for species in composition)
    if not known or not 0 < composition.num_atoms < float("inf"):
        raise UserError(f"{formula!r} is no chemical formula of elements up to Lr; mend it in the split files")
    return composition


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


def _symbols() -> list[str]:
    return [Element.from_Z(z).symbol for z in range(1, LAST_Z + 1)]

"""The elements as numbers, and statistics of those over the atoms of a formula, doped fractions included.

In the manner of Magpie (Ward et al. 2016, doi 10.1038/npjcompumats.2016.28): properties of each element from pymatgen,
valence electrons by shell.

Legend: n materials, E elements, P properties, F features.
"""

import warnings
from collections import Counter
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element

from tc_common.composition import LAST_Z, Array

NOBLE_GASES = (2, 10, 18, 36, 54, 86)
# Attributes of pymatgen's Element. Left out: the element's own superconducting temperature, which is the answer.
PROPERTIES = (
    "Z", "atomic_mass", "X", "mendeleev_no", "row", "group", "melting_point", "molar_volume", "atomic_radius",
    "average_ionic_radius", "van_der_waals_radius", "ionization_energy", "electron_affinity", "thermal_conductivity",
    "max_oxidation_state",
)  # fmt: skip
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


STATISTICS = ("mean", "deviation", "min", "max", "range", "main")
AMOUNTS = ("elements", "largest fraction", "norm 2")
# The main element of continuous statistics: properties weighted by this power of the fractions.
MAIN_POWER = 4
# An element with less than this fraction of the atoms counts less.
FULL_WEIGHT = 0.05


def statistic_names(soft: bool) -> list[str]:
    """Names of the features of `composition_statistics`, or of `continuous_statistics`."""
    prefix = "soft " if soft else ""
    prefixes = [*STATISTICS[:2], *(prefix + name for name in STATISTICS[2:])]
    statistics = [f"{statistic} {name}" for statistic in prefixes for name in property_names()]
    fractions = [f"fraction {symbol}" for symbol in element_symbols()]
    return [*statistics, prefix + AMOUNTS[0], *AMOUNTS[1:], *fractions]


def presence(fractions: Array) -> Array:
    """Weight of an element: smoothstep of its fraction, 0 at none, 1 from `FULL_WEIGHT` on."""
    ratio = np.minimum(fractions / FULL_WEIGHT, 1.0)
    return ratio**2 * (3 - 2 * ratio)


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


def continuous_statistics(shares: Array) -> Array:
    """Features (n, F) as `composition_statistics`, but none of them jumps when a trace of an element comes in.

    Presence is a weight w that rises smoothly from 0 to 1 at 5 % of the atoms. The soft maximum takes the
    elements from the largest property down, each with its w of what those before it have left; what all leave goes to
    the mean. The soft main value is the mean weighted by x⁴. MgB2 with 0.1 % of another element stays MgB2.
    """
    elements = element_table()
    mean = shares @ elements
    weights = presence(shares)
    low, high = -_soft_maximum(weights, -elements, -mean), _soft_maximum(weights, elements, mean)
    power = shares**MAIN_POWER
    main = power @ elements / power.sum(axis=1, keepdims=True)
    amounts = np.stack([weights.sum(axis=1), shares.max(axis=1), np.sqrt((shares**2).sum(axis=1))], axis=1)
    return np.hstack([mean, _deviation(shares, elements, mean), low, high, high - low, main, amounts, shares])


def _soft_maximum(weights: Array, elements: Array, fallback: Array) -> Array:
    """Soft maximum (n, P) of the elements' properties by weights (n, E) of presence; what none takes is `fallback`."""
    columns = []
    for values, otherwise in zip(elements.T, fallback.T, strict=True):
        order = np.argsort(-values, kind="stable")
        weight = weights[:, order]
        left = np.cumprod(1 - weight, axis=1)
        before = np.hstack([np.ones((len(left), 1)), left[:, :-1]])
        columns.append((weight * before) @ values[order] + left[:, -1] * otherwise)
    return np.stack(columns, axis=1)


def _deviation(shares: Array, elements: Array, mean: Array) -> Array:
    """Mean absolute deviation (n, P) of the properties about their means."""
    columns = [(shares * np.abs(elements[:, p] - mean[:, p, None])).sum(axis=1) for p in range(elements.shape[1])]
    return np.stack(columns, axis=1)


def _extreme(present: NDArray[np.bool_], elements: Array, absent: float) -> Array:
    """Properties (n, E, P) of the elements that are there, `absent` for the others."""
    return np.where(present[:, :, None], elements, absent)

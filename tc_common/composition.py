"""Compositions as numbers: statistics of element properties over the atoms of a formula, doped fractions included.

In the manner of Magpie (Ward et al. 2016, doi 10.1038/npjcompumats.2016.28), with element data from pymatgen.

Legend: n materials, E elements, P properties, F features.
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element, Structure

from tc_common.chemistry import doping_features, doping_names, presence
from tc_common.elements import LAST_Z, Array, element_symbols, element_table, property_names
from tc_common.errors import UserError

# statistics: those of Magpie; minima, maxima, main element and counts jump with a trace of another element.
# continuous: the same six statistics and count, none of which jumps. physics: those and `tc_common.chemistry`'s.
FeatureKind: TypeAlias = Literal["statistics", "continuous", "physics"]
STATISTICS = ("mean", "deviation", "min", "max", "range", "main")
AMOUNTS = ("elements", "largest fraction", "norm 2")
# The main element of continuous statistics: properties weighted by this power of the fractions.
MAIN_POWER = 4


def feature_names(kind: FeatureKind = "statistics") -> list[str]:
    """Names of the features, in the order of `composition_features`."""
    if kind == "physics":
        return [*feature_names("continuous"), *doping_names()]
    soft = "soft " if kind == "continuous" else ""
    prefixes = [*STATISTICS[:2], *(soft + name for name in STATISTICS[2:])]
    statistics = [f"{statistic} {name}" for statistic in prefixes for name in property_names()]
    amounts = [soft + AMOUNTS[0], *AMOUNTS[1:]]
    return [*statistics, *amounts, *(f"fraction {symbol}" for symbol in element_symbols())]


def composition_features(formulas: Sequence[str], kind: FeatureKind = "statistics") -> Array:
    """Features (n, F) of chemical formulas.

    Raises:
        UserError: a text that is no formula, by its text.
    """
    return FEATURES[kind](element_fractions(formulas))


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


FEATURES: dict[FeatureKind, Callable[[Array], Array]] = {
    "statistics": composition_statistics,
    "continuous": continuous_statistics,
    "physics": lambda shares: np.hstack([continuous_statistics(shares), doping_features(shares)]),
}


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


LONGEST_FORMULA = 200
FORMULA = re.compile(r"[A-Z(\[][A-Za-z0-9.()\[\]]*")

Fractions = dict[str, float]


def parse_formula(formula: str) -> Composition:
    """Read a chemical formula such as `La1.85Sr0.15Cu1O4`.

    Raises:
        UserError: it is empty, too long, no formula, or names something that is no element.
    """
    if len(formula) > LONGEST_FORMULA or not FORMULA.fullmatch(formula):
        raise UserError(f"{formula[:60]!r} is no chemical formula")
    try:
        composition = Composition(formula)
    except ValueError as error:
        raise UserError(f"{formula[:60]!r} is no chemical formula ({error})") from error
    strange = [str(species) for species in composition if not isinstance(species, Element)]
    if strange or not 0 < composition.num_atoms < float("inf"):
        raise UserError(f"{formula[:60]!r} is no chemical formula (no element: {', '.join(strange) or 'none at all'})")
    return composition


def fractions(composition: Composition) -> Fractions:
    """Share of the atoms that each element has; deuterium counts as hydrogen (pymatgen gives it the symbol H)."""
    amounts = composition.get_el_amt_dict()
    return {symbol: amount / composition.num_atoms for symbol, amount in sorted(amounts.items())}


def formula_distance(a: Fractions, b: Fractions) -> float:
    """Share of the atoms to exchange to turn one composition into the other, 0 (same) to 1 (no element shared).

    Half the L1 distance of the atomic fractions (total variation).
    """
    return sum(abs(a.get(element, 0.0) - b.get(element, 0.0)) for element in {*a, *b}) / 2


def chemical_system(shares: Fractions) -> str:
    """The elements in alphabetical order, such as `Cu-La-O-Sr`."""
    return "-".join(sorted(shares))


def composition_key(shares: Fractions) -> str:
    """Text that is equal for formulas of one composition (`Nb3Sn`, `Sn1Nb3`, `Nb0.75Sn0.25`).

    Fractions are compared to 6 decimals, a hundredth of the least step that SuperCon's 3 decimals make in a formula of
    10 atoms: Bi2Sr2CaCu2O8.215 and O8.216 are two entries, one with 0 K and one with 78 K.
    """
    return " ".join(f"{element}{share:.6f}" for element, share in sorted(shares.items()))


# Shares of atoms to this many digits: what a CIF rounds apart (0.3333, 0.33333333) stays apart, but elements of equal
# amount stay equal, of which one is the main element.
DIGITS = 7


def shown_formula(structure: Structure) -> str:
    """Reduced formula, amounts to four digits."""
    amounts = {element: round(amount, 4) for element, amount in structure.composition.items()}
    return str(Composition(amounts).reduced_formula)


def fractions_formula(structure: Structure) -> str:
    """Formula of one atom in all, such as Mg0.3333333B0.6666667: the input of the trees and of distances."""
    shares = structure.composition.fractional_composition
    return "".join(f"{element.symbol}{share:.{DIGITS}f}" for element, share in shares.items())

"""Compositions as numbers: statistics of element properties over the atoms of a formula, doped fractions included.

In the manner of Magpie (Ward et al. 2016, doi 10.1038/npjcompumats.2016.28), with element data from pymatgen.

Legend: n materials, E elements, P properties, F features.
"""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element, Structure

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

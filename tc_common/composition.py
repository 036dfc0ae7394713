"""Compositions: one parser of formulas, atomic fractions, distances between them.

Legend: n materials, E elements.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element, Structure
from scipy.spatial.distance import cdist

from tc_common.errors import UserError

Array: TypeAlias = NDArray[np.float64]
Fractions: TypeAlias = dict[str, float]
LAST_Z = 103


def element_fractions(formulas: Sequence[str]) -> Array:
    """Atomic fractions (n, E) by Z from 1 on; deuterium and tritium count as hydrogen.

    Raises:
        UserError: a text that is no formula.
    """
    shares = np.zeros((len(formulas), LAST_Z))
    for row, formula in enumerate(formulas):
        if (amounts := _plain_amounts(formula)) is None:
            parsed = parse_formula(formula).fractional_composition
            amounts = {element.symbol: share for element, share in parsed.items()}
        for symbol, share in amounts.items():
            shares[row, _columns()[symbol]] += share
    return shares


PLAIN_UNIT = re.compile(r"([A-Z][a-z]?)(\d+\.?\d*|\.\d+)?")
PLAIN_FORMULA = re.compile(f"(?:{PLAIN_UNIT.pattern})+")
# pymatgen leaves out amounts below 1e-8: formulas with a smaller one than this are left to it.
LEAST_PLAIN_AMOUNT = 1e-5


def _plain_amounts(formula: str) -> Fractions | None:
    """Atomic fractions of a formula without brackets, to the last bit as pymatgen has them in a thirtieth of the time.

    None for all other texts.
    """
    if len(formula) > LONGEST_FORMULA or not PLAIN_FORMULA.fullmatch(formula):
        return None
    amounts: Fractions = {}
    for symbol, amount in PLAIN_UNIT.findall(formula):
        amounts[symbol] = amounts.get(symbol, 0.0) + float(amount or 1)
    atoms = sum(amounts.values())
    if min(amounts.values()) / max(atoms, 1.0) <= LEAST_PLAIN_AMOUNT or not amounts.keys() <= _columns().keys():
        return None
    return {symbol: amount / atoms for symbol, amount in amounts.items()}


@cache
def _columns() -> dict[str, int]:
    """Column of each element's symbol."""
    symbols = {element.symbol: element.Z - 1 for element in Element if element.Z <= LAST_Z}
    return {**symbols, "D": 0, "T": 0}


LONGEST_FORMULA = 300
FORMULA = re.compile(r"[A-Z(\[][A-Za-z0-9.()\[\]]*")

# Sums of fractions differ in their last digits: two distances are equal to this.
ROUNDING = 1e-9


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
    strange = [str(each) for each in composition if not isinstance(each, Element) or each.Z > LAST_Z]
    if strange or not 0 < composition.num_atoms < float("inf"):
        raise UserError(
            f"{formula[:60]!r} is no chemical formula (no element up to Lr: {', '.join(strange) or 'none at all'})"
        )
    return composition


def fractions(composition: Composition) -> Fractions:
    """Atomic fractions by element; deuterium counts as hydrogen (pymatgen gives it the symbol H)."""
    amounts = composition.get_el_amt_dict()
    return {symbol: amount / composition.num_atoms for symbol, amount in sorted(amounts.items())}


def formula_distance(a: Fractions, b: Fractions) -> float:
    """Fraction of the atoms to exchange to turn one composition into the other, 0 (same) to 1 (no element in common).

    Half the L1 distance of the atomic fractions (total variation).
    """
    return sum(abs(a.get(element, 0.0) - b.get(element, 0.0)) for element in {*a, *b}) / 2


def nearest_distance(formulas: Sequence[str], others: Sequence[str]) -> Array:
    """`formula_distance` (n,) of each formula from the nearest of the others; 1 where there are none."""
    if not len(formulas) or not len(others):
        return np.ones(len(formulas))
    found = cdist(element_fractions(formulas), element_fractions(others), "cityblock") / 2
    return np.asarray(found.min(axis=1))


def chemical_system(fractions: Fractions) -> str:
    """The elements in alphabetical order, such as `Cu-La-O-Sr`."""
    return "-".join(sorted(fractions))


def composition_key(fractions: Fractions) -> str:
    """Text that is equal for formulas of one composition (`Nb3Sn`, `Sn1Nb3`, `Nb0.75Sn0.25`).

    Fractions are compared to 6 decimals, a hundredth of the least step that SuperCon's 3 decimals make in a formula of
    10 atoms: Bi2Sr2CaCu2O8.215 and O8.216 are two entries, one with 0 K and one with 78 K.
    """
    return " ".join(f"{element}{fraction:.6f}" for element, fraction in sorted(fractions.items()))


# Digits of atomic fractions: what a CIF rounds apart (0.3333, 0.33333333) stays apart, but elements of equal
# amount stay equal, of which one is the main element.
DIGITS = 7


def shown_formula(structure: Structure) -> str:
    """Reduced formula, amounts to four digits."""
    amounts = {element: round(amount, 4) for element, amount in structure.composition.items()}
    return str(Composition(amounts).reduced_formula)


def fractions_formula(structure: Structure) -> str:
    """Formula of one atom in all, such as Mg0.3333333B0.6666667: the input of the trees and of distances."""
    atoms = structure.composition.fractional_composition
    return "".join(f"{element.symbol}{fraction:.{DIGITS}f}" for element, fraction in atoms.items())

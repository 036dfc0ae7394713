"""Compositions: one parser of formulas, atomic fractions, distances between them.

Legend: n materials, E elements.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from math import gcd, isfinite
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element, Structure

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

# An amount this near to a whole number is one.
WHOLE_AMOUNT = 1e-4
# Of the large cations, one with less than this of the largest amount is a dopant.
DOPANT = 0.25
RARE_EARTHS = "Sc Y La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu"
# Rank of the large cations in a formula: rare earths and actinides, alkaline earths, alkalis.
LARGE_CATIONS = {
    symbol: rank
    for rank, symbols in enumerate((f"{RARE_EARTHS} Ac Th Pa U Np Pu Am", "Mg Ca Sr Ba Ra", "Li Na K Rb Cs"))
    for symbol in symbols.split()
}
P_METALS = ("Al", "Ga", "In", "Tl", "Sn", "Pb", "Bi")
BLOCK_METALS = ("Hg", "Tl", "Bi", "Pb")  # of cuprates, whose formulas they begin: Bi2Sr2CaCu2O8


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
    return nearest(formulas, others)[1]


def nearest(formulas: Sequence[str], others: Sequence[str]) -> tuple[NDArray[np.int64], Array]:
    """Place (n,) in the others (at least one) of the nearest to each formula, and their `formula_distance` (n,)."""
    from scipy.spatial.distance import cdist  # takes 0.2 s to import; whoever predicts needs none

    found = cdist(element_fractions(formulas), element_fractions(others), "cityblock") / 2
    return found.argmin(axis=1), np.asarray(found.min(axis=1))


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


def chemical_formula(found: Composition | Structure) -> str:
    """Formula as chemists write it, such as La1.85Sr0.15CuO4: cations before anions, smallest whole formula unit.

    Amounts are given to four digits. The formula unit is found from the amounts alone: what divides all whole amounts
    and, where it is whole too, the sum of the others.
    """
    composition = found.composition if isinstance(found, Structure) else found
    amounts = {symbol: float(amount) for symbol, amount in composition.get_el_amt_dict().items() if amount > 0}
    unit = _formula_units(amounts)
    ordered = sorted(amounts, key=_writing_order(amounts))
    return "".join(symbol + _amount(amounts[symbol] / unit) for symbol in ordered)


def _amount(amount: float) -> str:
    return "" if round(amount, 4) == 1 else f"{round(amount, 4) or amount:.6g}"


def _formula_units(amounts: dict[str, float]) -> int:
    """How many formula units the amounts make; a dopant counts with the cation that it replaces (La7SrCu4O16)."""
    cations = {symbol: amount for symbol, amount in amounts.items() if symbol in LARGE_CATIONS}
    most = max(cations.values(), default=0.0)
    dopants = {symbol: amount for symbol, amount in cations.items() if amount < DOPANT * most}
    found = {symbol: amount for symbol, amount in amounts.items() if symbol not in dopants}
    if dopants:
        found[max(cations, key=lambda symbol: cations[symbol])] += sum(dopants.values())
    whole = [round(amount) for amount in found.values() if not _is_mixed(amount)]
    rest = sum(amount for amount in found.values() if _is_mixed(amount))
    if rest and not _is_mixed(rest):
        whole.append(round(rest))
        rest = 0.0
    return max(1, gcd(*whole)) if len(whole) > 1 or not rest else 1


def _writing_order(amounts: dict[str, float]) -> Callable[[str], tuple[float, ...]]:
    """Sorting key of symbols: block metals of cuprates, large cations, transition metals, other metals, the rest.

    Large cations: those of at least a quarter of the largest amount by kind (YBa2Cu3O7), dopants after them.
    """
    is_cuprate = {"Cu", "O"} <= {*amounts}
    most = max((amount for symbol, amount in amounts.items() if symbol in LARGE_CATIONS), default=0.0)

    def key(symbol: str) -> tuple[float, ...]:
        amount, electronegativity = amounts[symbol], _electronegativity(symbol)
        if is_cuprate and symbol in BLOCK_METALS:
            return 0, -amount, electronegativity
        if symbol in LARGE_CATIONS:
            return 1, amount < DOPANT * most, LARGE_CATIONS[symbol], -amount, electronegativity
        if Element(symbol).is_transition_metal or symbol in P_METALS:
            return 2 + (symbol in P_METALS), -amount if _is_mixed(amount) else 0.0, electronegativity
        return 4, electronegativity

    return key


def _is_mixed(amount: float) -> bool:
    return abs(amount - round(amount)) >= WHOLE_AMOUNT


@cache
def _electronegativity(symbol: str) -> float:
    """Pauling's; of an element without one, more than any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of the noble gases
        value = float(Element(symbol).X)
    return value if isfinite(value) else 9.0


def fractions_formula(structure: Structure) -> str:
    """Formula of one atom in all, such as Mg0.3333333B0.6666667: the input of the trees and of distances."""
    atoms = structure.composition.fractional_composition
    return "".join(f"{element.symbol}{fraction:.{DIGITS}f}" for element, fraction in atoms.items())

"""Compositions: reading formulas, and how far two of them are apart."""

import re

from pymatgen.core import Composition, Element

from tc_common.errors import UserError

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

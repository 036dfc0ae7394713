"""The formula that a CIF declares, compared with what was read."""

import re

from pymatgen.core import Element

from tc_common.cif import Block, CrystalError

TAG = "_chemical_formula_sum"
TOKEN = re.compile(r"([A-Z][a-z]?)(\d+\.?\d*|\.\d+)?(?:\(\d+\))?")
TOLERANCE = 0.02  # of each element's amount
ROUNDING = 0.005  # of an amount that is given with two digits
Amounts = dict[str, float]


def declared_formula(block: Block) -> tuple[Amounts, str]:
    """Amounts of the declared formula (deuterium as hydrogen) and its text; empty if none, or not of plain numbers."""
    _, text = block.one((TAG,))
    amounts: Amounts = {}
    for part in text[:2000].replace(",", " ").split():
        position = 0
        while position < len(part):
            token = TOKEN.match(part, position)
            if not token or not Element.is_valid_symbol(token[1]):
                return {}, text
            element = "H" if token[1] in ("D", "T") else token[1]
            amounts[element] = amounts.get(element, 0.0) + float(token[2] or 1)
            position = token.end()
    return {element: amount for element, amount in amounts.items() if amount}, text


def check_formula(block: Block, found: Amounts) -> list[str]:
    """Compare the atoms of a cell with the declared formula, which may be the cell's or the formula unit's.

    Returns:
        Remarks.

    Raises:
        CrystalError: an element's amount differs by more than 2 %, or the number of formula units is another.
    """
    declared, text = declared_formula(block)
    if not declared:
        return [f"{TAG} {text[:40]!r} could not be compared"] if text else []
    units = sum(found.values()) / sum(declared.values())
    for element in sorted(declared.keys() | found.keys()):
        said, seen = declared.get(element, 0.0), found.get(element, 0.0) / units
        if abs(said - seen) > TOLERANCE * said + ROUNDING or not said or not seen:
            raise CrystalError(
                f"{TAG} {' '.join(text.split())[:60]!r} has {said:g} {element}, but the atoms listed give {seen:.3g}; "
                "list all atoms, or mend the formula"
            )
    _check_units(block, declared, units)
    return []


def _check_units(block: Block, declared: Amounts, units: float) -> None:
    """Refuse a cell whose number of formula units is not the one declared."""
    tag, text = block.one(("_cell_formula_units_z",))
    if not tag or not re.fullmatch(r"\d{1,4}", text) or not int(text):
        return
    z = int(text)
    of_cell = abs(units - 1) <= TOLERANCE and all(amount % z == 0 for amount in declared.values() if amount % 1 == 0)
    if abs(units / z - 1) > TOLERANCE and not of_cell:
        raise CrystalError(
            f"_cell_formula_units_Z is {z}, but the cell holds {units:.3g} formula units; "
            "give the right space group or all its operations"
        )

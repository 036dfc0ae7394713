"""What a CIF declares of its cell - formula, units, mass, density, volume - compared with what was read."""

import re

from pymatgen.core import Element

from tc_common.cif import NUMBER, Block, CrystalError, number

TAG = "_chemical_formula_sum"
TOKEN = re.compile(r"([A-Z][a-z]?)(\d+\.?\d*|\.\d+)?(?:\(\d+\))?")
TOLERANCE = 0.02  # of each element's amount
ROUNDING = 0.005  # of an amount that is given with two digits
LARGEST_FORMULA = 1e6  # atoms; what is more is a mistake, or no number
VOLUME_TOLERANCE = 0.01
MASS_TOLERANCE = 0.15  # LiD is read as LiH, hydrogen of water is often not counted
DENSITY_TAG = "_exptl_crystal_density_diffrn"
WEIGHT_TAG = "_chemical_formula_weight"
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
    if sum(amounts.values()) > LARGEST_FORMULA:
        return {}, text
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


def check_mass(block: Block, mass: float, density: float) -> None:
    """Compare the mass of the cell (atomic mass units) and its density (g/cm³) with those that the file declares.

    Raises:
        CrystalError: they differ by more than 15 %; the formula's weight counts where the formula is not given.
    """
    said = _declared_number(block, DENSITY_TAG)
    said = said / 1000 if said > 100 else said  # in kg/m³
    if said and abs(density / said - 1) > MASS_TOLERANCE:
        raise CrystalError(
            f"{DENSITY_TAG} is {said:g}, but the atoms and the cell have {density:.3g} g/cm³; list all atoms and "
            "symmetry operations, or mend the density"
        )
    whole = _declared_number(block, WEIGHT_TAG) * _declared_number(block, "_cell_formula_units_z")
    if whole and not declared_formula(block)[0] and abs(mass / whole - 1) > MASS_TOLERANCE:
        raise CrystalError(
            f"{WEIGHT_TAG} and _cell_formula_units_Z give the cell {whole:g}, but the atoms listed have {mass:.4g}; "
            "list all atoms and symmetry operations, or mend the weight"
        )


def check_volume(block: Block, volume_A3: float) -> None:
    """Compare the volume of the cell (Å³) with the one declared; a `CrystalError` beyond 1 %."""
    tag, text = block.one(("_cell_volume",))
    if tag and abs(number(text, tag) / volume_A3 - 1) > VOLUME_TOLERANCE:
        raise CrystalError(
            f"_cell_volume is {text}, but the cell has {volume_A3:.5g} Å³; mend _cell_length_ or _cell_angle_"
        )


def _declared_number(block: Block, tag: str) -> float:
    """Value of a tag that describes the crystal; 0 where it gives no plain number."""
    text = block.one((tag,))[1]
    return number(text, tag) if len(text) < 30 and NUMBER.fullmatch(text) else 0.0

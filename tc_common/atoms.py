"""The atoms that a CIF lists, their images under symmetry, and the sites that they occupy.

Legend: A listed atoms, O operations, N images in the cell.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tc_common.cif import COORDINATE_TAGS, LONGEST_VALUE, MULTIPLICITY_TAGS, Block, CrystalError, numbers
from tc_common.declared import declared_formula
from tc_common.symbols import element_of_label, species, species_of_label, writes_capitals

Floats = NDArray[np.float64]

LARGEST_CELL_SITES = 2_000  # sites after symmetry; 3DSC has up to 240
# Occupancies that a CIF rounds to 0.34 + 0.67 still share one full site; more is a mistake.
OCCUPANCY_TOLERANCE = 1.02
LARGEST_COORDINATE = 10.0
LIST_ALL = "give the right space group or all its operations"

Amounts = tuple[tuple[str, float], ...]


@dataclass(frozen=True, eq=False)
class Atoms:
    """Listed atoms."""

    frac: Floats
    """(A, 3)"""
    species: list[Amounts]
    """Element and occupancy; `D` is deuterium."""
    keys: list[str]
    """Key of a repeated row: rows of one alternative agree in symbol and disorder group."""
    multiplicity: list[int]
    """Declared number of images of each atom; empty if not given."""
    order: list[int]
    """Declared order of each site's symmetry; empty if not given."""
    wyckoff: list[str]
    """Declared letters of the Wyckoff positions; empty if not given."""
    remarks: list[str]


# ---- what is listed ----------------------------------------------------------------------------------------------


def listed_atoms(block: Block) -> Atoms:
    """The rows of the atom list that are atoms.

    Raises:
        CrystalError: a coordinate, symbol or occupancy that cannot be read, or hydrogen that is nowhere.
    """
    columns = [block.column(tag) for tag in COORDINATE_TAGS]
    for tag, column in zip(COORDINATE_TAGS, columns, strict=True):
        if not column:
            raise CrystalError(f"{tag} is missing; give the fractional coordinates of all atoms")
    rows = len(columns[0])
    if rows > LARGEST_CELL_SITES:
        raise CrystalError(f"lists {rows} atoms; at most {LARGEST_CELL_SITES} are read")
    if len({(block.loops[tag], len(block.column(tag))) for tag in COORDINATE_TAGS}) > 1:
        raise CrystalError("_atom_site_fract_x, _y and _z are not in one loop")
    _check_hydrogen(block)
    kinds = [
        _occupied(found, occupancy)
        for found, occupancy in zip(_symbols(block, rows), _occupancies(block, rows), strict=True)
    ]
    frac = np.array([_coordinates(block, tag) for tag in COORDINATE_TAGS]).T
    kept, remarks = _atoms_only(block, frac, kinds)
    if not kept:
        raise CrystalError("lists no atoms: all rows are vacancies, dummies or unoccupied")
    symbols = _texts(block, "_atom_site_type_symbol", rows) or _texts(block, "_atom_site_label", rows)
    groups = _texts(block, "_atom_site_disorder_group", rows) or [""] * rows
    return Atoms(
        frac=frac[kept],
        species=[kinds[row] for row in kept],
        keys=[f"{symbols[row]} {groups[row]} {'+'.join(name for name, _ in kinds[row])}" for row in kept],
        multiplicity=[found[row] for row in kept] if (found := _whole(block, MULTIPLICITY_TAGS, rows)) else [],
        order=[found[row] for row in kept]
        if (found := _whole(block, ("_atom_site_site_symmetry_order",), rows))
        else [],
        wyckoff=_texts(block, "_atom_site_wyckoff_symbol", rows),
        remarks=remarks + _occupancy_remarks(block) + _label_remarks(block, rows),
    )


def _texts(block: Block, tag: str, rows: int) -> list[str]:
    """A column of the atom list; empty if it is missing, or of another loop."""
    column = block.column(tag)
    if any(len(text) > LONGEST_VALUE for text in column):
        raise CrystalError(f"{tag} has a value of more than {LONGEST_VALUE} characters")
    if column and len(column) != rows:
        raise CrystalError(f"{tag} has {len(column)} values for {rows} atoms; put them into one loop")
    return column


def _coordinates(block: Block, tag: str) -> list[float]:
    """A column of fractional coordinates."""
    texts = block.column(tag)
    values = numbers(texts, tag)
    if max(values) > LARGEST_COORDINATE or min(values) < -LARGEST_COORDINATE:
        strange = texts[max(range(len(values)), key=lambda n: abs(values[n]))]
        raise CrystalError(f"{tag} is {strange[:20]!r}; fractional coordinates are of the order of 1")
    return values


def _symbols(block: Block, rows: int) -> list[Amounts]:
    """Elements and amounts of every row, before occupancies."""
    symbols = _texts(block, "_atom_site_type_symbol", rows)
    labels = _texts(block, "_atom_site_label", rows)
    if not symbols and not labels:
        raise CrystalError("_atom_site_type_symbol is missing; name the element of every atom")
    upper, upper_labels = writes_capitals(symbols), writes_capitals(labels)
    formula: frozenset[str] | None = None
    found: list[Amounts] = []
    for row in range(rows):
        if symbols and symbols[row] not in ("?", "."):
            found.append(species(symbols[row], upper))
            continue
        if not labels:
            raise CrystalError(f"_atom_site_type_symbol is {symbols[row]!r} in row {row + 1}; name the element")
        if formula is None:
            formula = frozenset(declared_formula(block)[0])
        found.append(species_of_label(labels[row], formula, upper_labels))
    return found


def _occupancies(block: Block, rows: int) -> list[float | None]:
    """Occupancy of every row; None where it is left out, which means full."""
    tag = "_atom_site_occupancy"
    texts = _texts(block, tag, rows)
    if not texts:
        return [None] * rows
    given = [text for text in texts if text not in ("?", ".")]
    values = iter(numbers(given, tag))
    found = [None if text in ("?", ".") else next(values) for text in texts]
    for text, value in zip(texts, found, strict=True):
        if value is not None and not 0 <= value <= OCCUPANCY_TOLERANCE:
            raise CrystalError(
                f"occupancy {text[:20]} is outside (0, 1]; give the fraction of the site that is filled"
            )
    return found


def _occupied(amounts: Amounts, occupancy: float | None) -> Amounts:
    """Amounts of a site times its occupancy, which may repeat their sum."""
    if occupancy is None or not amounts:
        return amounts
    total = sum(amount for _, amount in amounts)
    if len(amounts) == 1 and total == 1.0:
        return ((amounts[0][0], occupancy),)
    if abs(occupancy - total) < 0.005 or abs(occupancy - 1) < 0.005:
        return amounts
    if abs(total - 1) < 0.005:
        return tuple((name, amount * occupancy) for name, amount in amounts)
    names = " + ".join(f"{amount:g}{name}" for name, amount in amounts)
    raise CrystalError(f"occupancy {occupancy:g} contradicts the symbol {names}; give one element a row")


def _whole(block: Block, tags: tuple[str, ...], rows: int) -> list[int]:
    """Whole numbers of the first of these columns that holds nothing else; empty without one."""
    for tag in tags:
        column = block.column(tag)
        if len(column) == rows and all(text.isdecimal() and len(text) < 4 for text in column):
            return [int(text) for text in column]
    return []


def _check_hydrogen(block: Block) -> None:
    tag = "_atom_site_attached_hydrogens"
    if any(text not in ("0", ".", "?") for text in block.column(tag)):
        raise CrystalError(f"{tag} names hydrogen atoms that have no coordinates; list them as atoms")


def _atoms_only(block: Block, frac: Floats, kinds: list[Amounts]) -> tuple[list[int], list[str]]:
    """Rows that hold atoms, and what the others were."""
    flags = block.column("_atom_site_calc_flag") or ["."] * len(kinds)
    kept, dropped = [], {"dummies": 0, "vacancies": 0, "atoms of occupancy 0": 0}
    for row, (amounts, flag) in enumerate(zip(kinds, flags, strict=False)):
        if flag.lower() == "dum":
            dropped["dummies"] += 1
        elif not amounts or _is_placeholder(row, frac, kinds):
            dropped["vacancies"] += 1
        elif not any(amount for _, amount in amounts):
            dropped["atoms of occupancy 0"] += 1
        else:
            kept.append(row)
    return kept, [f"left out of the list: {what} ({count})" for what, count in dropped.items() if count]


def _is_placeholder(row: int, frac: Floats, kinds: list[Amounts]) -> bool:
    """Whether a row `X` is the vacant part of a site that another row occupies.

    Raises:
        CrystalError: it is alone there, and may be any element.
    """
    if kinds[row][0][0] != "X":
        return False
    apart = np.abs((frac - frac[row] + 0.5) % 1.0 - 0.5).max(axis=1)
    if not any(apart[n] < 1e-3 and kinds[n] and kinds[n][0][0] != "X" for n in range(len(kinds))):
        raise CrystalError("atom 'X' is no element; name the element, or `Va` for a vacancy")
    return True


def _occupancy_remarks(block: Block) -> list[str]:
    unknown = block.column("_atom_site_occupancy").count("?")
    return [f"occupancy is unknown (?) and was taken as 1 ({unknown})"] if unknown else []


def _label_remarks(block: Block, rows: int) -> list[str]:
    """Labels that name another element than their type symbol, which was taken."""
    symbols, labels = block.column("_atom_site_type_symbol"), block.column("_atom_site_label")
    if len(symbols) != rows or len(labels) != rows or len(set(labels)) < rows:
        return []
    strange = [
        f"label {label[:20]} is of element {symbol[:20]}, its type symbol"
        for symbol, label in zip(symbols, labels, strict=True)
        if not label.startswith(symbol) and (named := element_of_label(label)) and named.upper() not in symbol.upper()
    ]
    return strange[:3] if len(strange) < rows else []


def check_multiplicity(atoms: Atoms, count: NDArray[np.int64], order: int) -> None:
    """Refuse other numbers of images, or other site symmetries, than the file declares.

    Some programs write the order of the site's symmetry under the name of the multiplicity; both are understood.

    Args:
        count: (A,) images of each atom; order: number of operations.

    Raises:
        CrystalError: an atom has another number of images, or lies on a Wyckoff position that P 1 does not have.
    """
    orders = order // count
    said = atoms.multiplicity
    if said and not _agree(said, count) and not _agree(said, orders):
        row = next(n for n, each in enumerate(said) if each != count[n])
        reason = f"_atom_site_symmetry_multiplicity of atom {row + 1} is {said[row]}, but"
        raise CrystalError(f"{reason} its symmetry gives it {count[row]} images; {LIST_ALL}")
    if atoms.order and not _agree(atoms.order, orders):
        raise CrystalError(f"_atom_site_site_symmetry_order is not that of the symmetry given; {LIST_ALL}")
    if order == 1 and any(letter not in ("a", "1a", ".", "?") for letter in atoms.wyckoff):
        raise CrystalError(f"_atom_site_Wyckoff_symbol names positions that P 1 does not have; {LIST_ALL}")


def _agree(said: list[int], found: Any) -> bool:
    return bool((np.array(said) == found).all())

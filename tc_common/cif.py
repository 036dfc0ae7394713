"""CIF text to the values that describe one crystal: gemmi knows the syntax, tags are compared as in the dictionaries.

Upper and lower case are one name, and so are the spellings of CIF 1 and DDLm (`_cell_length_a`, `_cell.length_a`).
CIF values are ASCII; what else an author typed (a pasted minus sign, a no-break space) is refused where it would
change the crystal and left alone elsewhere, as in names of authors, comments and text fields.
"""

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from gemmi import cif

from tc_common.errors import UserError

# Reflections that refinement programs embed reach some MB; gemmi reads 16 MB in 2 s at worst.
LARGEST_TEXT = 16_000_000
MOST_BLOCKS = 1_000  # gemmi compares every block with every other
MOST_ITEMS = 20_000  # tags and loops of a block
LONGEST_VALUE = 200  # characters of a number, symbol or operation

CELL_TAGS = tuple(f"_cell_length_{axis}" for axis in "abc") + tuple(
    f"_cell_angle_{angle}" for angle in ("alpha", "beta", "gamma")
)
COORDINATE_TAGS = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
NAME_TAGS = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m",
    "_space_group_name_h-m_full",
    "_symmetry_space_group_name_h-m_full",
    "_symmetry_space_group_name_h-m_alt",
)
NUMBER_TAGS = ("_space_group_it_number", "_symmetry_int_tables_number", "_symmetry_space_group_it_number")
HALL_TAGS = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
CODE_TAGS = ("_space_group_it_coordinate_system_code", "_symmetry_it_coordinate_system_code")
SYSTEM_TAGS = ("_space_group_crystal_system", "_symmetry_cell_setting", "_symmetry_crystal_system")
TRANSFORM_TAG = "_space_group_transform_pp_abc"
OPERATION_TAGS = (
    "_space_group_symop_operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
    "_space_group_symop_operation_xyz_",
    "_symmetry_equiv_pos_as_xyz_",
)
SYMMETRY_TAGS = (*NAME_TAGS, *NUMBER_TAGS, *HALL_TAGS, *OPERATION_TAGS)
MULTIPLICITY_TAGS = ("_atom_site_site_symmetry_multiplicity", "_atom_site_symmetry_multiplicity")
SIGNIFICANT = frozenset(
    (*CELL_TAGS, *COORDINATE_TAGS, *NAME_TAGS, *NUMBER_TAGS, *HALL_TAGS, *CODE_TAGS, *SYSTEM_TAGS, *OPERATION_TAGS)
    + MULTIPLICITY_TAGS
    + (
        "_cell_volume",
        "_cell_formula_units_z",
        "_chemical_formula_sum",
        "_chemical_formula_weight",
        "_exptl_crystal_density_diffrn",
        "_space_group_name_h-m_ref",
        TRANSFORM_TAG,
        "_atom_site_label",
        "_atom_site_type_symbol",
        "_atom_site_occupancy",
        "_atom_site_calc_flag",
        "_atom_site_attached_hydrogens",
        "_atom_site_disorder_group",
        "_atom_site_wyckoff_symbol",
        "_atom_site_site_symmetry_order",
    )
)
FOREIGN = re.compile(r"[^\x00-\x7f]")
MARK = re.compile(r"<U\+([0-9A-F]{4,6})>")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?(\(\d+\))?")
DIGITS = re.compile(r"[-+.0-9]{1,100000}")  # what float() reads of these is what CIF means
GEMMI_ERROR = re.compile(
    r"string(?::(?P<line>\d+)(?::\d+\(\d+\))?)?(?: in (?P<block>[^:]*))?: (?P<reason>.*)", re.DOTALL
)


class CrystalError(UserError):
    """A crystal that cannot be used, with its file and the reason."""


@dataclass(frozen=True, eq=False)
class Block:
    """The significant values of one data block, by tag in lower case and with underscores."""

    name: str
    tags: frozenset[str]
    """All tags of the block, significant or not."""
    values: dict[str, list[str]] = field(repr=False)
    """Without quotes (operations with them); one value for what is no loop."""
    loops: dict[str, int] = field(repr=False)
    """Which loop a column belongs to; -1 for a pair."""

    def column(self, tag: str) -> list[str]:
        """Values of a tag; empty where it is missing."""
        return self.values.get(tag, [])

    def one(self, tags: tuple[str, ...]) -> tuple[str, str]:
        """The tag and value of the first of these tags that is known; empty where none is."""
        return next(iter(self.known(tags)), ("", ""))

    def known(self, tags: tuple[str, ...]) -> list[tuple[str, str]]:
        """Tags with their values, less those that say unknown (`?`) or not applicable (`.`)."""
        pairs = [(tag, value.strip()) for tag in tags if tag in self.values for value in self.values[tag]]
        return [(tag, value) for tag, value in pairs if value not in ("?", ".", "")]

    def number(self, tag: str) -> float:
        """Value of a tag that needs one number.

        Raises:
            CrystalError: it is missing, or no number.
        """
        values = self.values.get(tag)
        if not values:
            raise CrystalError(f"{tag} is missing; give the whole cell")
        return number(values[0], tag)


def number(text: str, tag: str) -> float:
    """Value of a CIF number such as `5.43` or `5.43(2)`.

    Raises:
        CrystalError: it is none, or not finite.
    """
    text = text.strip()
    if len(text) > LONGEST_VALUE or not NUMBER.fullmatch(text):
        raise CrystalError(f"{tag} is {text[:20]!r}, not a number")
    value = float(text.partition("(")[0])
    if not math.isfinite(value):
        raise CrystalError(f"{tag} is {text[:20]!r}, not a finite number")
    return value


def numbers(texts: list[str], tag: str) -> list[float]:
    """Values of a column of CIF numbers.

    Raises:
        CrystalError: one of them is none, or not finite.
    """
    if DIGITS.fullmatch("".join(texts)):
        with suppress(ValueError):
            return [float(text) for text in texts]
    return [number(text, tag) for text in texts]


def crystal_block(text: str) -> Block:
    """The one data block of a CIF that lists atoms.

    Raises:
        CrystalError: no CIF (with line), none or several such blocks, or a character that is not ASCII in a value.
    """
    text = _measured(text)
    document = _document(text)
    blocks = [_block(block, text) for block in document]
    listing = [block for block in blocks if any(tag in block.values for tag in COORDINATE_TAGS)]
    if len(listing) > 1:
        names = ", ".join(block.name for block in listing[:4])
        raise CrystalError(f"{len(listing)} of its data blocks list atoms ({names}); keep one")
    if not listing:
        if any("_atom_site_cartn_x" in block.tags for block in blocks):
            raise CrystalError("lists Cartesian coordinates only; give _atom_site_fract_x, _y and _z")
        raise CrystalError("0 of its data blocks list atoms (_atom_site_fract_x is missing); one should")
    return listing[0]


def _measured(text: str) -> str:
    """The text with unix line ends; refused where reading it would take long."""
    if len(text) > LARGEST_TEXT:
        raise CrystalError(f"larger than {LARGEST_TEXT} bytes; not a unit cell")
    if "\0" in text:
        raise CrystalError("holds NUL characters; not a CIF")
    folded = text.casefold()
    if folded.count("data_") > MOST_BLOCKS or folded.count("save_") > MOST_BLOCKS:
        raise CrystalError(f"holds more than {MOST_BLOCKS} data blocks; one crystal is needed")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _document(text: str) -> cif.Document:
    """What gemmi reads; characters beyond ASCII are marked by their code, so that they can be named later."""
    marked = text if text.isascii() else FOREIGN.sub(lambda found: f"<U+{ord(found.group()):04X}>", text)
    try:
        document = cif.read_string(marked)
    except (ValueError, RuntimeError, IndexError, UnicodeError) as error:
        raise CrystalError(_syntax(str(error), text)) from error
    return document


def _syntax(message: str, text: str) -> str:
    """A syntax error of gemmi in a user's terms."""
    found = GEMMI_ERROR.fullmatch(message)
    line, reason = (int(found["line"] or 0), found["reason"]) if found else (0, message)
    rows = text.split("\n")[line - 1 :] if line else [""]
    row = rows[0]
    for below, each in enumerate(rows[:MOST_ITEMS]):
        if below and ("Wrong number" not in reason or re.match(r"(?i)\s*(loop_|data_)", each)):
            break
        if strange := FOREIGN.search(each.partition("#")[0]):
            return _foreign_message(strange.group(), line + below, "a value")
    place = f"line {line}: " if line else ""
    if "Wrong number of values" in reason:
        return f"{place}the last row of a loop is incomplete; was the file cut off?"
    if "duplicate" in reason:
        return f"{place}{' '.join(reason.split())[:80]}; keep one"
    shown = MARK.sub("?", row.strip())[:40]
    reason = " ".join(reason.split())[:80] or "nothing in it"
    return f"not a readable CIF ({place}{reason}{f' at {shown!r}' if shown else ''})"


def _foreign_message(character: str, line: int, where: str) -> str:
    return (
        f"line {line}: character U+{ord(character):04X} ({character if character.isprintable() else '?'}) in {where}; "
        "CIF values are ASCII: type it again"
    )


def _block(source: cif.Block, text: str) -> Block:
    """The significant values of a block; save frames are passed over."""
    values: dict[str, list[str]] = {}
    loops: dict[str, int] = {}
    tags: set[str] = set()
    is_ascii = text.isascii()
    for position, item in enumerate(source):
        if position >= MOST_ITEMS:
            raise CrystalError(f"data_{source.name} has more than {MOST_ITEMS} tags; not a unit cell")
        for name, column in _columns(item):
            if column is not None and name in tags:
                raise CrystalError(f"line {item.line_number}: {name} is given twice; keep one")
            tags.add(name)
            if column is not None:
                values[name] = column if name in OPERATION_TAGS else [_unquoted(value) for value in column]
                loops[name] = -1 if item.loop is None else position
            if not is_ascii:
                _check_ascii(name, values.get(name, [name.upper()]), item.line_number, text)
    return Block(source.name, frozenset(tags), values, loops)


def _columns(item: cif.Item) -> Iterator[tuple[str, list[str] | None]]:
    """Tags of a pair or loop with their values; None for those that say nothing of the crystal."""
    loop = item.loop
    if loop is not None:
        names = [_plain(tag) for tag in loop.tags]
        content = [] if SIGNIFICANT.isdisjoint(names) else loop.values
        for start, name in enumerate(names):
            yield name, content[start :: len(names)] if name in SIGNIFICANT else None
    elif item.pair is not None:
        name = _plain(item.pair[0])
        yield name, [item.pair[1]] if name in SIGNIFICANT else None


@lru_cache(maxsize=4096)
def _plain(tag: str) -> str:
    """A tag in the spelling of CIF 1, in lower case."""
    return tag.lower().replace(".", "_")


def _unquoted(value: str) -> str:
    return cif.as_string(value) if value[:1] in ("'", '"', ";") else value


def _check_ascii(tag: str, values: list[str], line: int, text: str) -> None:
    """Refuse a value that holds a character beyond ASCII, with its line."""
    for value in values:
        if found := MARK.search(value):
            character = chr(int(found.group(1), 16))
            rows = text.split("\n")[line - 1 :]
            row = next((n for n, row in enumerate(rows) if character in row.partition("#")[0]), 0)
            raise CrystalError(_foreign_message(character, line + row, tag if "<u+" not in tag else "a tag"))

"""How crystals were read until gemmi, by pymatgen's CifParser, with its checks: the frozen oracle of a benchmark."""

import math
import re
import stat
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Composition, Element, Species, Structure
from pymatgen.io.cif import CifFile, CifParser

from tc_common.crystals import CrystalError

# The largest CIF of 3DSC has 6 kB; 2,000 sites without symmetry take 160 kB.
LARGEST_CIF_BYTES = 500_000
LONGEST_LINE = 2_048  # characters, the limit of the CIF 1.1 specification
MOST_QUOTES = (
    50  # in a line; unclosed ones cost pymatgen's tokenizer the product of their number and the line's length
)
LARGEST_CELL_SITES = 2_000  # sites after symmetry; 3DSC has up to 240
# Listed sites times symmetry operations, most of which coincide; unfolding costs the square of those that do not,
# 1 to 2 s at this limit. Files of 3DSC have up to 470, those of the shipped sample 770.
MOST_SYMMETRY_IMAGES = 4_000
MOST_OPERATIONS = 192  # of one site: the general position of Fm-3m, the largest of any space group
# Occupancies that a CIF rounds to 0.34 + 0.67 still share one full site; more is a mistake.
OCCUPANCY_TOLERANCE = 1.02
# At 500 GPa, the highest pressure it was studied at, hydrogen takes about 1.2 Å³ an atom; H3S at 155 GPa 3.7 Å³; the
# most dilute crystal of an element, caesium, 115-123 Å³. What is thinner is a failed relaxation or a box with a
# molecule in it: 39 of the 10,904 structures of 3DSC, for 4 formulas the only one.
VOLUME_PER_ATOM_A3 = (1.0, 150.0)
# The H2 molecule, the shortest bond there is, measures 0.74 Å.
SHORTEST_DISTANCE_A = 0.5

CELL_KEYS = tuple(f"_cell_{kind}" for kind in ("length_a", "length_b", "length_c")) + tuple(
    f"_cell_angle_{angle}" for angle in ("alpha", "beta", "gamma")
)
COORDINATE_KEYS = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
OPERATION_KEYS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
MAGNETIC_KEYS = ("_space_group_symop_magn", "_space_group_magn", "_atom_site_moment")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?(\(\d+\))?")
OPERATION = re.compile(r"[xyzXYZ0-9+\-*/., ]{5,60}")
SYMBOL = re.compile(r"([A-Z][a-z]?)(?![A-Za-z]|-[A-Z])")

# What a text that is no CIF makes pymatgen raise. RuntimeError includes RecursionError and NotImplementedError.
PARSING_ERRORS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
)


def read_with_pymatgen(path: Path) -> Structure:
    """Read one structure; sites with several elements or vacancies keep their occupancies.

    Raises:
        CrystalError: the file is missing, too large, is no CIF, or fails `check_crystal`.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CrystalError(f"{path}: not a plain file")
        with path.open("rb") as stream:
            content = stream.read(LARGEST_CIF_BYTES + 1)
        return parse_crystal(content.decode("utf-8"))
    except OSError as error:
        raise CrystalError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise CrystalError(f"{path}: not a text file in UTF-8") from error
    except CrystalError as error:
        raise CrystalError(f"{path}: {error}") from error
    except ValueError as error:
        raise CrystalError(f"{str(path)!r}: no file name ({error})") from error


def parse_crystal(text: str) -> Structure:
    """Parse CIF text into one checked structure of plain elements (no oxidation states, deuterium as hydrogen).

    Raises:
        CrystalError: too large, no structure in it, or one that fails `check_crystal`.
    """
    _check_size(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pymatgen merely mentions, the checks here decide
        try:
            table = _atom_table(CifFile.from_str(text))
            _check_table(table)
            structure, remarks = _expand(text, table)
        except CrystalError:
            raise
        except PARSING_ERRORS as error:
            raise CrystalError(f"not a readable CIF ({' '.join(str(error).split())[:120]})") from error
    remarks += _plain_elements(structure)
    check_crystal(structure)
    structure.properties = {"remarks": remarks}
    return structure


def _check_size(text: str) -> None:
    if len(text) > LARGEST_CIF_BYTES:
        raise CrystalError(f"larger than {LARGEST_CIF_BYTES} bytes; not a unit cell")
    if "\0" in text:
        raise CrystalError("holds NUL characters; not a CIF")
    headers = re.findall(r"(?m)^\s*data_(\S*)", text)
    if len(set(headers)) < len(headers):
        raise CrystalError("holds two data blocks of one name; one crystal is needed")
    for line in text.splitlines():
        if len(line) > LONGEST_LINE or line.count("'") + line.count('"') > MOST_QUOTES:
            raise CrystalError(f"has a line of more than {LONGEST_LINE} characters or {MOST_QUOTES} quotes; not a CIF")


def _atom_table(cif: CifFile) -> dict[str, Any]:
    """The one data block that lists atoms."""
    blocks = [block.data for block in cif.data.values() if COORDINATE_KEYS[0] in block.data]
    if len(blocks) != 1:
        raise CrystalError(f"not a CIF of a crystal: {len(blocks)} of its data blocks list atoms, one should")
    return blocks[0]


def _check_table(table: dict[str, Any]) -> None:
    """Refuse, before symmetry is applied, what is no number, no element, no occupancy, or too much."""
    if any(key.startswith(MAGNETIC_KEYS) for key in table):
        raise CrystalError("a magnetic CIF; give the nuclear structure alone")
    cell = [_number(table.get(key, "nothing"), key) for key in CELL_KEYS]
    if not (min(cell[:3]) > 0 and 0 < min(cell[3:]) <= max(cell[3:]) < 180):
        raise CrystalError(f"a cell of lengths {cell[:3]} Å and angles {cell[3:]} degrees has no volume")
    columns = [table.get(key) for key in COORDINATE_KEYS]
    if not all(isinstance(column, list) and column for column in columns):
        raise CrystalError("lists no atoms with fractional coordinates")
    for key in COORDINATE_KEYS:
        for text in table[key]:
            _number(text, key)
    _check_species(table)
    images = len(table[COORDINATE_KEYS[0]]) * _operation_count(table)
    if len(table[COORDINATE_KEYS[0]]) > LARGEST_CELL_SITES or images > MOST_SYMMETRY_IMAGES:
        raise CrystalError(f"up to {images} atoms in the cell; at most {MOST_SYMMETRY_IMAGES} are unfolded")


def _check_species(table: dict[str, Any]) -> None:
    for text in table.get("_atom_site_type_symbol") or table.get("_atom_site_label") or ["nothing"]:
        symbol = SYMBOL.match(text)
        if not symbol or not Element.is_valid_symbol(symbol.group(1)):
            raise CrystalError(f"atom {text[:20]!r} is no element")
    for text in table.get("_atom_site_occupancy", []):
        if not 0 < _number(text, "_atom_site_occupancy") <= OCCUPANCY_TOLERANCE:
            raise CrystalError(f"occupancy {text} is outside (0, 1]")


def _number(text: Any, key: str) -> float:
    """Value of a CIF number such as `5.43` or `5.43(2)`."""
    if not isinstance(text, str) or not NUMBER.fullmatch(text):
        raise CrystalError(f"{key} is {str(text)[:20]!r}, not a number")
    value = float(text.partition("(")[0])
    if not math.isfinite(value):
        raise CrystalError(f"{key} is {text[:20]!r}, not a finite number")
    return value


def _operation_count(table: dict[str, Any]) -> int:
    """How many symmetry operations the block lists, or may have where it only names its space group."""
    for key in OPERATION_KEYS:
        listed = table.get(key) or table.get(f"{key}_")
        if listed:
            operations = [listed] if isinstance(listed, str) else listed
            strange = next((text for text in operations if not OPERATION.fullmatch(text)), None)
            if strange is not None:
                raise CrystalError(f"symmetry operation {strange[:40]!r} is not of the form x, y, z")
            return len(operations)
    return MOST_OPERATIONS if _names_symmetry(table) else 1


def _names_symmetry(table: dict[str, Any]) -> bool:
    """Whether a space group other than P1 is named."""
    names = [str(value) for key, value in table.items() if re.match(r"_(symmetry_)?space_group_name_", key)]
    numbers = [str(table[key]) for key in ("_space_group_IT_number", "_symmetry_Int_Tables_number") if key in table]
    return any(name.replace(" ", "") not in ("P1", "?", ".", "") for name in names) or any(
        number.strip() not in ("1", "?", ".", "") for number in numbers
    )


def _expand(text: str, table: dict[str, Any]) -> tuple[Structure, list[str]]:
    """Apply the symmetry; give the structure and what was altered in it."""
    remarks: list[str] = []
    try:
        structure, heard = _parse(text, 1 + 1e-6)
    except ValueError as error:
        if "exceeded tolerance" not in str(error):
            raise
        structure, heard = _parse(text, OCCUPANCY_TOLERANCE)
        remarks.append(f"occupancies of a shared site that sum to at most {OCCUPANCY_TOLERANCE} were scaled to 1")
    if _names_symmetry(table) and any("Defaulting to P1" in message for message in heard):
        raise CrystalError("its space group could not be read and no symmetry operations are listed")
    _restore_hydrogen(structure)
    return structure, remarks


def _parse(text: str, occupancy_tolerance: float) -> tuple[Structure, list[str]]:
    """The structure and what pymatgen warned of."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        parser = CifParser.from_str(text, occupancy_tolerance=occupancy_tolerance, check_cif=False)
        structures = parser.parse_structures(primitive=False, check_occu=True, on_error="raise")
    if len(structures) != 1:
        raise CrystalError(f"holds {len(structures)} structures; one is needed")
    return structures[0], [str(warning.message) for warning in heard]


def _restore_hydrogen(structure: Structure) -> None:
    """Put back the H of sites shared by O and H (LaFeAsO1-xHx): pymatgen takes it for a hydroxyl's and drops it."""
    for site in structure:
        hydrogen = site.properties.get("implicit_hydrogens")
        if hydrogen:
            site.species = Composition({**site.species.as_dict(), "H": hydrogen})
    if "implicit_hydrogens" in structure.site_properties:
        structure.remove_site_property("implicit_hydrogens")


def _plain_elements(structure: Structure) -> list[str]:
    """Drop oxidation states (which few CIFs give and no model reads) and read heavy hydrogen as hydrogen."""
    if any(isinstance(species, Species) for species in structure.composition):
        structure.remove_oxidation_states()
    heavy = [species for species in structure.composition if species in (Element("D"), Element("T"))]
    if not heavy:
        return []
    structure.replace_species({species: Element("H") for species in heavy})
    return ["deuterium or tritium was read as hydrogen"]


def check_crystal(structure: Structure) -> None:
    """Refuse what cannot exist or what no model can use.

    Raises:
        CrystalError: no atoms or too many, an occupancy outside (0, 1], a volume per atom outside
            `VOLUME_PER_ATOM_A3`, or atoms closer than `SHORTEST_DISTANCE_A` that cannot be alternatives.
    """
    if not 0 < len(structure) <= LARGEST_CELL_SITES:
        raise CrystalError(f"{len(structure)} sites; between 1 and {LARGEST_CELL_SITES} can be used")
    for number, site in enumerate(structure):
        if not 0 < sum(site.species.values()) <= 1 + 1e-6:
            raise CrystalError(f"site {number} ({site.species_string}) has an occupancy outside (0, 1]")
    if not (np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.frac_coords).all()):
        raise CrystalError("a coordinate or lattice vector is not a finite number")
    _check_volume(structure)
    _check_distances(structure)


def _check_volume(structure: Structure) -> None:
    volume_A3 = structure.volume / sum(sum(site.species.values()) for site in structure)
    smallest, largest = VOLUME_PER_ATOM_A3
    if not smallest <= volume_A3 <= largest:
        raise CrystalError(f"{volume_A3:.3g} Å³ per atom; crystals have {smallest:g} to {largest:g} Å³")
    if min(_plane_spacings_A(structure)) < SHORTEST_DISTANCE_A:
        raise CrystalError(f"lattice planes closer than {SHORTEST_DISTANCE_A} Å")


def _plane_spacings_A(structure: Structure) -> "np.ndarray[Any, Any]":
    """Distances of the (100), (010) and (001) planes: short where a cell is flat, however long its edges are."""
    return 1 / np.linalg.norm(np.linalg.inv(structure.lattice.matrix), axis=0)


def _check_distances(structure: Structure) -> None:
    """Two sites may come closer only if at most one of them is occupied at a time (split positions)."""
    centers, neighbors, _, distances_A = structure.get_neighbor_list(SHORTEST_DISTANCE_A)
    for i, j, distance_A in zip(centers, neighbors, distances_A, strict=True):
        pair = structure[int(i)], structure[int(j)]
        if sum(sum(site.species.values()) for site in pair) > 1 + 1e-6:
            names = " and ".join(site.species_string for site in pair)
            raise CrystalError(f"{names} are {distance_A:.2f} Å apart; atoms need {SHORTEST_DISTANCE_A} Å")

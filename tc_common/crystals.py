"""Crystals are read here and nowhere else: every reader sees the same checked structure, doped sites included."""

import warnings
from pathlib import Path

from pymatgen.core import Structure
from pymatgen.io.cif import CifParser

from tc_common.errors import UserError

LARGEST_CIF_BYTES = 5_000_000
LARGEST_CELL_SITES = 2_000
# Two occupancies that a CIF rounds to 0.333 + 0.667 or 0.34 + 0.67 share one full site.
OCCUPANCY_TOLERANCE = 1.02


class CrystalError(UserError):
    """A crystal that cannot be used, with its file and the reason."""


def read_crystal(path: Path) -> Structure:
    """Read one structure; sites with several elements or vacancies keep their occupancies.

    Raises:
        CrystalError: the file is missing, is no CIF, or fails `check_crystal`.
    """
    try:
        if path.stat().st_size > LARGEST_CIF_BYTES:
            raise CrystalError(f"{path}: larger than {LARGEST_CIF_BYTES} bytes; not a unit cell")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CrystalError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise CrystalError(f"{path}: not a text file in UTF-8") from error
    try:
        return parse_crystal(text)
    except CrystalError as error:
        raise CrystalError(f"{path}: {error}") from error


def parse_crystal(text: str) -> Structure:
    """Parse CIF text into one checked structure.

    Raises:
        CrystalError: no structure in it, or one that fails `check_crystal`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pymatgen merely mentions, `check_crystal` decides
        try:
            structures = CifParser.from_str(text, occupancy_tolerance=OCCUPANCY_TOLERANCE).parse_structures(
                primitive=False, check_occu=True, on_error="raise"
            )
        except (
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            AttributeError,
            ArithmeticError,
            AssertionError,
        ) as error:
            raise CrystalError(f"not a readable CIF ({' '.join(str(error).split())[:120]})") from error
    if len(structures) != 1:
        raise CrystalError(f"holds {len(structures)} structures; one is needed")
    check_crystal(structures[0])
    return structures[0]


def check_crystal(structure: Structure) -> None:
    """Refuse what no model can use.

    Raises:
        CrystalError: no atoms, too many, or an occupancy outside (0, 1].
    """
    if not 0 < len(structure) <= LARGEST_CELL_SITES:
        raise CrystalError(f"{len(structure)} sites; between 1 and {LARGEST_CELL_SITES} can be used")
    for number, site in enumerate(structure):
        if not 0 < sum(site.species.values()) <= 1 + 1e-6:
            raise CrystalError(f"site {number} ({site.species_string}) has an occupancy outside (0, 1]")

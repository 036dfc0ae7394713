"""What a user hands over as a crystal (file, text, Structure, Atoms), and the files that a command line names."""

import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tc_common.errors import UserError
from tc_common.files import printable

if TYPE_CHECKING:
    from pymatgen.core import Structure

SUFFIX = ".cif"
STANDARD_INPUT = Path("-")
ReadCrystal: TypeAlias = Callable[[Any], "Structure"]


# ---- one crystal -------------------------------------------------------------------------------------------------


def crystal_of(x: Any) -> "Structure":
    """The checked crystal of a path, of a file's text, of a `pymatgen.Structure` or of `ase.Atoms`.

    A `str` with a line end is the text of a file, any other a path. Sites come in one order, whatever they were given
    as: by electronegativity.

    Raises:
        UserError: it cannot be read, or is none of these.
    """
    from pymatgen.core import Structure

    from tc_common.crystals import checked_structure, read_crystal

    if isinstance(x, str) and "\n" in x:
        return in_order(_from_text(x))
    if isinstance(x, str | Path):
        return in_order(read_crystal(Path(x)))
    if isinstance(x, Structure):
        return in_order(checked_structure(x))
    if hasattr(x, "get_scaled_positions") and hasattr(x, "get_chemical_symbols"):
        return in_order(checked_structure(_from_atoms(x)))
    raise UserError(
        f"{type(x).__name__} is no crystal; give a path, the text of a CIF, a pymatgen Structure or ase.Atoms"
    )


def in_order(structure: "Structure") -> "Structure":
    """Sites by electronegativity, those of one value in their order: as the reader of CIFs gives them."""
    ordered = structure.get_sorted_structure(key=_electronegativity)
    ordered.properties = structure.properties
    return ordered


def _electronegativity(site: Any) -> float:
    mean = float(site.species.average_electroneg)
    return mean if isfinite(mean) else 0.0


def _from_text(text: str) -> "Structure":
    from tc_common.crystals import checked_structure, parse_crystal
    from tc_common.formats import load

    content = text.encode()
    found = load("", io.BytesIO(content), len(content))
    return parse_crystal(found) if isinstance(found, str) else checked_structure(found)


def _from_atoms(atoms: Any) -> "Structure":
    """Structure of `ase.Atoms`, with the occupancies that ase keeps of a CIF; ase itself is not needed.

    Raises:
        UserError: no cell, or not periodic in all directions.
    """
    import numpy as np
    from pymatgen.core import Lattice, Structure

    cell = np.asarray(atoms.cell, float)
    if abs(np.linalg.det(cell)) < 1e-6:
        raise UserError("ase.Atoms without a unit cell is no crystal; set its cell (atoms.set_cell) and pbc=True")
    if not np.all(atoms.pbc):
        raise UserError(f"ase.Atoms with pbc={list(map(bool, atoms.pbc))} is no crystal; set pbc=True")
    species: list[Any] = atoms.get_chemical_symbols()
    if occupancy := atoms.info.get("occupancy"):
        kinds = atoms.arrays.get("spacegroup_kinds")
        if kinds is None:
            raise UserError("ase.Atoms has occupancies without spacegroup_kinds, which say whose; give the CIF itself")
        pairs = zip(kinds, species, strict=True)
        species = [occupancy.get(str(kind), occupancy.get(kind, symbol)) for kind, symbol in pairs]
    return Structure(Lattice(cell), species, atoms.get_scaled_positions(wrap=False))


@contextmanager
def limited_reading() -> Iterator[ReadCrystal]:
    """A reader of untrusted paths and texts: a worker with a time and a memory limit reads them.

    `with limited_reading() as read: predictor.predict_many(paths, read=read)`; its worker starts at once.
    """
    from tc_common.reading import LimitedReader

    with LimitedReader(_read_path) as read_path, tempfile.TemporaryDirectory() as folder:

        def read(x: Any) -> "Structure":
            if isinstance(x, str) and "\n" in x:
                path = Path(folder) / "text"
                path.write_text(x, encoding="utf-8")
                try:
                    return read_path(path)
                except UserError as error:
                    raise UserError(reason(error, path)) from error
            return read_path(Path(x)) if isinstance(x, str | Path) else crystal_of(x)

        yield read


def _read_path(path: Path) -> "Structure":
    """What the worker runs."""
    return crystal_of(path)


def standard_input() -> str:
    """The text on standard input.

    Raises:
        UserError: it is too large, or no text.
    """
    from tc_common.cif import LARGEST_TEXT

    content = sys.stdin.buffer.read(LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        raise UserError(f"standard input is larger than {LARGEST_TEXT} bytes; not a unit cell")
    try:
        return content.decode() + "\n"
    except UnicodeDecodeError as error:
        raise UserError(f"standard input is no text ({error}); name the file instead") from error


def reason(error: UserError, x: Any) -> str:
    """What is wrong, without the file's name, on one line."""
    text = str(error)
    for name in (f"{x}: ", f"{str(x)!r}: ") if isinstance(x, str | Path) else ():
        text = text.removeprefix(name)
    return printable(" ".join(text.split()))


# ---- files of a command line -------------------------------------------------------------------------------------


def cif_files(arguments: Iterable[Path]) -> Iterator[Path]:
    """Files as they are named, and of each folder all `*.cif` and `*.cif.gz` below it in the order of their names.

    Holds the names of one folder (and its parents) at a time. Links to folders are not followed.
    """
    for argument in arguments:
        if argument.is_dir():
            yield from _below(argument)
        else:
            yield argument


def _below(folder: Path) -> Iterator[Path]:
    """Files of a folder; a folder that cannot be listed is given itself, and reading it names the reason."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing)
    except OSError:
        yield folder
        return
    for name, is_folder in entries:
        if is_folder:
            yield from _below(folder / name)
        elif name.lower().endswith((SUFFIX, f"{SUFFIX}.gz")):
            yield folder / name


def check_arguments(arguments: Iterable[Path]) -> None:
    """Refuse, before anything is computed, arguments from which nothing can be predicted.

    Raises:
        UserError: a name that does not exist, or a folder without CIFs.
    """
    for argument in arguments:
        if argument == STANDARD_INPUT:
            continue
        try:
            argument.stat()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise UserError(f"{printable(argument)}: {why}; name CIF files or folders of them") from error
        if argument.is_dir() and next(_below(argument), None) is None:
            raise UserError(f"{printable(argument)} holds no *{SUFFIX}, in none of its folders")


def check_table(table: Path, arguments: Iterable[Path], flag: str = "--csv") -> None:
    """Refuse a file to write that would take the place of a crystal (`--csv *.cif` names the first CIF as the table).

    Raises:
        UserError: the table ends in `.cif`, or it is one of the files to be read, by whatever link.
    """
    named = f"{flag} {printable(table)}"
    if SUFFIX in (table.suffix.lower(), table.resolve().suffix.lower()):
        raise UserError(f"{named}: a table would take the place of a crystal; give its name: --csv predictions.csv")
    if table.is_file() and any(path.exists() and path.samefile(table) for path in cif_files(arguments)):
        raise UserError(f"{named} is one of the files to read; name another table: --csv predictions.csv")

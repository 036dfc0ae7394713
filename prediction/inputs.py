"""The CIFs that a command line names, one after the other."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from tc_common.errors import UserError
from tc_common.files import printable

SUFFIX = ".cif"


def cif_files(arguments: Iterable[Path]) -> Iterator[Path]:
    """Files as they are named, and of each folder all `*.cif` below it in the order of their names.

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
        elif name.lower().endswith(SUFFIX):
            yield folder / name


def check_arguments(arguments: Iterable[Path]) -> None:
    """Refuse, before anything is computed, arguments from which nothing can be predicted.

    Raises:
        UserError: a name that does not exist, or a folder without CIFs.
    """
    for argument in arguments:
        try:
            argument.stat()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{printable(argument)}: {reason}; name CIF files or folders of them") from error
        if argument.is_dir() and next(_below(argument), None) is None:
            raise UserError(f"{printable(argument)} holds no *{SUFFIX}, in none of its folders")


def check_table(table: Path, arguments: Iterable[Path]) -> None:
    """Refuse a table that would take the place of a crystal (`--csv *.cif` names the first CIF as the table).

    Raises:
        UserError: the table ends in `.cif`, or it is one of the files to be read, by whatever link.
    """
    named = f"--csv {printable(table)}"
    if SUFFIX in (table.suffix.lower(), table.resolve().suffix.lower()):
        raise UserError(f"{named}: a table would take the place of a crystal; give its name: --csv predictions.csv")
    if table.is_file() and any(path.exists() and path.samefile(table) for path in cif_files(arguments)):
        raise UserError(f"{named} is one of the files to read; name another table: --csv predictions.csv")

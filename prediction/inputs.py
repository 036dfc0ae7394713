"""The CIFs that a command line names, one after the other, and their names in print."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from tc_common.errors import UserError

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
    """Files of a folder; a folder that cannot be listed stands for itself, and reading it will say why."""
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


def printable(text: object) -> str:
    """Text without line ends, terminal escapes, invisible or reversing characters: they are written as in Python.

    A file name is a stranger's text; printed raw, `\\x1b[2J` clears the reader's screen.
    """
    return "".join(character if character.isprintable() else _escaped(character) for character in str(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def cell(path: Path) -> str:
    """A file's name for a table: printable, and no formula to a spreadsheet."""
    name = printable(path)
    return f"./{name}" if name.startswith(("=", "+", "-", "@")) else name

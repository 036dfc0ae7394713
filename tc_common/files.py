"""Files that are written whole or not at all."""

import errno
import gzip
import hashlib
import json
import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tc_common.errors import UserError, one_line

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path; on success its content takes the place of `path`, else it is removed.

    Readers see the old file or the new one, never half of one, whenever the process dies. A symbolic link is followed
    and stays; into a device or a pipe (`/dev/stdout`, a FIFO) the content is copied once it is whole.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    try:
        with _copied(path) if _is_stream(path) else _renamed(_target(path)) as temporary:
            yield temporary
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free space or pick another folder"
        ) from error


def _target(path: Path) -> Path:
    """The file that a symbolic link leads to, there already or not; any other path as it is."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    """A path in the folder of `path`; synced and renamed to it at the end."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        with suppress(OSError):  # a folder that cannot be written may refuse this too
            temporary.unlink(missing_ok=True)


@contextmanager
def _copied(path: Path) -> Iterator[Path]:
    """A path in the system's folder for temporary files; its content is copied into `path` at the end."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "content"
        yield temporary
        number = _descriptor(path)
        with path.open("wb") if number is None else os.fdopen(os.dup(number), "wb") as stream:
            stream.write(temporary.read_bytes())


def _descriptor(path: Path) -> int | None:
    """Number behind /dev/stdout and the like; opened by its name, a file of the shell's would be cut to nothing."""
    own = re.fullmatch(r"/dev/(?:fd/(\d+)|stdout|stderr)", os.path.normpath(path))
    return None if own is None else int(own[1] or (1 if path.name == "stdout" else 2))


def _is_stream(path: Path) -> bool:
    """Whether `path` is written through: a device, a pipe, a socket, or one of this process's own descriptors."""
    return _descriptor(path) is not None or (path.exists() and not (path.is_file() or path.is_dir()))


def sync(path: Path) -> None:
    """Force a file's or folder's content to the disk (a rename is durable only once its folder is synced)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused (they are not JSON)."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        UserError: missing, unreadable, no JSON, or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {one_line(error, 200)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a JSON {type(content).__name__}, not an object")
    return content


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table without its index atomically, with line ends that do not depend on the platform.

    A name that ends in `.gz` is compressed, without the time of day: the same table gives the same bytes.
    """
    content = table.to_csv(index=False, lineterminator="\n").encode()
    with atomic_write(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def read_csv(path: Path, columns: tuple[str, ...], made_by: str) -> "pd.DataFrame":
    """Read a table whose ids and texts stay texts.

    Args:
        columns: columns that must be there.
        made_by: the command that makes the file, named in the error.

    Raises:
        UserError: the file is absent, empty, unreadable or lacks a column.
    """
    import pandas as pd  # takes 0.3 s; the processes that read crystals need none

    try:
        texts = dict.fromkeys(TEXT_COLUMNS, str)
        table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=["", "nan"])
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; make it with: {made_by}") from error
    except (OSError, EOFError, zlib.error, ValueError) as error:  # pandas' own errors are ValueErrors
        raise UserError(f"{path} cannot be read ({error}); make it again with: {made_by}") from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{path} has no column {', '.join(missing)}; make it again with: {made_by}")
    return table


# Formulas and ids such as "1e5", "NaN" or "007" must not become numbers.
TEXT_COLUMNS = (
    "material_id", "formula", "cif", "mp_id", "chemical_system", "family", "image_path", "view", "supercell",
)  # fmt: skip


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    return hexdigest(path, hashlib.sha256())


def hexdigest(path: Path, digest: Any) -> str:
    """Hex digest of a file's content by a fresh object of `hashlib`."""
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return str(digest.hexdigest())


def plain(value: Any) -> Any:
    """The same content without numpy and paths; NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value


def printable(text: object) -> str:
    """Text without line ends, terminal escapes, invisible or reversing characters: they are written as in Python.

    A file name or an id may come from anybody; printed raw, `\\x1b[2J` clears the reader's screen.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )


FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four in their wide forms


def table_text(text: object) -> str:
    """Text for a cell of a table that people open: printable, and no formula to a spreadsheet.

    An apostrophe before `=`, `+`, `-` and `@` makes a spreadsheet show it as text (OWASP, CSV injection).
    """
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(FORMULA_STARTS) else shown

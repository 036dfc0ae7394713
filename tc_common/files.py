"""Files that are written whole or not at all."""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tc_common.errors import UserError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is synced and renamed to `path`, else removed.

    Readers see the old file or the new one, never half of one, whenever the process dies.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free space or pick another folder"
        ) from error
    finally:
        with suppress(OSError):  # the folder that could not be written may not let go either
            temporary.unlink(missing_ok=True)


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


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index atomically, with line ends that do not depend on the platform.

    A name that ends in `.gz` is compressed, without the time of day: the same table gives the same bytes.
    """
    content = table.to_csv(index=False, lineterminator="\n").encode()
    with atomic_write(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def read_csv(path: Path, columns: tuple[str, ...], made_by: str) -> pd.DataFrame:
    """Read a table whose ids and texts stay texts.

    Args:
        columns: columns that must be there.
        made_by: the command that makes the file, named in the error.

    Raises:
        UserError: the file is absent, empty, unreadable or lacks a column.
    """
    try:
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys(TEXT_COLUMNS, str),
            keep_default_na=False,
            na_values=["", "nan"],
            **EXACT_FLOATS,
        )
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; make it with: {made_by}") from error
    except (
        OSError,
        EOFError,
        UnicodeDecodeError,
        zlib.error,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
    ) as error:
        raise UserError(f"{path} cannot be read ({error}); make it again with: {made_by}") from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{path} has no column {', '.join(missing)}; make it again with: {made_by}")
    return table


# pandas 3 reads every float to the last bit and deprecates the option, pandas 2 needs it.
EXACT_FLOATS: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__ < "3" else {}
# Formulas and ids such as "1e5", "NaN" or "007" must not become numbers.
TEXT_COLUMNS = (
    "material_id",
    "formula",
    "cif",
    "mp_id",
    "chemical_system",
    "family",
    "image_path",
    "view",
    "supercell",
)


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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

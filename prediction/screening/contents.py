"""Names and contents of the crystals in archives, tables and databases, one after the other.

Untrusted: nothing is unpacked to the disk, no pickle is read, and of one entry at most what the reader of crystals
takes.
"""

import bz2
import csv
import gzip
import json
import sqlite3
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tc_common.cif import LARGEST_TEXT
from tc_common.errors import UserError, one_line
from tc_common.formats import ARCHIVE_ERRORS, kind_of_name

Entry: TypeAlias = tuple[str, bytes, str]
"""Name, content, and why there is none (empty where there is)."""

COLUMNS = ("cif", "structure")
NAMES = ("name", "material_id", "id", "_id")
TOO_LARGE = f"larger than {LARGEST_TEXT} bytes; not a unit cell"
# More atoms than the reader of crystals takes are not decoded.
MOST_ATOMS = 2_000


def is_crystal_name(name: str) -> bool:
    """Whether a file of an archive or a folder is taken: CIF, POSCAR, extended XYZ, JSON, also with `.gz`."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return bool(kind_of_name(last[:-3] if last.lower().endswith(".gz") else last))


# ---- archives ----------------------------------------------------------------------------------------------------


def of_tar(path: Path) -> Iterator[Entry]:
    """Crystals of a tar archive (plain, gzip, bzip2, xz), in its order; links and devices are errors."""
    with tarfile.open(path) as tar:
        for info in tar:
            if info.isdir() or not is_crystal_name(info.name):
                continue
            stream = tar.extractfile(info) if info.isfile() else None
            if stream is None:
                yield info.name, b"", "a link or a device, no plain file"
            else:
                yield _entry(info.name, info.size, stream)


def of_zip(path: Path) -> Iterator[Entry]:
    """Crystals of a zip archive, in its order; one whose checksum is wrong is an error."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir() or not is_crystal_name(info.filename):
                continue
            try:
                with archive.open(info) as stream:
                    entry = _entry(info.filename, info.file_size, stream)
            except ARCHIVE_ERRORS as error:
                entry = info.filename, b"", f"damaged in the archive ({one_line(error, 100)})"
            yield entry


def _entry(name: str, size: int, stream: IO[bytes]) -> Entry:
    """One entry, whatever size it claims."""
    content = b"" if size > LARGEST_TEXT else stream.read(LARGEST_TEXT + 1)
    if size > LARGEST_TEXT or len(content) > LARGEST_TEXT:
        return name, b"", TOO_LARGE
    return (name, *_unpacked(content)) if name.lower().endswith(".gz") else (name, content, "")


def _unpacked(content: bytes) -> tuple[bytes, str]:
    """A gzip member of an archive, up to the size that is read."""
    stream = zlib.decompressobj(wbits=31)
    try:
        found = stream.decompress(content, LARGEST_TEXT + 1)
    except zlib.error:
        return b"", "named .gz, but no gzip data"
    return (b"", TOO_LARGE) if len(found) > LARGEST_TEXT else (found, "")


# ---- tables ------------------------------------------------------------------------------------------------------


def of_csv(path: Path) -> Iterator[Entry]:
    """Rows of a CSV with a header (`.csv`, `.csv.gz`).

    Raises:
        UserError: no column with crystals.
    """
    csv.field_size_limit(min(2 * LARGEST_TEXT, sys.maxsize))
    with _opened(path) as stream:
        rows = csv.DictReader(stream)
        column, name = columns_of(path, list(rows.fieldnames or ()))
        for number, row in enumerate(rows):
            yield _row(row.get(name) if name else None, path, number, row.get(column))


def of_jsonl(path: Path) -> Iterator[Entry]:
    """Lines of a JSONL file (`.jsonl`, `.jsonl.gz`), each an object; a line that is none is an error.

    Raises:
        UserError: the first line has no crystal.
    """
    with _opened(path) as stream:
        column, name = "", ""
        for number, line in enumerate(stream):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                yield f"{path.name}:{number}", b"", "a line that is no JSON object"
                continue
            if not column:
                column, name = columns_of(path, list(row))
            yield _row(row.get(name) if name else None, path, number, row.get(column))


def columns_of(path: Path, columns: list[str]) -> tuple[str, str]:
    """Column of the crystals, and of their names (empty where there is none).

    Raises:
        UserError: there is no column of crystals.
    """
    found = next((name for name in COLUMNS if name in columns), None)
    if found is None:
        shown = ", ".join(map(str, columns[:8]))
        raise UserError(
            f"{path} has no column cif (text) or structure (pymatgen dict), but {shown or 'none'}; rename one"
        )
    return found, next((name for name in NAMES if name in columns), "")


def content_of(value: Any) -> tuple[bytes, str]:
    """Content of a cell: text, bytes, or a pymatgen dict."""
    if value is None or value == "":
        return b"", "an empty cell"
    if isinstance(value, dict):
        value = json.dumps(value)
    content = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    return (b"", TOO_LARGE) if len(content) > LARGEST_TEXT else (content, "")


def name_of(value: Any, path: Path, number: int) -> str:
    """Name of a row: what its table says, or the table and the row."""
    return f"{path.name}:{number}" if value is None or value == "" else str(value)


def _row(name: Any, path: Path, number: int, value: Any) -> Entry:
    return (name_of(name, path, number), *content_of(value))


def _opened(path: Path) -> Any:
    opened = gzip.open if path.suffix == ".gz" else bz2.open if path.suffix == ".bz2" else open
    return opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="")


# ---- databases ---------------------------------------------------------------------------------------------------


def of_sqlite(path: Path) -> Iterator[Entry]:
    """Rows of an ASE database (`.db`), read-only and without what else it stores."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        query = "SELECT id, numbers, positions, cell, pbc FROM systems ORDER BY id"
        for number, numbers, positions_A, cell_A, periodic in database.execute(query):
            atoms = _blob(numbers, "<i4"), _blob(positions_A, "<f8"), _blob(cell_A, "<f8")
            yield _atoms(f"{path.name}:{number}", *atoms, periodic == 7)


def _blob(value: Any, kind: str) -> NDArray:
    size = np.dtype(kind).itemsize
    usable = isinstance(value, bytes) and len(value) % size == 0
    return np.frombuffer(value if usable else b"", kind)


def of_lmdb(path: Path) -> Iterator[Entry]:
    """Rows of an ASE database in LMDB (`.lmdb`, `.aselmdb`): zlib-compressed JSON; pickles are errors."""
    import lmdb

    opened = lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False)
    with closing(opened) as database, database.begin() as transaction:
        for key in sorted(int(key) for key, _ in transaction.cursor() if bytes(key).isdigit()):
            yield _lmdb_entry(f"{path.name}:{key}", bytes(transaction.get(str(key).encode()) or b""))


def _lmdb_entry(name: str, value: bytes) -> Entry:
    content, reason = b"", ""
    try:
        content = zlib.decompressobj().decompress(value, LARGEST_TEXT)
        row = json.loads(content)
        numbers, positions_A, cell_A = (_array(row[key]) for key in ("numbers", "positions", "cell"))
        return _atoms(name, numbers, positions_A, cell_A, bool(np.all(_array(row["pbc"]))))
    except (zlib.error, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"no row of an ASE database ({one_line(error, 80)}); pickles are not read"
    return name, b"", reason


def _array(value: Any) -> NDArray:
    """An array as ASE writes it into JSON: a list, or its shape, type and values."""
    while isinstance(value, dict):
        value = value["__ndarray__"][2] if "__ndarray__" in value else value["array"]
    return np.asarray(value, float)


def _atoms(name: str, numbers: NDArray, positions_A: NDArray, cell_A: NDArray, periodic: bool) -> Entry:
    """A row as pymatgen's JSON, whose reader checks it."""
    from pymatgen.core import Element

    if not 0 < numbers.size <= MOST_ATOMS:
        return name, b"", f"{numbers.size} atoms; between 1 and {MOST_ATOMS} are read"
    if positions_A.size != 3 * numbers.size or cell_A.size != 9 or not periodic:
        return name, b"", "no crystal: not periodic in all directions, or its arrays do not fit each other"
    cell_A = cell_A.reshape(3, 3)
    if not np.isfinite(cell_A).all() or abs(np.linalg.det(cell_A)) < 1e-6:
        return name, b"", "no crystal: its cell has no volume"
    if not ((numbers >= 1) & (numbers <= 118)).all():
        return name, b"", "an atomic number that is no element's"
    abc = np.linalg.solve(cell_A.T, positions_A.reshape(-1, 3).T).T
    symbols = [Element.from_Z(int(number)).symbol for number in numbers]
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "abc": row}
        for symbol, row in zip(symbols, abc.tolist(), strict=True)
    ]
    return name, json.dumps({"lattice": {"matrix": cell_A.tolist()}, "sites": sites}).encode(), ""

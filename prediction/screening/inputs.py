"""The inputs of a screening as one numbered sequence of crystals, of which any part is read without the rest.

A Parquet file is read where it is. Everything else is listed once, in order, in an index of the output folder
(`inputs/000.parquet`): the names of a folder's files; name and content of what archives, tables and databases hold.
"""

import hashlib
import os
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prediction.screening.contents import (
    Entry,
    columns_of,
    content_of,
    is_crystal_name,
    name_of,
    of_csv,
    of_jsonl,
    of_lmdb,
    of_sqlite,
    of_tar,
    of_zip,
)
from prediction.screening.items import Item
from tc_common.errors import UserError, one_line
from tc_common.files import atomic_write, printable, write_text
from tc_common.formats import ARCHIVE_ERRORS

ROWS_AT_ONCE = 2_048
# A row group is read from its beginning: a Parquet file of larger ones is copied.
LARGEST_ROW_GROUP = 16_384
INDEX = pa.schema([("name", pa.string()), ("content", pa.binary()), ("error", pa.string())])
ENDS_OF_A_FILE_BYTES = 1 << 20
READERS: dict[str, Callable[[Path], Iterator[Entry]]] = {
    ".csv": of_csv, ".csv.gz": of_csv, ".jsonl": of_jsonl, ".jsonl.gz": of_jsonl, ".db": of_sqlite,
    ".lmdb": of_lmdb, ".aselmdb": of_lmdb,
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Crystals of one input, in a Parquet file."""

    table: Path
    """An index of ours, or the user's own file."""
    crystals: int
    folder: Path | None = None
    """Folder of the files that the index names."""
    columns: tuple[str, str] = ("content", "name")
    """Column of the contents, and of the names (empty: there are none)."""

    def items(self, start: int, stop: int) -> Iterator[Item]:
        """Crystals of a range of rows."""
        for number, row in enumerate(_rows(self.table, start, stop, self.columns), start):
            yield self._item(number, row)

    def _item(self, number: int, row: dict[str, Any]) -> Item:
        content, name = self.columns
        if self.folder is not None:
            return Item(printable(row[name]), self.folder / row[name])
        shown = printable(name_of(row.get(name), self.table, number))
        if row.get("error"):
            return Item(shown, b"", row["error"])
        return Item(shown, *content_of(row[content]))


def _rows(table: Path, start: int, stop: int, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of a range, read from the row groups that hold them."""
    with pq.ParquetFile(table) as file:
        wanted = [name for name in (*columns, "error") if name in file.schema_arrow.names]
        first = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            low, high = max(start, first), min(stop, first + rows)
            if low < high:
                part = file.read_row_group(group, columns=wanted).slice(low - first, high - low)
                yield from part.to_pylist()
            first += rows


# ---- from what a user names to sources ---------------------------------------------------------------------------


def open_inputs(paths: Sequence[Path], indices: Path) -> tuple[list[Source], str]:
    """Sources of all inputs in their order, and a fingerprint of what they are.

    Args:
        indices: folder for the indices; one that is there is used again while its input's fingerprint is the same.

    Raises:
        UserError: an input is missing, unreadable, of no known kind, or holds no crystal.
    """
    files = [path for path in paths if is_single(path)]
    others = [path for path in paths if path not in files]
    for path in others:
        check(path)
    sources, digests = [], []
    for number, path in enumerate(others):
        digests.append(fingerprint(path))
        sources.append(_source(path, indices / f"{number:03d}.parquet", digests[-1]))
    if files:
        digests.append(_digest(f"{path}\t{path.stat().st_size}" for path in files))
        sources.append(_listed(Path(), iter(map(str, files)), indices / "files.parquet", digests[-1]))
    if not sum(source.crystals for source in sources):
        raise UserError(f"{', '.join(map(printable, paths))[:200]}: no crystal in it (*.cif, POSCAR, *.xyz, *.json)")
    return sources, _digest(digests)


def is_single(path: Path) -> bool:
    """Whether a path is a file of one crystal by its name."""
    return path.is_file() and is_crystal_name(path.name)


def check(path: Path) -> None:
    """Refuse, before anything is computed, what cannot be read.

    Raises:
        UserError: missing, no Parquet although named so, or of no known kind.
    """
    if path.is_dir():
        return
    try:
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise UserError(
            f"{printable(path)}: {getattr(error, 'strerror', None) or error}; name what is to be screened"
        ) from error
    if path.suffix == ".parquet":
        _parquet(path)
    elif kind_of(path) is None:
        raise UserError(
            f"{printable(path)}: neither a folder nor a CIF, tar, zip, Parquet, JSONL, CSV, ASE database (.db, .lmdb)"
        )


def kind_of(path: Path) -> Callable[[Path], Iterator[Entry]] | None:
    """Reader of an archive, a table or a database by its name, and of archives by their content."""
    named = next((read for suffix, read in READERS.items() if path.name.lower().endswith(suffix)), None)
    if named is not None:
        return named
    if path.is_file() and zipfile.is_zipfile(path):
        return of_zip
    return of_tar if path.is_file() and tarfile.is_tarfile(path) else None


def _parquet(path: Path) -> tuple[pq.FileMetaData, tuple[str, str]]:
    """Metadata of a Parquet file and its columns of contents and names."""
    try:
        with pq.ParquetFile(path) as file:
            return file.metadata, columns_of(path, file.schema_arrow.names)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{printable(path)} is no readable Parquet file ({one_line(error, 100)}); fetch it again"
        ) from error


def _source(path: Path, index: Path, digest: str) -> Source:
    """One input as a source; what cannot be read where it is, is copied into `index`."""
    if path.is_dir() and path.suffix not in READERS:
        return _listed(path, _names_below(path), index, digest)
    if path.suffix == ".parquet":
        metadata, columns = _parquet(path)
        groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        if max(groups, default=0) <= LARGEST_ROW_GROUP:
            return Source(path, metadata.num_rows, columns=columns)
        return _copied(_of_parquet(path, columns), path, index, digest)
    read = kind_of(path)
    assert read is not None, "checked before"
    return _copied(read(path), path, index, digest)


def _of_parquet(path: Path, columns: tuple[str, str]) -> Iterator[Entry]:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=[name for name in columns if name]):
            for row in batch.to_pylist():
                yield (name_of(row.get(columns[1]), path, number), *content_of(row[columns[0]]))
                number += 1


def _copied(entries: Iterator[Entry], path: Path, index: Path, digest: str) -> Source:
    try:
        return Source(index, write_index(entries, index, digest))
    except (*ARCHIVE_ERRORS, sqlite3.Error, pa.ArrowException) as error:
        raise UserError(f"{printable(path)} is cut off or damaged ({one_line(error, 100)}); fetch it again") from error


def _listed(folder: Path, names: Iterator[str], index: Path, digest: str) -> Source:
    entries = ((name, b"", "") for name in names)
    return Source(index, write_index(entries, index, digest), folder=folder.absolute())


def _names_below(folder: Path) -> Iterator[str]:
    """Names, relative to the folder, of all crystals below it in their order; links to folders are not followed."""
    for path in _files_below(folder):
        yield str(path.relative_to(folder))


def _files_below(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing)
    except OSError as error:
        raise UserError(
            f"{printable(folder)}: {error.strerror}; give the right to list it, or leave it out"
        ) from error
    for name, is_folder in entries:
        if is_folder:
            yield from _files_below(folder / name)
        elif is_crystal_name(name):
            yield folder / name


def write_index(entries: Iterator[Entry], index: Path, digest: str) -> int:
    """Write an index, unless that of the same input is there; the number of its rows."""
    stamp = index.with_suffix(".sha256")
    if index.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == digest:
        return int(pq.read_metadata(index).num_rows)
    with atomic_write(index) as temporary, pq.ParquetWriter(temporary, INDEX, compression="zstd") as writer:
        count = 0
        while rows := list(islice(entries, ROWS_AT_ONCE)):
            columns = [list(column) for column in zip(*rows, strict=True)]
            columns[0] = [name.encode("utf-8", "backslashreplace").decode() for name in columns[0]]
            writer.write_table(pa.table(dict(zip(INDEX.names, columns, strict=True)), INDEX))
            count += len(rows)
    write_text(stamp, digest)
    return count


# ---- fingerprints ------------------------------------------------------------------------------------------------


def fingerprint(path: Path) -> str:
    """Digest of what an input is: names and sizes below a folder; size, beginning and end of a file."""
    if path.is_dir():
        files = _files_below(path) if path.suffix not in READERS else iter(sorted(path.iterdir()))
        return _digest(f"{file.relative_to(path)}\t{file.lstat().st_size}" for file in files)
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(ENDS_OF_A_FILE_BYTES)
        stream.seek(max(0, size - ENDS_OF_A_FILE_BYTES))
        tail = stream.read(ENDS_OF_A_FILE_BYTES)
    return _digest(chain([path.name, str(size)], (hashlib.sha256(part).hexdigest() for part in (head, tail))))


def _digest(parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()

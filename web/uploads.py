"""Crystals as they are sent: a file, a pasted text, several files, a zip. They stay in memory; nothing is stored."""

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from tc_common.errors import UserError
from tc_common.files import printable
from tc_common.formats import ARCHIVE_ERRORS, kind_of_name

LARGEST_CRYSTAL = 500_000
"""Bytes of one crystal's file; 3DSC's largest has 45 kB."""
LARGEST_BATCH = 20_000_000
"""Bytes of a batch, packed and unpacked."""
MOST_CRYSTALS = 200
"""Crystals of a batch."""
LONGEST_NAME = 120
MOST_ENTRIES = 2_000
"""Of a zip, folders and other files included; each takes memory before it is looked at."""
ENTRY = b"PK\x01\x02"
ZIP = b"PK\x03\x04"
UNPACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # LZMA may ask for gigabytes


class TooLargeError(UserError):
    """More bytes or crystals than are taken."""


@dataclass(frozen=True)
class Upload:
    """One crystal's file."""

    name: str
    """Printable, at most `LONGEST_NAME` characters; shown, and says of what kind the file is."""
    content: bytes

    def __str__(self) -> str:
        return self.name


def upload(name: str | None, content: bytes) -> Upload:
    """One crystal.

    Raises:
        TooLargeError: it has more than `LARGEST_CRYSTAL` bytes.
    """
    shown = printable(PurePosixPath((name or "").replace("\\", "/")).name or "crystal")[-LONGEST_NAME:]
    if len(content) > LARGEST_CRYSTAL:
        raise TooLargeError(f"{shown}: larger than {LARGEST_CRYSTAL // 1000} kB; give one unit cell")
    return Upload(shown, content)


def batch(files: Iterable[tuple[str | None, bytes]]) -> list[Upload | tuple[str, str]]:
    """The crystals of several files, of which some may be zips, in their order.

    Returns:
        An upload for each, or the name and the reason of one that is too large.

    Raises:
        UserError: no crystals, a damaged zip, or (`TooLargeError`) too many.
    """
    found: list[Upload | tuple[str, str]] = []
    size = 0
    for name, content in _unpacked(files):
        size += len(content)
        if size > LARGEST_BATCH:
            raise TooLargeError(f"more than {LARGEST_BATCH // 1_000_000} MB of crystals; send them in several batches")
        if len(found) == MOST_CRYSTALS:
            raise TooLargeError(f"more than {MOST_CRYSTALS} crystals; send them in several batches")
        try:
            found.append(upload(name, content))
        except TooLargeError as error:
            shown, _, reason = str(error).partition(": ")
            found.append((shown, reason))
    if not found:
        raise UserError("no crystals in it; send CIF, POSCAR, extended XYZ or JSON files, or a zip of them")
    return found


def _unpacked(files: Iterable[tuple[str | None, bytes]]) -> Iterable[tuple[str | None, bytes]]:
    for name, content in files:
        if content.startswith(ZIP):
            yield from _entries(printable(name or "zip")[-LONGEST_NAME:], content)
        else:
            yield name, content


def _entries(name: str, content: bytes) -> Iterable[tuple[str, bytes]]:
    """Crystals of a zip, each unpacked no further than to one byte more than is taken."""
    if content.count(ENTRY) > MOST_ENTRIES:
        raise TooLargeError(f"{name}: more than {MOST_ENTRIES} entries; send a smaller zip")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                if _is_crystal(entry):
                    with archive.open(entry) as stream:
                        yield entry.filename, stream.read(LARGEST_CRYSTAL + 1)
    except UserError:
        raise
    except (*ARCHIVE_ERRORS, ValueError) as error:
        raise UserError(f"{name}: a zip that cannot be unpacked (damaged, encrypted or of a rare kind)") from error


def _is_crystal(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry's name says that it is a crystal; what macOS adds (`__MACOSX/._x.cif`) is none."""
    path = PurePosixPath(entry.filename)
    if entry.is_dir() or path.name.startswith(".") or "__MACOSX" in path.parts:
        return False
    if entry.compress_type not in UNPACKED:
        raise NotImplementedError("packed in a rare way")
    return bool(kind_of_name(path.name.lower().removesuffix(".gz")))

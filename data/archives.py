"""Unpack untrusted archives: plain files only, below one folder only, up to a stated size only."""

import hashlib
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from tc_common.errors import UserError

TABLE = "3DSC_MP.csv"
# The real release: 10,904 CIFs of 15 MB together and a table of 1 MB (rebuilt) to tens of MB (upstream's columns);
# GitHub's archive of the whole repository holds some 16,000 members.
LARGEST_UNPACKED_BYTES = 1_000_000_000
LARGEST_SCANNED_BYTES = 5_000_000_000
MOST_MEMBERS = 200_000
BLOCK_BYTES = 1 << 20
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


class Member(NamedTuple):
    """One plain file of an archive."""

    name: str
    stream: IO[bytes]


def unpack(archive: Path, target: Path) -> int:
    """Write `3DSC_MP.csv` and the `cifs/*.cif` of its folder into the new folder `target`; give their number.

    The folders above them in the archive are cut off. `target` appears whole or not at all.

    Raises:
        UserError: see `find_table`; or more bytes than `LARGEST_UNPACKED_BYTES`.
    """
    prefix = find_table(archive)
    try:
        with whole_folder(target) as folder:
            return _write_members(archive, prefix, folder)
    except DAMAGED as error:
        raise UserError(f"{archive} cannot be unpacked to {target} ({error})") from error


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder with an empty `cifs/`, which becomes `target` once everything is in it."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "cifs").mkdir(parents=True)
        yield partial
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def find_table(archive: Path) -> PurePosixPath:
    """Read an archive from end to end and give the folder in it that holds `3DSC_MP.csv` and `cifs/`.

    Raises:
        UserError: no archive, cut off, hostile (absolute path, `..`, link, device, more members or bytes than the
            limits), or without that table, or with two.
    """
    try:
        names = [PurePosixPath(member.name) for member in members(archive)]
    except DAMAGED as error:
        raise UserError(f"{archive} is cut off, damaged or no archive ({error}); fetch it again") from error
    found = [name.parent for name in names if name.name == TABLE]
    if len(found) != 1 or not any(name.parent == found[0] / "cifs" for name in names):
        raise UserError(f"{archive} holds {len(found)} files {TABLE} with a folder cifs/; one is needed")
    return found[0]


def _write_members(archive: Path, prefix: PurePosixPath, folder: Path) -> int:
    count, room = 0, LARGEST_UNPACKED_BYTES
    for member in members(archive):
        path = PurePosixPath(member.name)
        if path == prefix / TABLE or (path.parent == prefix / "cifs" and path.suffix == ".cif"):
            room -= _write(member, folder / path.relative_to(prefix), room, archive)
            count += 1
    return count


def _write(member: Member, path: Path, room: int, archive: Path) -> int:
    """Copy one member in blocks, stopping where it would pass the limit, whatever size it claims."""
    written = 0
    with path.open("xb") as target:
        while block := member.stream.read(BLOCK_BYTES):
            written += len(block)
            if written > room:
                raise UserError(f"{archive} unpacks to more than {LARGEST_UNPACKED_BYTES} bytes; not unpacked")
            target.write(block)
    return written


def members(archive: Path) -> Iterator[Member]:
    """The plain files of a tar (plain, gzip, bzip2, xz) or zip archive, in its order.

    Raises:
        UserError: a member of a kind that no release has.
    """
    yield from _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive)


def _tar_members(archive: Path) -> Iterator[Member]:
    scanned = 0
    with tarfile.open(archive) as tar:
        for number, info in enumerate(tar):
            scanned += info.size
            _refuse(archive, info.name, number, scanned, plain=info.isfile() or info.isdir())
            stream = tar.extractfile(info) if info.isfile() else None
            if stream is not None:
                yield Member(info.name, stream)
        # Read on to the end of the file: only there a compressed one tells that it is whole (checksum).
        while block := tar.fileobj.read(BLOCK_BYTES):
            scanned += len(block)
            _refuse(archive, "", 0, scanned, plain=True)


def _zip_members(archive: Path) -> Iterator[Member]:
    scanned = 0
    with zipfile.ZipFile(archive) as zipped:
        for number, info in enumerate(zipped.infolist()):
            scanned += info.file_size
            kind = (info.external_attr >> 16) & 0o170000
            _refuse(archive, info.filename, number, scanned, plain=kind in (0, 0o100000, 0o040000))
            if not info.is_dir():
                with zipped.open(info) as stream:
                    yield Member(info.filename, stream)


def _refuse(archive: Path, name: str, number: int, scanned: int, plain: bool) -> None:
    """Stop at the first member that reaches out of the folder or past the limits."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or ":" in "".join(parts[:1]) or "\0" in name:
        raise UserError(f"{archive}: member {name[:80]!r} leads out of the folder; not unpacked")
    if not plain:
        raise UserError(f"{archive}: member {name[:80]!r} is a link or a device; not unpacked")
    if scanned > LARGEST_SCANNED_BYTES or number >= MOST_MEMBERS:
        raise UserError(f"{archive} holds more than {MOST_MEMBERS} members or {LARGEST_SCANNED_BYTES} bytes")


def cifs_sha256(archive: Path) -> str:
    """Fingerprint of an archive's CIFs, whatever packs them.

    The same as `cd cifs && LC_ALL=C sha256sum *.cif | sha256sum`.
    """
    folder = find_table(archive) / "cifs"
    lines = {
        PurePosixPath(member.name).name: hashlib.sha256(member.stream.read()).hexdigest()
        for member in members(archive)
        if PurePosixPath(member.name).parent == folder
    }
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(lines.items()))
    return hashlib.sha256(text.encode()).hexdigest()

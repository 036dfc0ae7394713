"""Unpacking archives from strangers: only plain files, only below one folder, only up to a stated size."""

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from tc_common.errors import UserError

# The real release: 10,904 CIFs of 44 MB together and a table of 1 MB (rebuilt) to tens of MB (upstream's columns);
# GitHub's archive of the whole repository holds about 16,000 members.
LARGEST_UNPACKED_BYTES = 1_000_000_000
LARGEST_SCANNED_BYTES = 5_000_000_000
LARGEST_MEMBERS = 200_000
BLOCK_BYTES = 1 << 20


class Member(NamedTuple):
    """One plain file of an archive."""

    name: str
    size: int
    stream: IO[bytes]


def unpack(archive: Path, target: Path) -> list[str]:
    """Write `3DSC_MP.csv` and `cifs/*.cif` of an archive into the new folder `target`; give the names written.

    Whatever folders lie above those names in the archive are cut off. `target` appears whole or not at all.

    Raises:
        UserError: no archive, cut off, hostile (absolute path, `..`, link, device, more bytes or members than the
            limits), or without the expected files.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        names = _write_members(archive, partial)
        if "3DSC_MP.csv" not in names or len(names) < 2:
            raise UserError(f"{archive} holds no 3DSC_MP.csv with cifs/*.cif beside it")
        partial.rename(target)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{archive} cannot be unpacked ({error}); fetch it again") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return names


def _write_members(archive: Path, folder: Path) -> list[str]:
    (folder / "cifs").mkdir(parents=True)
    names: list[str] = []
    room = LARGEST_UNPACKED_BYTES
    for member in members(archive):
        name = wanted(member.name)
        if name is None:
            continue
        if name in names[-1:] or (folder / name).exists():
            raise UserError(f"{archive}: {name} stands twice in it; not unpacked")
        room -= _write(member, folder / name, room, archive)
        names.append(name)
    return names


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


def wanted(name: str) -> str | None:
    """Where a member goes below the target folder; None for members that are not ours."""
    parts = PurePosixPath(name).parts
    if parts[-1:] == ("3DSC_MP.csv",):
        return "3DSC_MP.csv"
    if parts[-2:-1] == ("cifs",) and name.endswith(".cif"):
        return f"cifs/{parts[-1]}"
    return None


def members(archive: Path) -> Iterator[Member]:
    """The plain files of a tar (plain, gzip, bzip2, xz) or zip archive, in its order, read once.

    Raises:
        UserError: it is neither, or holds a member that no honest release has.
    """
    if zipfile.is_zipfile(archive):
        yield from _zip_members(archive)
    elif archive.is_file():
        yield from _tar_members(archive)
    else:
        raise UserError(f"{archive} is no file")


def _tar_members(archive: Path) -> Iterator[Member]:
    scanned = 0
    with tarfile.open(archive, mode="r|*") as tar:
        for number, info in enumerate(tar):
            scanned += info.size
            _refuse(archive, info.name, number, scanned, plain=info.isfile() or info.isdir())
            stream = tar.extractfile(info) if info.isfile() else None
            if stream is not None:
                yield Member(info.name, info.size, stream)


def _zip_members(archive: Path) -> Iterator[Member]:
    scanned = 0
    with zipfile.ZipFile(archive) as zipped:
        for number, info in enumerate(zipped.infolist()):
            scanned += info.file_size
            link = (info.external_attr >> 16) & 0o170000 not in (0, 0o100000, 0o040000)
            _refuse(archive, info.filename, number, scanned, plain=not link)
            if not info.is_dir():
                with zipped.open(info) as stream:
                    yield Member(info.filename, info.file_size, stream)


def _refuse(archive: Path, name: str, number: int, scanned: int, plain: bool) -> None:
    """Stop at the first member that reaches out of the folder or past the limits."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or (parts and parts[0].endswith(":")) or "\0" in name:
        raise UserError(f"{archive}: member {name[:80]!r} leads out of the folder; not unpacked")
    if not plain:
        raise UserError(f"{archive}: member {name[:80]!r} is a link or a device; not unpacked")
    if scanned > LARGEST_SCANNED_BYTES or number >= LARGEST_MEMBERS:
        raise UserError(f"{archive} holds more than {LARGEST_MEMBERS} members or {LARGEST_SCANNED_BYTES} bytes")

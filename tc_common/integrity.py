"""Damage of torch's files: our checkpoints carry their sha256 as the comment of their zip archive, others its CRCs.

A CRC covers a tensor's bytes but not the archive's headers, which are a large part of a small file.
"""

import hashlib
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

from tc_common.errors import UserError, one_line

DIGEST_LENGTH = 64  # hex digits
END_RECORD_LENGTH = 22  # of a zip without comment; its last two bytes are the comment's length
NO_COMMENT, COMMENT = struct.pack("<H", 0), struct.pack("<H", DIGEST_LENGTH)
ZIP_START, ZIP_END = b"PK\x03\x04", b"PK\x05\x06"
BLOCK = 1 << 20


def seal(path: Path, digest: str) -> None:
    """Write the sha256 of a zip archive (64 hex digits) into it, as its comment."""
    with path.open("r+b") as stream:
        stream.seek(-len(NO_COMMENT), 2)
        stream.write(COMMENT + digest.encode())


def stated_digest(stream: IO[bytes]) -> bytes | None:
    """The last 64 bytes of an archive that was sealed, None where none was."""
    size = stream.seek(0, 2)
    if size < END_RECORD_LENGTH + DIGEST_LENGTH:
        return None
    stream.seek(size - END_RECORD_LENGTH - DIGEST_LENGTH)
    end = stream.read()
    return end[-DIGEST_LENGTH:] if end.startswith(ZIP_END) else None


def sealed_digest(stream: IO[bytes]) -> str:
    """The sha256 that a sealed archive had before it was sealed; of no use if the comment's length is another."""
    size, digest = stream.seek(0, 2) - DIGEST_LENGTH - len(COMMENT), hashlib.sha256()
    stream.seek(0)
    while size > 0 and (block := stream.read(min(size, BLOCK))):
        digest.update(block)
        size -= len(block)
    digest.update(NO_COMMENT if stream.read(len(COMMENT)) == COMMENT else b"another length")
    return digest.hexdigest()


def is_intact(stream: IO[bytes], digest: str) -> bool:
    """Whether a file was sealed with `digest` and still has the bytes that it was sealed with."""
    return stated_digest(stream) == digest.encode() and sealed_digest(stream) == digest


def require_undamaged(stream: IO[bytes], path: Path) -> None:
    """Check a file by the digest that it states, or by the CRCs of its archive; a file without either passes.

    Raises:
        UserError: its bytes are not those that were written (`path` names it).
    """
    stated = stated_digest(stream)
    if stated is not None and sealed_digest(stream).encode() != stated:
        raise UserError(f"{path} is damaged: its bytes are not those that were saved (sha256); use another copy")
    stream.seek(0)
    if stated is None and stream.read(len(ZIP_START)) == ZIP_START:
        _require_matching_crcs(stream, path)
    stream.seek(0)


def _require_matching_crcs(stream: IO[bytes], path: Path) -> None:
    size = stream.seek(0, 2)
    try:
        with zipfile.ZipFile(stream) as archive:
            # torch compresses nothing; reading what would grow could take for ever
            grows = sum(info.file_size for info in archive.infolist()) > size
            damaged = None if grows else archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, RuntimeError, ValueError, zlib.error) as error:
        raise UserError(f"{path} is damaged: it is no whole archive ({one_line(error, 200)})") from error
    if grows:
        raise UserError(f"{path} is refused: its archive grows when it is read, which none of torch's does")
    if damaged is not None:
        raise UserError(f"{path} is damaged: the CRC of {damaged[:100]!r} in it does not match; use another copy")

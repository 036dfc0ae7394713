"""PNG files, whole or not at all.

Compressed by ISA-L, several times faster than zlib or cv2; and RGB stays RGB (cv2 would take BGR).
"""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from tc_common.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TRUE_COLOR = 2


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """PNG of (H, W, 3) RGB, without row filters and lightly compressed: smallest and fastest for flat colours.

    Format: PNG specification, third edition (W3C 2025).
    """
    height, width, _ = image.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = image.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, TRUE_COLOR, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", isal_zlib.compress(rows, 1)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) RGB; renamed into place, not synced one by one (that would take longer than the drawing).

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{os.getpid()}.tmp")
    try:
        temporary.write_bytes(encode_png(image))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> UserError:
    """The one line for a full disk or a read-only folder."""
    return UserError(f"cannot write {path}: {error.strerror or error}; free space or pick another --out")

"""Render a data set: one function per material, run by worker processes, resumable at any moment.

data/images/<split>/<material_id>_<view>.png are renamed into place whole; data/images/render_journal.jsonl gets one
line per finished material. A killed run leaves whole images and its journal, and the next run goes on from there.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dinov3_pipeline.render.options import JOURNAL, RenderOptions, image_name, view_names
from dinov3_pipeline.render.rendering import draw_views, prepare
from tc_common.crystals import CrystalError, read_crystal
from tc_common.errors import UserError

# Bounds a worker's memory when thousands of random views are asked for.
VIEWS_AT_ONCE = 18


@dataclass(frozen=True, kw_only=True)
class MaterialRow:
    """One material to render, and the folder for its images."""

    material_id: str
    split: str
    cif: Path
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Status of one material."""

    material_id: str
    split: str
    key: str
    """Digest of all that decides the pixels."""
    files: tuple[tuple[int, int], ...] = ()
    """Size in bytes and CRC-32 of each image, in the order of the views."""
    skipped: str = ""
    """Reason why there are no images; empty where there are."""
    bond_failures: tuple[str, ...] = ()
    """Sites drawn without the bonds they should have found, with the reason."""


def material_rows(splits: dict[str, pd.DataFrame], images_dir: Path) -> list[MaterialRow]:
    """The materials of all splits, in order."""
    return [
        MaterialRow(material_id=row.material_id, split=name, cif=Path(row.cif), folder=images_dir / name)
        for name, table in splits.items()
        for row in table.itertuples()
    ]


def render_material(row: MaterialRow, options: RenderOptions) -> Rendered:
    """Render and write all views of one material, each file whole or not at all; an unusable crystal is reported.

    Raises:
        UserError: the folder cannot be written.
    """
    result = Rendered(material_id=row.material_id, split=row.split, key=material_key(row, options))
    try:
        geometry = prepare(read_crystal(row.cif), options)
    except CrystalError as error:
        return replace(result, skipped=str(error))
    names, files = view_names(options), []
    for batch in (names[begin : begin + VIEWS_AT_ONCE] for begin in range(0, len(names), VIEWS_AT_ONCE)):
        for name, image in zip(batch, draw_views(geometry, batch, options), strict=True):
            content = encode_png(image)
            write_image(row.folder / image_name(row.material_id, name), content)
            files.append((len(content), zlib.crc32(content)))
    return replace(result, files=tuple(files), bond_failures=geometry.bond_failures)


def material_key(row: MaterialRow, options: RenderOptions) -> str:
    """Digest of all that decides a material's pixels: options and CIF."""
    try:
        cif = row.cif.read_bytes()
    except OSError:
        cif = b""  # `render_material` says what is wrong with it
    return hashlib.sha256(f"{options.fingerprint()}\n".encode() + cif).hexdigest()[:16]


def run_local(rows: Sequence[MaterialRow], options: RenderOptions, workers: int) -> Iterator[Rendered]:
    """Render `rows` with `workers` processes (1: in this one); results come in any order.

    Raises:
        UserError: a folder cannot be written, or a worker died.
    """
    if workers == 1:
        yield from (render_material(row, options) for row in rows)
        return
    # Forked workers need no second import of pymatgen; elsewhere fork is unsafe or absent.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (os.getpid(),)) as pool:
        try:
            for done in as_completed([pool.submit(render_material, row, options) for row in rows]):
                yield done.result()
        except BrokenProcessPool as error:
            raise UserError("a worker died (out of memory?); run again with fewer --workers to go on") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker(parent: int) -> None:
    """Worker initialiser: ignore SIGINT; exit when the parent dies."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


def read_journal(images_dir: Path) -> dict[tuple[str, str], Rendered]:
    """Finished materials by (split, id); the torn last line of a killed run counts for nothing."""
    path = images_dir / JOURNAL
    finished = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            content = json.loads(line)
            files = tuple((size, crc) for size, crc in content["files"])
            rendered = Rendered(**content | {"files": files, "bond_failures": tuple(content["bond_failures"])})
        except (KeyError, TypeError, ValueError):  # JSON's own error is a ValueError
            continue
        finished[rendered.split, rendered.material_id] = rendered
    return finished


def append_journal(images_dir: Path, result: Rendered) -> None:
    """Note one finished material on a line of its own, whatever a killed run left before it.

    Raises:
        UserError: the journal cannot be written.
    """
    path = images_dir / JOURNAL
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(f"\n{json.dumps(asdict(result), sort_keys=True)}")
    except OSError as error:
        raise cannot_write(path, error) from error


def is_finished(row: MaterialRow, options: RenderOptions, before: Rendered | None) -> bool:
    """Whether all images of `row` exist, rendered with these options from this CIF, and undamaged (size and CRC)."""
    names = view_names(options)
    if before is None or before.key != material_key(row, options) or len(before.files) != len(names):
        return False
    paths = (row.folder / image_name(row.material_id, name) for name in names)
    return all(_is_whole(path, *recorded) for path, recorded in zip(paths, before.files, strict=True))


def _is_whole(path: Path, size: int, crc: int) -> bool:
    try:
        return path.stat().st_size == size and zlib.crc32(path.read_bytes()) == crc
    except OSError:
        return False


SIGNATURE = b"\x89PNG\r\n\x1a\n"
TRUE_COLOR = 2


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """PNG of (H, W, 3) RGB, without row filters and lightly compressed: smallest and fastest for flat colours.

    Format: PNG specification, third edition (W3C 2025).
    """
    from isal import isal_zlib  # of the extra `study`: rendering in memory needs no files

    height, width, _ = image.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = image.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, TRUE_COLOR, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", isal_zlib.compress(rows, 1)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_image(path: Path, png: bytes) -> None:
    """Write an encoded image; renamed into place, not synced one by one (that would take longer than the drawing).

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{os.getpid()}.tmp")
    try:
        temporary.write_bytes(png)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> UserError:
    """The one line for a full disk or a read-only folder."""
    return UserError(f"cannot write {path}: {error.strerror or error}; free space or pick another --out")

"""Images of materials by number: decoded once into a memory-mapped file, or rendered on demand.

Legend: M materials, V standard views of a material, S side of an image in pixels.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from pymatgen.core import Structure
from tqdm import tqdm

from dinov3_pipeline.render.options import MADE_BY, RenderOptions, read_image_index, read_render_options, view_names
from dinov3_pipeline.render.rendering import Geometry, draw_views, prepare
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tc_common.files import atomic_write

ImageArray: TypeAlias = NDArray[np.uint8]
Change: TypeAlias = Callable[[Structure], Structure]
"""A crystal to a changed one (`tc_common.augmentation`), or to itself."""


class ImageSource(Protocol):
    """Views of M materials."""

    options: RenderOptions
    fingerprint: str
    """Identifies the pixels."""
    views: int
    """V, the standard views."""
    endless: bool
    """Whether numbers from V on are further random views."""

    def image(self, material: int, view: int, change: Change | None = None) -> ImageArray:
        """View number `view` of material number `material`: (S, S, 3) RGB; `change` is made of its crystal first."""
        ...


class StoredImages:
    """PNG files, decoded once into a memory-mapped file (M, V, S, S, 3) that costs no memory of its own.

    Args:
        ids: the materials, in the order of their numbers.
        cache_dir: folder for the decoded file, M x V x S x S x 3 bytes.

    Raises:
        UserError: an image is missing, truncated or of another size, or a material lacks views.
    """

    endless = False

    def __init__(self, images_dir: Path, ids: Sequence[str], image_size: int, cache_dir: Path) -> None:
        index = read_image_index(images_dir)
        self.options = read_render_options(images_dir)
        self.views = len(view_names(self.options))
        paths = _paths(index, ids, self.options, images_dir)
        self.fingerprint = _stamp(paths, self.options, image_size)
        file = cache_dir / f"images_{image_size}px_{self.fingerprint}.npy"
        if not file.exists():
            _decode_all(paths, self.options.image_size, image_size, file)
        self._file, self._shape = file, (len(ids), self.views, image_size, image_size, 3)
        self._images = read_cached(self._file, self._shape, np.uint8, mmap=True)

    def image(self, material: int, view: int, change: Change | None = None) -> ImageArray:
        """See `ImageSource.image`; what is stored cannot be changed."""
        assert change is None, "stored images show the crystal as it is"
        return np.asarray(self._images[material, view])

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the file's name, not its gigabytes."""
        return {name: value for name, value in vars(self).items() if name != "_images"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._images = read_cached(self._file, self._shape, np.uint8, mmap=True)


class RenderedImages:
    """Views rendered on demand; the geometry of each crystal is computed once, here.

    Raises:
        CrystalError: a CIF that cannot be read or rendered.
    """

    endless = True

    def __init__(self, materials: pd.DataFrame, image_size: int, options: RenderOptions) -> None:
        self.options, self.image_size = options, image_size
        self.names = view_names(options)
        self.views = len(self.names)
        rows = tqdm(materials["cif"], "bonds", leave=False, disable=None)
        self.crystals = [read_crystal(Path(cif)) for cif in rows]
        self.geometries: list[Geometry] = [prepare(crystal, options) for crystal in self.crystals]
        files = hashlib.sha256(b"".join(Path(cif).read_bytes() for cif in materials["cif"])).hexdigest()[:16]
        self.fingerprint = f"{options.fingerprint()}-{image_size}-{files}"

    def image(self, material: int, view: int, change: Change | None = None) -> ImageArray:
        """See `ImageSource.image`; number n >= V is a random rotation of its own, in one supercell after the other."""
        supercells = self.options.supercells
        name = self.names[view] if view < self.views else f"{supercells[view % len(supercells)]}_r{view}"
        crystal, geometry = self.crystals[material], self.geometries[material]
        if change is not None and (changed := change(crystal)) is not crystal:
            geometry = prepare(changed, self.options)
        images = draw_views(geometry, [name], self.options)
        return resized(images[0], self.image_size)


def resized(image: ImageArray, side: int) -> ImageArray:
    """Shrink or enlarge a square image to `side` pixels (shrinking averages the pixels that fall together)."""
    if len(image) == side:
        return image
    how = cv2.INTER_AREA if side < len(image) else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), np.uint8)


def read_image(path: Path, side: int) -> ImageArray:
    """Read (side, side, 3) RGB.

    Raises:
        UserError: missing, truncated, or of another size or kind.
    """
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises SyntaxError for a broken PNG
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise UserError(f"image {path} {reason}; render it again with: {MADE_BY}") from error
    if pixels.shape != (side, side, 3) or pixels.dtype != np.uint8:
        raise UserError(f"image {path} is {pixels.shape} {pixels.dtype}, not {side} x {side} RGB; run {MADE_BY} again")
    return pixels


def _paths(index: pd.DataFrame, ids: Sequence[str], options: RenderOptions, images_dir: Path) -> list[list[Path]]:
    """Image files of every material, its views in their standard order."""
    names = view_names(options)
    by_key = dict(zip(zip(index["material_id"], index["view"], strict=True), index["image_path"], strict=True))
    for material_id in ids:
        for name in names:
            if (material_id, name) not in by_key:
                raise UserError(f"{images_dir} has no view {name} of {material_id}; render it with: {MADE_BY}")
    return [[Path(by_key[material_id, name]) for name in names] for material_id in ids]


def _stamp(paths: list[list[Path]], options: RenderOptions, image_size: int) -> str:
    """Digest of the files' names, sizes and times of modification."""
    digest = hashlib.sha256(f"{options.fingerprint()} {image_size}\n".encode())
    for path in (path for row in paths for path in row):
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(f"image {path} is missing; render it again with: {MADE_BY}") from error
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _decode_all(paths: list[list[Path]], side: int, image_size: int, file: Path) -> None:
    shape = (len(paths), len(paths[0]), image_size, image_size, 3)
    with atomic_write(file) as temporary:
        images = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        for material, row in enumerate(tqdm(paths, "decoding images", leave=False, disable=None)):
            for view, path in enumerate(row):
                images[material, view] = resized(read_image(path, side), image_size)
        images.flush()


def read_cached(file: Path, shape: tuple[int, ...], kind: type[np.generic], mmap: bool = False) -> NDArray[Any]:
    """Read an array from a cache folder.

    Raises:
        UserError: it is damaged or holds something else.
    """
    try:
        array: NDArray[Any] = np.load(file, mmap_mode="r" if mmap else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); delete it, it will be made again") from error
    if array.shape != shape or array.dtype != kind:
        raise UserError(f"{file} holds {array.shape} {array.dtype}, not {shape} {kind.__name__}; delete it")
    return array

"""Images of the materials by number, and samples of them: one sample is one image of one material.

Images are decoded once into a memory-mapped file, or rendered on demand.
Legend: M materials, B images in a batch, V standard views of a material, S side of an image in pixels, D features.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from pymatgen.core import Structure
from torch.utils.data import Dataset
from tqdm import tqdm

from dinov3_pipeline.render.options import MADE_BY, RenderOptions, read_image_index, read_render_options, view_names
from dinov3_pipeline.render.rendering import Geometry, draw_views, prepare
from tc_common.augmentation import StructureAugmentation
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tc_common.files import atomic_write
from tc_common.structures import TrainingStructures, structures_of
from tc_common.task import Batch

LARGEST_FRESH_VIEW = 2**31
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


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Moves in the plane only: a colour is a physical quantity and stays what it is, to the last bit."""

    rotation_degrees: float = 180.0
    """Largest rotation either way."""
    scale: float = 0.1
    """Largest relative change of size either way."""
    shift: float = 0.05
    """Largest shift along x and y, as a fraction of the side."""
    flips: bool = True
    """Mirror with probability 1/2 (a crystal and its mirror image have one Tc)."""

    def apply(self, image: ImageArray, random: np.random.Generator) -> ImageArray:
        """Move (S, S, 3); uncovered corners are black, and every pixel is a pixel of the original."""
        side = len(image)
        angle = random.uniform(-self.rotation_degrees, self.rotation_degrees)
        scale = 1 + random.uniform(-self.scale, self.scale)
        shift_px = side * random.uniform(-self.shift, self.shift, size=2)
        mirror = self.flips and random.random() < 0.5
        center = (side - 1) / 2
        matrix = cv2.getRotationMatrix2D((center, center), angle, scale)
        matrix[:, 2] = matrix[:, 2] + shift_px
        source = np.ascontiguousarray(image[:, ::-1]) if mirror else image
        moved = cv2.warpAffine(source, matrix, (side, side), flags=cv2.INTER_NEAREST)
        return np.asarray(moved, np.uint8)


@dataclass
class CrystalChange:
    """The augmentation of one crystal, and whether its copy was no crystal."""

    augmentation: StructureAugmentation
    random: np.random.Generator
    failed: bool = False

    def __call__(self, crystal: Structure) -> Structure:
        """The changed crystal, or the crystal itself where that is none."""
        changed = self.augmentation.changed(crystal, self.random)
        self.failed = changed is None
        return crystal if changed is None else changed


class ViewDataset(Dataset[dict[str, Any]]):
    """Views of the materials of one split.

    Sample i is view `i % k` of the k that material `i // k` shows in this epoch; which ones these are and how they
    are moved depends on (seed, epoch, i) alone.

    A training shows the chosen structures until `set_epoch` draws others.

    Args:
        materials: rows of one split (`tc` in K), or the structures that each epoch draws from.
        images: views of all rows, in the same order.
        per_epoch: views of a material in an epoch (k); None shows the V standard views in their order.
        fresh: new random views instead of the standard ones.
        crystal_augmentation: changes of the crystals, drawn anew every epoch (only with images rendered on demand).
        inputs: what else the network reads of each row, by its name in a batch: arrays (R, ...).
    """

    def __init__(
        self,
        materials: pd.DataFrame | TrainingStructures,
        images: ImageSource,
        *,
        per_epoch: int | None = None,
        fresh: bool = False,
        augmentation: Augmentation | None = None,
        crystal_augmentation: StructureAugmentation | None = None,
        seed: int = 0,
        inputs: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        assert images.endless or not (fresh or crystal_augmentation), "stored images stay as they are"
        self.structures = structures_of(materials)
        self.rows = self.structures.chosen()
        self.ids: list[str] = self.structures.table["material_id"].tolist()
        self.tc_K = self.structures.table["tc"].to_numpy(np.float32)
        self.images, self.fresh = images, fresh
        self.shuffled = per_epoch is not None or fresh
        self.k = per_epoch or images.views
        self.augmentation, self.crystal_augmentation = augmentation, crystal_augmentation
        self.seed, self.epoch = seed, 0
        self.inputs = inputs or {}

    def __len__(self) -> int:
        return len(self.rows) * self.k

    def set_epoch(self, epoch: int) -> None:
        """Draw the structures, choose and move the views anew."""
        self.epoch, self.rows = epoch, self.structures.drawn(epoch)

    def view(self, material: int, slot: int) -> int:
        """Number of the view that this material shows at this slot of this epoch."""
        if not self.shuffled:
            return slot
        random = np.random.default_rng((self.seed, self.epoch, material, 0))
        if self.fresh:
            return int(random.integers(self.images.views, LARGEST_FRESH_VIEW, size=self.k)[slot])
        rounds = -(-self.k // self.images.views)
        return int(np.concatenate([random.permutation(self.images.views) for _ in range(rounds)])[slot])

    def __getitem__(self, index: int) -> dict[str, Any]:
        material, slot = divmod(index, self.k)
        row = int(self.rows[material])
        change = self._change(material)
        image = self.images.image(row, self.view(material, slot), change)
        if self.augmentation:
            image = self.augmentation.apply(image, np.random.default_rng((self.seed, self.epoch, index, 1)))
        counted = {} if change is None else {"unaugmented": change.failed}
        return {"image": image, **counted, **_row_of(self, row)}

    def _change(self, material: int) -> CrystalChange | None:
        """The change of this material's crystal in this epoch, the same for all its views."""
        if self.crystal_augmentation is None:
            return None
        random = np.random.default_rng((self.seed, self.epoch, material, 2))
        return CrystalChange(self.crystal_augmentation, random)


class FeatureDataset(Dataset[dict[str, Any]]):
    """Precomputed backbone features instead of images (linear probe).

    Args:
        views: the images' dataset, in its standard order.
        features: (M V, D) of the same samples.
        structures: which of them each epoch draws from; None: all are shown.
    """

    def __init__(
        self, views: ViewDataset, features: NDArray[np.float32], structures: TrainingStructures | None = None
    ) -> None:
        assert len(features) == len(views) and not views.shuffled
        self.ids, self.tc_K, self.k, self.features = views.ids, views.tc_K, views.k, features
        self.inputs = views.inputs
        self.structures = structures or views.structures
        self.rows = self.structures.chosen()

    def __len__(self) -> int:
        return len(self.rows) * self.k

    def set_epoch(self, epoch: int) -> None:
        """Draw the structures anew; their features are computed once."""
        self.rows = self.structures.drawn(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        material, slot = divmod(index, self.k)
        row = int(self.rows[material])
        return {"features": self.features[row * self.k + slot], **_row_of(self, row)}


def _row_of(dataset: ViewDataset | FeatureDataset, row: int) -> dict[str, Any]:
    """What a sample states of its structure."""
    inputs = {name: values[row] for name, values in dataset.inputs.items()}
    return {**inputs, "tc": dataset.tc_K[row], "material_id": dataset.ids[row]}


def collate(samples: list[dict[str, Any]]) -> Batch:
    """`images` uint8 (B, 3, S, S) or `features` (B, D), the other inputs, `tc` (B,) in K and `material_id`.

    With augmented crystals `unaugmented` is the number of those that are shown as they are (`CrystalChange`).
    """
    batch: Batch = {
        "tc": torch.tensor(np.array([sample["tc"] for sample in samples], np.float32)),
        "material_id": [sample["material_id"] for sample in samples],
    }
    if "unaugmented" in samples[0]:
        batch["unaugmented"] = sum(sample["unaugmented"] for sample in samples)
    for name in samples[0].keys() - {"image", *batch}:
        batch[name] = torch.from_numpy(np.stack([sample[name] for sample in samples]))
    if "image" in samples[0]:
        images = np.stack([sample["image"] for sample in samples])
        batch["images"] = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return batch

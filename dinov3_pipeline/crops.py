"""Views of crystals for pre-training without labels: two large views and small crops of each, and masked patches.

Legend: M crystals, V rendered views of each, S side of a view in pixels, s side of a crop, L crops, B crystals in a
batch, P patches of a view.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from tqdm import tqdm

from dinov3_pipeline.dataset import Augmentation
from dinov3_pipeline.images import ImageArray, read_cached, resized
from dinov3_pipeline.render.options import RenderOptions, view_names
from dinov3_pipeline.render.rendering import draw_views, prepare
from tc_common.crystals import read_crystal
from tc_common.files import atomic_write
from tc_common.task import Batch

GLOBAL_VIEWS = 2


@dataclass(frozen=True, kw_only=True)
class Crops:
    """What the student sees of a crystal (colours stay as they are: a colour is a physical quantity)."""

    crops: int = 4
    """Small crops of further views, beside the two large ones (>= 0)."""
    crop_size: int = 16
    """Side of a small crop in pixels, a multiple of the patch."""
    scale: float = 0.2
    """Largest relative change of a view's size either way (0 to below 1)."""
    shift: float = 0.1
    """Largest shift along x and y, as a fraction of the side (0 to below 1)."""
    masked_views: float = 0.5
    """Fraction of the large views of which patches are masked (above 0 to 1)."""
    masked_patches: tuple[float, float] = (0.1, 0.5)
    """Least and most of a masked view's patches that are masked (fractions, above 0 to below 1)."""

    def __post_init__(self) -> None:
        least, most = self.masked_patches
        if self.crops < 0 or self.crop_size < 1:
            raise ValueError("--crops must be at least 0, --crop-size at least 1")
        if not (0 <= self.scale < 1 and 0 <= self.shift < 1):
            raise ValueError("--scale and --shift must be from 0 to below 1")
        if not (0 < self.masked_views <= 1 and 0 < least <= most < 1):
            raise ValueError("--masked-views must be above 0 to 1, --masked-patches two fractions, lower first")


def rendered_views(materials: pd.DataFrame, options: RenderOptions, side: int, cache_dir: Path) -> ImageArray:
    """Every view of every crystal, (M, V, side, side, 3): rendered once into a memory-mapped file.

    The file's name holds the digest of the CIFs and of the render options.

    Raises:
        UserError: a CIF that cannot be read or rendered, or a damaged file.
    """
    names = view_names(options)
    cifs = hashlib.sha256(b"".join(Path(cif).read_bytes() for cif in materials["cif"])).hexdigest()[:16]
    file = cache_dir / f"pretrain_{side}px_{options.fingerprint()}_{cifs}.npy"
    shape = (len(materials), len(names), side, side, 3)
    if not file.exists():
        with atomic_write(file) as temporary:
            images = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            for number, cif in enumerate(tqdm(materials["cif"], "rendering", leave=False, disable=None)):
                drawn = draw_views(prepare(read_crystal(Path(cif)), options), names, options)
                images[number] = np.stack([resized(image, side) for image in drawn])
            images.flush()
    return read_cached(file, shape, np.uint8, mmap=True)


class CropDataset(Dataset[dict[str, Any]]):
    """One sample a crystal: its two large views, small crops, and the masked patches of the large views.

    All views of a sample are different ones (another direction or supercell). Which ones, how they are moved and what
    is masked depends on (seed, epoch, crystal) alone.

    Args:
        materials: rows with `material_id` and `tc` (which training does not use).
        images: their views (M, V, S, S, 3), V >= 2.
        grid: patches along a side.
    """

    def __init__(self, materials: pd.DataFrame, images: ImageArray, crops: Crops, grid: int, seed: int = 0) -> None:
        assert len(materials) == len(images) and images.shape[1] >= GLOBAL_VIEWS
        self.ids: list[str] = materials["material_id"].tolist()
        self.tc_K = materials["tc"].to_numpy(np.float32)
        self.images, self.crops, self.grid = images, crops, grid
        self.augmentation = Augmentation(scale=crops.scale, shift=crops.shift)
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        return len(self.images)

    def set_epoch(self, epoch: int) -> None:
        """Choose, move and mask anew."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        random = np.random.default_rng((self.seed, self.epoch, index))
        views = self._views(random)
        moved = [self.augmentation.apply(self.images[index, view], random) for view in views]
        large, others = moved[:GLOBAL_VIEWS], moved[GLOBAL_VIEWS:]
        return {
            "large": np.stack(large),
            "small": [window(image, self.crops.crop_size, random) for image in others],
            "mask": np.stack([self._mask(random) for _ in range(GLOBAL_VIEWS)]),
            "tc": self.tc_K[index],
            "material_id": self.ids[index],
        }

    def _views(self, random: np.random.Generator) -> NDArray[np.int64]:
        """Two different views, then one for each small crop."""
        order = random.permutation(self.images.shape[1])
        return np.resize(order, GLOBAL_VIEWS + self.crops.crops)

    def _mask(self, random: np.random.Generator) -> NDArray[np.bool_]:
        """(P,) True where the student sees the mask's token instead of the patch."""
        patches = self.grid**2
        masked = np.zeros(patches, bool)
        if random.random() < self.crops.masked_views:
            count = max(1, round(patches * random.uniform(*self.crops.masked_patches)))
            masked[random.choice(patches, count, replace=False)] = True
        return masked


def window(image: ImageArray, side: int, random: np.random.Generator) -> ImageArray:
    """A square of `side` pixels that holds one of the lit pixels, drawn at random (any place on a black image)."""
    lit = np.argwhere(image.any(axis=2))
    row, column = random.choice(lit) if len(lit) else (0, 0)
    most = len(image) - side
    top, left = (int(np.clip(at - random.integers(side), 0, most)) for at in (row, column))
    return image[top : top + side, left : left + side]


def collate_crops(samples: list[dict[str, Any]]) -> Batch:
    """`large` uint8 (2 B, 3, S, S) and `mask` (2 B, P), all first views before all second ones; `small`
    (L B, 3, s, s), all first crops before all second ones; `tc` (B,) in K and `material_id`.
    """
    return {
        "large": _by_view([list(sample["large"]) for sample in samples]),
        "small": _by_view([sample["small"] for sample in samples]),
        "mask": torch.from_numpy(np.concatenate(np.stack([sample["mask"] for sample in samples], axis=1))),
        "tc": torch.tensor(np.array([sample["tc"] for sample in samples], np.float32)),
        "material_id": [sample["material_id"] for sample in samples],
    }


def _by_view(images: list[list[ImageArray]]) -> torch.Tensor:
    ordered = [image.transpose(2, 0, 1) for view in zip(*images, strict=True) for image in view]
    return torch.from_numpy(np.stack(ordered)) if ordered else torch.empty(0, 3, 1, 1, dtype=torch.uint8)

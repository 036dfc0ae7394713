"""Samples of materials: one sample is one image of one material, or the features of one.

Legend: M materials, B images in a batch, V standard views of a material, S side of an image in pixels, D features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pymatgen.core import Structure
from torch.utils.data import Dataset

from dinov3_pipeline.images import ImageArray, ImageSource
from tc_common.augmentation import StructureAugmentation
from tc_common.structures import TrainingStructures, structures_of
from tc_common.task import Batch

LARGEST_FRESH_VIEW = 2**31


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

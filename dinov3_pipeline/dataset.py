"""One sample is one image of one material.

Legend: B images in a batch, V standard views of a material, S side of an image in pixels, D features.
"""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dinov3_pipeline.images import Change, ImageArray, ImageSource
from dinov3_pipeline.network import DinoTcModel
from tc_common.augmentation import StructureAugmentation
from tc_common.devices import Placement, to_device
from tc_common.errors import UserError
from tc_common.files import atomic_write
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
        image = self.images.image(row, self.view(material, slot), self._change(material))
        if self.augmentation:
            image = self.augmentation.apply(image, np.random.default_rng((self.seed, self.epoch, index, 1)))
        return {"image": image, "tc": self.tc_K[row], "material_id": self.ids[row]}

    def _change(self, material: int) -> Change | None:
        """The change of this material's crystal in this epoch, the same for all its views."""
        if self.crystal_augmentation is None:
            return None
        random = np.random.default_rng((self.seed, self.epoch, material, 2))
        return partial(self.crystal_augmentation.apply, random=random)


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
        return {"features": self.features[row * self.k + slot], "tc": self.tc_K[row], "material_id": self.ids[row]}


def collate(samples: list[dict[str, Any]]) -> Batch:
    """`images` uint8 (B, 3, S, S) or `features` (B, D), with `tc` (B,) in K and `material_id`."""
    batch: Batch = {
        "tc": torch.tensor(np.array([sample["tc"] for sample in samples], np.float32)),
        "material_id": [sample["material_id"] for sample in samples],
    }
    if "features" in samples[0]:
        return {**batch, "features": torch.from_numpy(np.stack([sample["features"] for sample in samples]))}
    images = np.stack([sample["image"] for sample in samples])
    return {**batch, "images": torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))}


def cached_features(
    model: DinoTcModel, dataset: ViewDataset, placement: Placement, batch_size: int, num_workers: int, cache_dir: Path
) -> NDArray[np.float32]:
    """Features (M V, D) of the standard views in order, cached on disk.

    The file's name holds the digest of the images, of the weights and of the number format.
    """
    kind = "bf16" if placement.bf16 else "fp32"
    file = cache_dir / f"features_{_digest(f'{dataset.images.fingerprint} {kind}', model)}.npy"
    with PartialState().main_process_first():
        if not file.exists():
            features = _compute(model.to(placement.device), dataset, placement, batch_size, num_workers)
            with atomic_write(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, features, allow_pickle=False)
    return _read(file, len(dataset))


def _digest(images: str, model: DinoTcModel) -> str:
    digest = hashlib.sha256(f"{images} {model.image_size}\n".encode())
    for name, value in sorted(model.backbone.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def _compute(
    model: DinoTcModel, dataset: ViewDataset, placement: Placement, batch_size: int, num_workers: int
) -> NDArray[np.float32]:
    model.eval()
    loader = DataLoader(dataset, batch_size, num_workers=num_workers, collate_fn=collate)
    rows = []
    with placement.autocast():
        for batch in tqdm(loader, "features", leave=False, disable=None):
            rows.append(model.features(to_device(batch, placement.device)["images"]).float().cpu().numpy())
    return np.concatenate(rows)


def _read(file: Path, rows: int) -> NDArray[np.float32]:
    try:
        features: NDArray[np.float32] = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); delete it, it will be made again") from error
    if features.ndim != 2 or len(features) != rows or features.dtype != np.float32:
        raise UserError(f"{file} holds {features.shape} {features.dtype}, not {rows} rows; delete it")
    return features

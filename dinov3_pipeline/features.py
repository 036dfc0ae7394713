"""Feature extraction for a linear probe: what a frozen backbone makes of each standard view, computed once.

Legend: M materials, V views of a material, D width of the backbone.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from dinov3_pipeline.dataset import ViewDataset, collate
from dinov3_pipeline.images import read_cached
from dinov3_pipeline.network import DinoTcModel
from tc_common.devices import Placement, to_device
from tc_common.files import atomic_write


def cached_features(
    model: DinoTcModel, dataset: ViewDataset, placement: Placement, batch_size: int, num_workers: int, cache_dir: Path
) -> NDArray[np.float32]:
    """Features (M V, D) of the standard views in order, cached on disk.

    The file's name holds the digest of the images, of the weights, of the number format and of the patches read.
    """
    kind = ("bf16" if placement.bf16 else "fp32") + " lit" * model.lit_only
    file = cache_dir / f"features_{_digest(f'{dataset.images.fingerprint} {kind}', model)}.npy"
    from accelerate import PartialState  # of the extra `study`

    with PartialState().main_process_first():
        if not file.exists():
            features = _compute_features(model.to(placement.device), dataset, placement, batch_size, num_workers)
            with atomic_write(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, features, allow_pickle=False)
    return read_cached(file, (len(dataset), len(model.feature_mean)), np.float32)


def _digest(images: str, model: DinoTcModel) -> str:
    digest = hashlib.sha256(f"{images} {model.image_size}\n".encode())
    for name, value in sorted(model.backbone.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def _compute_features(
    model: DinoTcModel, dataset: ViewDataset, placement: Placement, batch_size: int, num_workers: int
) -> NDArray[np.float32]:
    model.eval()
    loader = DataLoader(dataset, batch_size, num_workers=num_workers, collate_fn=collate)
    rows = []
    with placement.autocast():
        for batch in tqdm(loader, "features", leave=False, disable=None):
            rows.append(model.features(to_device(batch, placement.device)["images"]).float().cpu().numpy())
    return np.concatenate(rows)

"""What a frozen backbone sees, computed once per picture and kept on disk, so that an epoch of the head costs seconds.

Legend: M materials, V views, B pictures at once, D width of the backbone.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from dinov3_pipeline.dataset import ViewDataset, collate
from dinov3_pipeline.model import DinoTcModel
from tc_common.devices import Placement, to_device
from tc_common.errors import UserError
from tc_common.files import atomic_write


def cached_features(
    model: DinoTcModel, dataset: ViewDataset, placement: Placement, batch_size: int, num_workers: int, cache_dir: Path
) -> NDArray[np.float32]:
    """Features (M V, D) of the standard views in order, from the disk where they lie there.

    The file's name holds the digest of the pictures, of the weights and of the number format.
    """
    kind = "bf16" if placement.bf16 else "fp32"
    file = cache_dir / f"features_{_digest(f'{dataset.pictures.fingerprint} {kind}', model)}.npy"
    with PartialState().main_process_first():
        if not file.exists():
            features = _compute(model.to(placement.device), dataset, placement, batch_size, num_workers)
            with atomic_write(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, features, allow_pickle=False)
    return _read(file, len(dataset))


def _digest(pictures: str, model: DinoTcModel) -> str:
    digest = hashlib.sha256(f"{pictures} {model.image_size}\n".encode())
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

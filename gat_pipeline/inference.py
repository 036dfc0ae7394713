"""Predictions of a trained model for every graph of a dataset."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from gat_pipeline.dataset import Batch, GraphDataset, bounded_pieces, collator
from gat_pipeline.model import AlignnTc
from tc_common.devices import to_device

ANGLES_AT_ONCE = 200_000


@torch.inference_mode()
def predict_all(model: AlignnTc, dataset: GraphDataset, batch_size: int = 32) -> NDArray[np.float64]:
    """Tc in kelvin of every graph, in the dataset's order, computed in float32 on the model's device."""
    predicted_K = np.empty(len(dataset))
    for piece, batch in batches(model, dataset, batch_size):
        predicted_K[piece] = model(batch).double().cpu().numpy()
    return predicted_K


def batches(model: AlignnTc, dataset: GraphDataset, batch_size: int) -> Iterator[tuple[list[int], Batch]]:
    """Every graph once, alike sizes together: their places in the dataset, and the batch on the model's device."""
    device = next(model.parameters()).device
    collate = collator(dataset.options)
    order = np.argsort(dataset.angles, kind="stable").tolist()
    for piece in bounded_pieces(dataset.angles, order, batch_size, ANGLES_AT_ONCE):
        yield piece, to_device(collate([dataset[index] for index in piece]), device)

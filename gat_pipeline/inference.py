"""Inference on graphs: features and Tc from a trained model, in batches that fit the memory.

Legend: n crystals, W width of the features.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gat_pipeline.dataset import GraphDataset, bounded_micro_batches, join
from gat_pipeline.graphs import CrystalGraph
from gat_pipeline.model import AlignnTc
from tc_common.devices import to_device
from tc_common.further import further_materials
from tc_common.prior import Prior

ANGLES_AT_ONCE = 200_000


@torch.no_grad()
def infer(
    model: AlignnTc, graphs: Sequence[CrystalGraph], batch_size: int = 32, prior_K: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], Tensor]:
    """Tc in kelvin (n,) and features (n, W) of graphs, computed in float32 on the model's device, returned on the CPU.

    Graphs of similar size are computed together.

    Args:
        prior_K: the pair's prediction of each crystal (n,), for a network that reads it.
    """
    device, cutoff_A = next(model.parameters()).device, model.options.angle_cutoff_A
    angles = np.array([graph.angles_within(cutoff_A) for graph in graphs])
    order = np.argsort(angles, kind="stable").tolist()
    tc_K, parts = np.empty(len(graphs)), []
    for indices in bounded_micro_batches(angles, order, batch_size, ANGLES_AT_ONCE):
        some, known_K = [graphs[index] for index in indices], None if prior_K is None else prior_K[indices]
        batch = to_device(join(some, cutoff_A, model.feature_kind, known_K), device)
        features = model.features(batch).float()
        tc_K[indices] = model.forward_head(features).double().cpu().numpy()
        parts.append(features.cpu())
    return tc_K, torch.cat(parts)[np.argsort(order)]


def predict_all(model: AlignnTc, dataset: GraphDataset, batch_size: int = 32) -> NDArray[np.float64]:
    """Tc in kelvin (n,) of a dataset, in its order."""
    return infer(model, dataset.graphs, batch_size, dataset.prior_of_row_K)[0]


class Settings(Protocol):
    """What the settings of a command that predicts say of it."""

    @property
    def data_dir(self) -> Path: ...

    @property
    def cache_dir(self) -> Path: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def limit(self) -> int | None: ...


def predict_further(
    model: AlignnTc,
    settings: Settings,
    splits: dict[str, pd.DataFrame],
    prior: Prior | None = None,
    learned: Collection[str] = (),
) -> dict[str, pd.DataFrame]:
    """Predictions (K) of the further tests of the model that these splits (and this prior) were for.

    Args:
        learned: ids of crystals from the literature whose composition was learned from extra labels.
    """
    predicted = {}
    for test, table in further_materials(settings.data_dir, splits, settings.limit, None, learned).items():
        dataset = GraphDataset(table, model.options, settings.cache_dir, prior=prior)
        predicted[test] = table.drop(columns="cif").assign(tc_pred=predict_all(model, dataset, settings.batch_size))
    return predicted

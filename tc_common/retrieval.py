"""k-nearest-neighbour regression in feature space, interpolated with the network's prediction.

As kNN-LM (Khandelwal et al. 2020, arXiv:1911.00172): features are the network's own, those that its head reads, so a
crystal retrieves the training materials that the network finds similar, such as the others of a doping series.

Legend: B crystals, n training materials, W width of the features, P principal axes, K retrieved materials.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tc_common.errors import UserError, one_line

RETRIEVED = 30
LARGEST = 6e4  # half precision ends at 65,504
DIMENSIONS = 64
# Tried on the validation materials; bandwidths are multiples of the median distance to the nearest.
BANDWIDTHS = (0.02, 0.05, 0.1, 0.2, 0.4)
MIXING_WEIGHTS = tuple(np.linspace(0, 1, 21).tolist())


class KNNRegressor(nn.Module):
    """Weighted median Tc of the nearest training materials, mixed with the network's prediction."""

    mean: Tensor
    axes: Tensor
    vectors: Tensor
    tc_K: Tensor
    bandwidth: Tensor
    mixing_weight: Tensor

    def __init__(self, count: int, width: int, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("axes", torch.zeros(width, dimensions))
        self.register_buffer("vectors", torch.zeros(count, dimensions, dtype=torch.float16))
        self.register_buffer("tc_K", torch.zeros(count))
        self.register_buffer("bandwidth", torch.ones(()))
        self.register_buffer("mixing_weight", torch.zeros(()))

    def forward(self, features: Tensor, network_K: Tensor) -> Tensor:
        """Kelvin (B,) from `features` (B, W), interpolated with the network's prediction (B,) by the mixing weight."""
        return torch.lerp(network_K.float(), self.estimate(features), self.mixing_weight)

    def estimate(self, features: Tensor) -> Tensor:
        """Weighted median Tc of the retrieved materials, in kelvin (B,), with weights exp(-distance / bandwidth)."""
        return self.median_K(*self.nearest(features))

    def median_K(self, distance: Tensor, index: Tensor) -> Tensor:
        """Weighted median Tc (B,) in kelvin of retrieved materials, by distances and indices (B, K) of `nearest`."""
        return weighted_median(self.tc_K[index], torch.exp((distance[:, :1] - distance) / self.bandwidth))

    def nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Distances (B, K), ascending, and indices (B, K) of the nearest training materials."""
        vectors = self.vectors.float()
        distance = torch.cdist(self.project(features), vectors, compute_mode="donot_use_mm_for_euclid_dist")
        found = distance.topk(min(RETRIEVED, len(vectors)), largest=False)
        return found.values, found.indices

    def project(self, features: Tensor) -> Tensor:
        """Principal components (B, P), rounded to half precision as the stored vectors are."""
        return ((features.float() - self.mean) @ self.axes).clamp(-LARGEST, LARGEST).half().float()


def retrieval_from(state: dict[str, Tensor], width: int, origin: str) -> KNNRegressor | None:
    """The regressor of a file's state, for features of width `width`; None if the state is empty.

    Raises:
        UserError: it is incomplete, of another network, or holds numbers that cannot predict.
    """
    if not state:
        return None
    try:
        read = KNNRegressor(len(state["tc_K"]), *state["axes"].shape)
        read.load_state_dict(state, strict=True)
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise UserError(f"{origin}: its retrieval cannot be read: {one_line(error, 200)}") from error
    finite = all(bool(torch.isfinite(value).all()) for value in read.state_dict().values())
    if not finite or not 0 <= read.mixing_weight <= 1 or read.bandwidth <= 0 or 0 in read.vectors.shape:
        raise UserError(f"{origin}: its retrieval holds impossible numbers; add it to the network again")
    if len(read.mean) != width:
        raise UserError(
            f"{origin}: its retrieval belongs to another network (features of {len(read.mean)}, not {width})"
        )
    return read


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Of each row of (B, K): the least value at which half of the total weight is reached, (B,)."""
    ordered, order = values.sort(dim=1)
    reached = weights.gather(1, order).cumsum(dim=1)
    middle = (reached >= reached[:, -1:] / 2).float().argmax(dim=1, keepdim=True)
    return ordered.gather(1, middle).squeeze(1)


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """A network's features and predictions of n materials whose Tc is known."""

    features: Tensor
    """(n, W), the head's input."""
    network_K: NDArray[np.float64]
    """(n,)"""
    tc_K: NDArray[np.float64]
    """(n,), measured."""


@torch.no_grad()
def fit(train: FeatureSet, val: FeatureSet) -> KNNRegressor:
    """Regressor on `train`, with the bandwidth and mixing weight that minimise the MAE on `val`.

    Two numbers are fitted to the validation materials, so errors there are slightly optimistic.
    """
    mean, axes = principal_axes(train.features)
    fitted = KNNRegressor(len(train.tc_K), *axes.shape)
    for name, value in (("mean", mean), ("axes", axes), ("tc_K", torch.tensor(train.tc_K))):
        fitted.get_buffer(name).copy_(value)
    fitted.vectors.copy_(fitted.project(train.features))
    nearest = fitted.nearest(val.features)
    typical = max(float(nearest[0].median()), 1e-6)
    choices = [(factor * typical, weight) for factor in BANDWIDTHS for weight in MIXING_WEIGHTS]
    bandwidth, mixing_weight = min(choices, key=lambda choice: _val_mae_K(fitted, val, nearest, *choice))
    fitted.bandwidth.fill_(bandwidth)
    fitted.mixing_weight.fill_(mixing_weight)
    return fitted


def _val_mae_K(
    fitted: KNNRegressor, val: FeatureSet, nearest: tuple[Tensor, Tensor], bandwidth: float, mixing_weight: float
) -> float:
    fitted.bandwidth.fill_(bandwidth)
    mixed_K = (1 - mixing_weight) * val.network_K + mixing_weight * fitted.median_K(*nearest).double().numpy()
    return float(np.abs(mixed_K - val.tc_K).mean())


def principal_axes(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (W,) and principal axes (W, P) of features (n, W), by the eigenvectors of their covariance."""
    mean = features.double().mean(dim=0)
    centred = features.double() - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return mean.float(), vectors.flip(1)[:, :DIMENSIONS].float()


def retrieval_metrics(content: Mapping[str, Any], model: nn.Module, seconds_per_sample: float) -> dict[str, Any]:
    """What only a model with retrieval knows; `content` is the checkpoint that it was added to.

    `train_seconds` are the training's, up to that checkpoint.
    """
    retrieval = model.retrieval
    assert isinstance(retrieval, KNNRegressor)
    return {
        "seeds": [content["config"]["seed"]],
        "init": content["init"],
        "device": str(next(model.parameters()).device),
        "train_seconds": round(content["train_seconds"], 1),
        "inference_ms_per_sample": round(1000 * seconds_per_sample, 3),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "neighbours": {
            "count": RETRIEVED,
            "mixing_weight": round(float(retrieval.mixing_weight), 3),
            "bandwidth": float(retrieval.bandwidth),
        },
    }

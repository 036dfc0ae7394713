"""What the training materials nearest to a crystal measured, blended with what the network predicts.

A network turns a doping series into a smooth function of everything at once; the series itself stands in the training
set. Nearness is that of what the head is given, so it is the network's own idea of which crystals are alike. The same
blend of a network with its training data: Khandelwal et al. 2020, arXiv:1911.00172.

Legend: B crystals, n training materials, W width of what the head is given, P principal axes, K neighbours.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tc_common.errors import UserError

NEIGHBOURS = 30
LARGEST = 6e4  # half precision ends at 65,504
DIMENSIONS = 64
# Tried on the validation materials: how fast a neighbour's word fades, and the neighbours' share of the prediction.
REACHES = (0.02, 0.05, 0.1, 0.2, 0.4)
SHARES = tuple(np.linspace(0, 1, 21).tolist())


class KNNRegressor(nn.Module):
    """Median Tc of the nearest training materials, the nearer the weightier."""

    mean: Tensor
    axes: Tensor
    vectors: Tensor
    tc_K: Tensor
    reach: Tensor
    share: Tensor

    def __init__(self, count: int, width: int, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("axes", torch.zeros(width, dimensions))
        self.register_buffer("vectors", torch.zeros(count, dimensions, dtype=torch.float16))
        self.register_buffer("tc_K", torch.zeros(count))
        self.register_buffer("reach", torch.ones(()))
        self.register_buffer("share", torch.zeros(()))

    def forward(self, features: Tensor, network_K: Tensor) -> Tensor:
        """Blend (B,) in kelvin of the neighbours of `features` (B, W) and the network's own prediction (B,)."""
        return torch.lerp(network_K.float(), self.estimate(features), self.share)

    def estimate(self, features: Tensor) -> Tensor:
        """The neighbours' word alone, in kelvin (B,)."""
        distance, index = self.nearest(features)
        return weighted_median(self.tc_K[index], torch.exp((distance[:, :1] - distance) / self.reach))

    def nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Distances (B, K), the least first, and which training materials these are (B, K)."""
        vectors = self.vectors.float()
        distance = torch.cdist(self.project(features), vectors, compute_mode="donot_use_mm_for_euclid_dist")
        found = distance.topk(min(NEIGHBOURS, len(vectors)), largest=False)
        return found.values, found.indices

    def project(self, features: Tensor) -> Tensor:
        """Principal components (B, P), of half precision as the training materials' are."""
        return ((features.float() - self.mean) @ self.axes).clamp(-LARGEST, LARGEST).half().float()


def neighbours_of(state: dict[str, Tensor], width: int, origin: str) -> KNNRegressor | None:
    """The neighbours that a file's state holds, for features of `width` numbers; None if it holds none.

    Raises:
        UserError: they are incomplete, of another network, or no numbers to predict with.
    """
    if not state:
        return None
    try:
        read = KNNRegressor(len(state["tc_K"]), *state["axes"].shape)
        read.load_state_dict(state, strict=True)
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{origin}: its neighbours cannot be read: {reason}") from error
    finite = all(bool(torch.isfinite(value).all()) for value in read.state_dict().values())
    if not finite or not 0 <= read.share <= 1 or read.reach <= 0 or 0 in read.vectors.shape:
        raise UserError(f"{origin}: its neighbours are no numbers to predict with; make it again")
    if len(read.mean) != width:
        raise UserError(f"{origin}: its neighbours belong to another network ({len(read.mean)} numbers, not {width})")
    return read


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Of each row of (B, K): the least value at which half of the weight is reached, (B,)."""
    ordered, order = values.sort(dim=1)
    reached = weights.gather(1, order).cumsum(dim=1)
    middle = (reached >= reached[:, -1:] / 2).float().argmax(dim=1, keepdim=True)
    return ordered.gather(1, middle).squeeze(1)


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """What a network says of n materials whose Tc is known."""

    features: Tensor
    """(n, W), what the head was given."""
    network_K: NDArray[np.float64]
    """(n,)"""
    tc_K: NDArray[np.float64]
    """(n,), measured."""


@torch.no_grad()
def fit(train: FeatureSet, val: FeatureSet) -> KNNRegressor:
    """KNNRegressor among `train`, their reach and share chosen by the MAE on `val`.

    Two numbers are fitted to the validation materials, so errors there are a little too small.
    """
    mean, axes = principal_axes(train.features)
    fitted = KNNRegressor(len(train.tc_K), *axes.shape)
    for name, value in (("mean", mean), ("axes", axes), ("tc_K", torch.tensor(train.tc_K))):
        fitted.get_buffer(name).copy_(value)
    fitted.vectors.copy_(fitted.project(train.features))
    typical = max(float(fitted.nearest(val.features)[0].median()), 1e-6)
    choices = [(reach * typical, share) for reach in REACHES for share in SHARES]
    reach, share = min(choices, key=lambda choice: _val_mae_K(fitted, val, *choice))
    fitted.reach.fill_(reach)
    fitted.share.fill_(share)
    return fitted


def _val_mae_K(fitted: KNNRegressor, val: FeatureSet, reach: float, share: float) -> float:
    fitted.reach.fill_(reach)
    blend_K = (1 - share) * val.network_K + share * fitted.estimate(val.features).double().numpy()
    return float(np.abs(blend_K - val.tc_K).mean())


def principal_axes(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (W,) and principal axes (W, P) of features (n, W), by the eigenvectors of their covariance."""
    mean = features.double().mean(dim=0)
    centred = features.double() - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return mean.float(), vectors.flip(1)[:, :DIMENSIONS].float()

"""What trees on composition are told, as an optional extra input of the head.

A mean over atoms blurs which elements there are and how much of each; `tc_common.composition` says it plainly.

Legend: B crystals, F features of a composition, W width of what the head is given.
"""

from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tc_common.composition import FEATURES, FeatureKind, feature_names
from tc_common.elements import LAST_Z

HeadFeatures: TypeAlias = Literal["none", "composition", "continuous", "physics"]
# The kind of features that each value of --head-features gives the head; "composition" is what shipped models read.
KINDS: dict[str, FeatureKind] = {"composition": "statistics", "continuous": "continuous", "physics": "physics"}

WIDTH = 512
DROPOUT = 0.1
# An element that few crystals hold is many SD from its mean; beyond this it says no more than that it is there.
FARTHEST_SD = 8.0
# Sums over sites differ in their last digits with the order of the sites, and the main element must not.
DIGITS = 6


def features_of_fractions(fractions: NDArray[np.float32], kind: FeatureKind = "statistics") -> NDArray[np.float32]:
    """Features (B, F) of atomic fractions by atomic number from 0 on (B, 101)."""
    shares = np.zeros((len(fractions), LAST_Z))
    shares[:, : fractions.shape[1] - 1] = np.round(fractions[:, 1:], DIGITS)
    return FEATURES[kind](shares).astype(np.float32)


def composition_branch(head_features: HeadFeatures) -> "CompositionBranch | None":
    """The branch that a value of `--head-features` asks for."""
    return None if head_features == "none" else CompositionBranch(KINDS[head_features])


class CompositionBranch(nn.Module):
    """Features of the composition (B, F), standardised by the training set, through two layers: (B, W)."""

    mean: Tensor
    std: Tensor

    def __init__(self, kind: FeatureKind = "statistics") -> None:
        super().__init__()
        self.kind: FeatureKind = kind
        inputs = len(feature_names(kind))
        self.num_features = WIDTH
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))
        self.layers = nn.Sequential(*_layer(inputs), *_layer(WIDTH))

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """From the features (B, F) of this kind in a batch."""
        statistics = batch[self.kind]
        with torch.autocast(statistics.device.type, enabled=False):
            standardised = ((statistics - self.mean) / self.std).clamp(-FARTHEST_SD, FARTHEST_SD)
            return self.layers(standardised)

    @property
    def head_features(self) -> str:
        """The value of `--head-features` that makes this branch."""
        return next(name for name, kind in KINDS.items() if kind == self.kind)

    def standardise(self, statistics: NDArray[np.float32]) -> None:
        """Scale the input by the mean and SD of the training set (n, F); what never varies is left as it is."""
        std = statistics.std(axis=0)
        self.mean.copy_(torch.from_numpy(statistics.mean(axis=0)))
        self.std.copy_(torch.from_numpy(np.where(std > 1e-6, std, 1.0)))


def _layer(inputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, WIDTH), nn.LayerNorm(WIDTH), nn.SiLU(), nn.Dropout(DROPOUT)

"""Optional composition branch: an MLP on composition features, concatenated to a network's features of the structure.

The mean over atoms blurs which elements a crystal holds and how much of each; these features state it. A branch can
learn from measured compositions without a structure first (`pretrain`).

Legend: B crystals, n materials, F composition features, W width of the branch's output.
"""

from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from tc_common.chemistry import FEATURES, FeatureKind, feature_names
from tc_common.composition import LAST_Z
from tc_common.targets import TargetTransform

HeadFeatures: TypeAlias = Literal["none", "composition", "continuous", "physics"]
# The kind of features that each value of --head-features gives the head; "composition" is what shipped models read.
KINDS: dict[str, FeatureKind] = {"composition": "statistics", "continuous": "continuous", "physics": "physics"}

WIDTH = 512
DROPOUT = 0.1
# Pretraining: AdamW with one cycle of the learning rate.
PRETRAIN_LR, PRETRAIN_BATCH = 1e-3, 64
# Standardised features are clipped here: a rare element is many SD from its mean.
LARGEST_SD = 8.0
# Sums over sites differ in their last digits with the order of the sites; the main element must not.
DIGITS = 6


def features_of_fractions(fractions: NDArray[np.float32], kind: FeatureKind = "statistics") -> NDArray[np.float32]:
    """Composition features (B, F) of atomic fractions by atomic number from 0 on (B, 101)."""
    rounded = np.zeros((len(fractions), LAST_Z))
    rounded[:, : fractions.shape[1] - 1] = np.round(fractions[:, 1:], DIGITS)
    return FEATURES[kind](rounded).astype(np.float32)


def create_branch(head_features: HeadFeatures) -> "CompositionBranch | None":
    """The branch that a value of `--head-features` asks for."""
    return None if head_features == "none" else CompositionBranch(KINDS[head_features])


class CompositionBranch(nn.Module):
    """Composition features (B, F), standardised by the training set, through two layers: (B, W)."""

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
        features = batch[self.kind]
        with torch.autocast(features.device.type, enabled=False):
            standardised = ((features - self.mean) / self.std).clamp(-LARGEST_SD, LARGEST_SD)
            return self.layers(standardised)

    @property
    def head_features(self) -> str:
        """The value of `--head-features` that makes this branch."""
        return next(name for name, kind in KINDS.items() if kind == self.kind)

    def standardise(self, features: NDArray[np.float32]) -> None:
        """Scale the input by the mean and SD of the training set (n, F); constant features are not scaled."""
        std = features.std(axis=0)
        self.mean.copy_(torch.from_numpy(features.mean(axis=0)))
        self.std.copy_(torch.from_numpy(np.where(std > 1e-6, std, 1.0)))


def _layer(inputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, WIDTH), nn.LayerNorm(WIDTH), nn.SiLU(), nn.Dropout(DROPOUT)


def pretrain(
    branch: CompositionBranch,
    features: NDArray[np.float32],
    tc_K: ArrayLike,
    target: TargetTransform,
    epochs: int,
    seed: int = 42,
) -> nn.Linear:
    """Train a branch on compositions alone: standardise its input, then minimise the L1 error in the target's space.

    Args:
        features: (n, F) of the branch's kind; `tc_K` (n,).
        epochs: passes over the compositions; everything depends on `seed` alone.

    Returns:
        The linear layer from the branch's output to the target, which was trained with it.
    """
    branch.standardise(features)
    inputs, wanted = torch.from_numpy(features), target.encode(torch.tensor(np.asarray(tc_K), dtype=torch.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        end = nn.Linear(branch.num_features, 1)
        parameters = [*branch.parameters(), *end.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=PRETRAIN_LR)
        steps = epochs * -(-len(inputs) // PRETRAIN_BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PRETRAIN_LR, total_steps=1 + steps)
        for _ in range(epochs):
            for rows in torch.randperm(len(inputs)).split(PRETRAIN_BATCH):
                predicted = end(branch({branch.kind: inputs[rows]})).squeeze(1)
                optimizer.zero_grad()
                nn.functional.l1_loss(predicted, wanted[rows]).backward()
                optimizer.step()
                schedule.step()
    return end

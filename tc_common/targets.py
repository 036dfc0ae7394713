"""What the network really regresses: kelvins, standardised kelvins, or their logarithm.

Legend: B samples in a batch.
"""

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from tc_common.errors import UserError

TargetKind: TypeAlias = Literal["kelvin", "log1p", "standardized"]


class TargetTransform(nn.Module):
    """Maps Tc in kelvin to the space of the loss and back; its numbers are buffers, so a checkpoint carries them.

    `kelvin` is the identity, `standardized` is (Tc - mean) / SD, `log1p` is the same of log(1 + Tc), with mean and
    SD of the training set.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: TargetKind, train_tc_K: Tensor | None = None) -> None:
        super().__init__()
        if kind not in get_args(TargetKind):  # a card or a checkpoint is a stranger's text
            raise UserError(f"target {kind!r} is none of {', '.join(get_args(TargetKind))}")
        self.kind = kind
        mean, std = torch.tensor(0.0), torch.tensor(1.0)
        if kind != "kelvin" and train_tc_K is not None:
            values = train_tc_K.float().log1p() if kind == "log1p" else train_tc_K.float()
            mean, std = values.mean(), values.std(correction=0).clamp(min=1e-3)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def encode(self, tc_K: Tensor) -> Tensor:
        """Kelvin (B,) to the space of the loss (B,)."""
        # decode() cannot fall below -1 K; rounding may reach it, where the logarithm is infinite
        values = tc_K.clamp(min=-1 + 1e-6).log1p() if self.kind == "log1p" else tc_K
        return (values - self.mean) / self.std

    def decode(self, encoded: Tensor) -> Tensor:
        """Output of the network (B,) to kelvin (B,), in float32 whatever the autocast."""
        values = encoded.float() * self.std + self.mean
        return values.expm1() if self.kind == "log1p" else values

"""Target transforms: the network regresses kelvins, standardised kelvins, their square root or their logarithm.

Legend: B samples in a batch.
"""

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from tc_common.errors import UserError

# Smallest decoded square root (-0.99 K): below it the gradient would vanish or overflow.
MIN_SQRT = 0.1
TargetKind: TypeAlias = Literal["kelvin", "log1p", "sqrt", "standardized"]


class TargetTransform(nn.Module):
    """Maps Tc in kelvin to the space of the loss and back; its numbers are buffers, so a checkpoint carries them.

    `kelvin` is the identity, `standardized` is (Tc - mean) / SD, `log1p` and `sqrt` are the same of log(1 + Tc) and
    sqrt(1 + Tc), with mean and SD of the training set.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: TargetKind, train_tc_K: Tensor | None = None) -> None:
        super().__init__()
        if kind not in get_args(TargetKind):  # cards and checkpoints are untrusted
            raise UserError(f"target {kind!r} is none of {', '.join(get_args(TargetKind))}")
        self.kind = kind
        mean, std = torch.tensor(0.0), torch.tensor(1.0)
        if kind != "kelvin" and train_tc_K is not None:
            values = self._transform(train_tc_K.float())
            mean, std = values.mean(), values.std(correction=0).clamp(min=1e-3)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def encode(self, tc_K: Tensor) -> Tensor:
        """Kelvin (B,) to the space of the loss (B,)."""
        return (self._transform(tc_K) - self.mean) / self.std

    def _transform(self, tc_K: Tensor) -> Tensor:
        if self.kind not in ("log1p", "sqrt"):
            return tc_K
        # decode() is >= -1 K; rounding may reach -1, where the gradients of logarithm and root are infinite
        above = tc_K.clamp(min=-1 + 1e-6)
        return above.log1p() if self.kind == "log1p" else (1 + above).sqrt()

    def decode(self, encoded: Tensor) -> Tensor:
        """Output of the network (B,) to kelvin (B,), in float32 whatever the autocast."""
        values = encoded.float() * self.std + self.mean
        if self.kind == "sqrt":
            return values.clamp(min=MIN_SQRT) ** 2 - 1
        return values.expm1() if self.kind == "log1p" else values

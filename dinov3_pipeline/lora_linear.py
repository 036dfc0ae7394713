"""PEFT's LoRA layer with the adapter added in place, inside one matrix product.

Import this only after `dinov3_pipeline.torchvision_operators.declare_missing_operators()`: PEFT imports torchvision.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor

ADAPTER = "default"


class OneProductLinear(Linear):
    """W x + s B (A x), where PEFT scales and adds in two further passes over the widest activations."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(…, in) to (…, out); merged, switched off or with DoRA, PEFT's own way is taken."""
        if self.merged or self.disable_adapters or self.lora_variant:
            merged_or_variant: Tensor = super().forward(x, *args, **kwargs)
            return merged_or_variant
        if torch.is_autocast_enabled(x.device.type):  # once, where both products would each round x by themselves
            x = x.to(torch.get_autocast_dtype(x.device.type))
        wide: Tensor = self.base_layer(x, *args, **kwargs)
        narrow = self.lora_A[ADAPTER](self.lora_dropout[ADAPTER](x))
        up = self.lora_B[ADAPTER].weight.t().to(wide.dtype)  # type: ignore[operator]
        wide.view(-1, wide.shape[-1]).addmm_(narrow.flatten(0, -2), up, alpha=self.scaling[ADAPTER])
        return wide

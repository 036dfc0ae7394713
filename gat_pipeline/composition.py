"""Statistics of a crystal's composition, an optional extra input of the head.

Legend: B crystals, C statistics.
"""

from typing import Any

import torch
from torch import Tensor, nn

from gat_pipeline.graphs import cgcnn_table


class CompositionStatistics(nn.Module):
    """Amounts of the elements, and mean and SD of their features over the whole crystal: (B, C), all in [0, 1]."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.from_numpy(cgcnn_table().copy()), persistent=False)
        self.num_features = len(self.table) - 1 + 2 * self.table.shape[1]

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """From atomic fractions by atomic number, `composition` (B, 101)."""
        fractions = batch["composition"]
        with torch.autocast(fractions.device.type, enabled=False):
            mean = fractions @ self.table
            variance = fractions @ self.table**2 - mean**2
            return torch.cat([fractions[:, 1:], mean, variance.clamp(min=0).sqrt()], dim=1)

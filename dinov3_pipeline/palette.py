"""The palette of a crystal: the commonest colours of all its views with their fractions of the lit area, and a branch
of the network that reads it.

Pixels are not anti-aliased, so a site's colour stands in them exactly; a patch embedding blurs it, and the mean over
patches blurs how much of each there is. The palette states both.

Legend: V views of a crystal, S side of an image in pixels, B images of a batch, K colours of a palette,
W width of the branch's output.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dinov3_pipeline.images import ImageSource
from dinov3_pipeline.render.rendering import BOND_GREY
from tc_common.chemistry import composition_features

# Name of the palettes in a batch.
PALETTE = "palette"
# 99 % of the crystals of 3DSC have at most five colours, the most colourful has seven.
COLORS = 8
HIDDEN, WIDTH, WAVES = 128, 256, 128
# SD of a wave's radians over the whole range of a channel: colours 6 of 255 levels apart decorrelate.
FREQUENCY_SD = 40.0
DROPOUT = 0.1
SMALLEST_FRACTION = 1e-3
CODE = np.array([1 << 16, 1 << 8, 1], np.int32)
GREY = int(CODE.sum()) * BOND_GREY


def palette(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The commonest colours of one crystal's views (V, S, S, 3), by falling area: (K, 4) of RGB (0 to 1) and fraction.

    The fractions are of the lit area of all views. Black and the bonds' grey are left out; rows beyond the colours
    that there are have fraction 0. The order of views, and any rotation by pixels, changes nothing.
    """
    codes, areas = np.unique(images.reshape(-1, 3) @ CODE, return_counts=True)
    lit = (codes != 0) & (codes != GREY)
    codes, areas = codes[lit], areas[lit]
    commonest = np.argsort(-areas, kind="stable")[:COLORS]
    rows = np.zeros((COLORS, 4), np.float32)
    rows[: len(commonest), :3] = (codes[commonest, None] // CODE) % 256 / 255
    rows[: len(commonest), 3] = areas[commonest] / max(areas.sum(), 1)
    return rows


def palette_of(images: Tensor) -> Tensor:
    """Palette (1, K, 4) of one crystal's views as the network reads them, uint8 (V, 3, S, S)."""
    rows = palette(images.permute(0, 2, 3, 1).cpu().numpy())
    return torch.from_numpy(rows)[None].to(images.device)


def inputs_of(rows: pd.DataFrame, images: ImageSource, reads: Collection[str]) -> dict[str, NDArray[np.float32]]:
    """What a network reads of each row beside its images, by its name in a batch: `palette`, composition features.

    Args:
        rows: R rows with their `formula`; images: of the same rows, in the same order.
        reads: the names (`DinoTcModel.reads`).
    """
    kinds: list[Any] = [name for name in reads if name != PALETTE]
    formulas = rows["formula"].tolist()
    inputs = {kind: composition_features(formulas, kind).astype(np.float32) for kind in kinds}
    if PALETTE in reads:
        views = range(images.views)
        crystals = (np.stack([images.image(row, view) for view in views]) for row in range(len(rows)))
        inputs[PALETTE] = np.stack([palette(crystal) for crystal in crystals])
    return inputs


class PaletteBranch(nn.Module):
    """Palettes (B, K, 4) to features (B, W): each colour through two layers, then sums over the colours.

    A set, as in deep sets (Zaheer et al. 2017, arXiv:1703.06114): one sum is weighted by area, the other counts each
    colour once. Random Fourier features (arXiv:2006.10739) tell apart neighbouring elements' colours.
    """

    directions: Tensor
    phases: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.num_features = WIDTH
        self.register_buffer("directions", FREQUENCY_SD * torch.randn(3, WAVES))
        self.register_buffer("phases", 2 * torch.pi * torch.rand(WAVES))
        self.of_color = nn.Sequential(nn.Linear(WAVES + 5, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU())
        layers = nn.Linear(2 * HIDDEN, WIDTH), nn.SiLU(), nn.Dropout(DROPOUT)
        self.of_sums = nn.Sequential(nn.LayerNorm(2 * HIDDEN), *layers)

    def forward(self, palettes: Tensor) -> Tensor:
        """In fp32 whatever the autocast: an angle of 60 radians in bf16 would be off by an eighth."""
        with torch.autocast(palettes.device.type, enabled=False):
            color, fraction = palettes[..., :3], palettes[..., 3:]
            waves = (color @ self.directions + self.phases).cos()
            amount = (fraction + SMALLEST_FRACTION).log() / 3
            read = self.of_color(torch.cat([color, waves, fraction, amount], dim=-1)) * (fraction > 0)
            return self.of_sums(torch.cat([(read * fraction).sum(1), read.sum(1) / 4], dim=1))

"""Colours as waves, so that a network that starts from nothing tells similar colours apart.

Neighbouring elements differ by a few hundredths of a channel, and their Tc by tens of kelvin. A network of smooth
layers learns slow functions of its three inputs first (Tancik et al. 2020, arXiv:2006.10739): random Fourier features
turn such steps into numbers that a linear patch embedding can read, and average over a patch as a histogram would.

Legend: B pictures, S side in pixels, W waves.
"""

import torch
from torch import Tensor, nn

# SD of a wave's radians per unit of a normalised channel (255 levels are 4 units): colours 6 levels apart decorrelate.
WAVE_NUMBER = 10.0


class ColorWaves(nn.Module):
    """Pixels (B, 3, S, S) to (B, 3 + W, S, S): the pixel itself, then W cosines of random directions in colour.

    Black stays 0 in every channel: no atom says nothing. Directions and phases are buffers, so a checkpoint has them.
    """

    directions: Tensor
    phases: Tensor

    def __init__(self, waves: int) -> None:
        super().__init__()
        self.register_buffer("directions", WAVE_NUMBER * torch.randn(waves, 3, 1, 1))
        self.register_buffer("phases", 2 * torch.pi * torch.rand(waves))

    def forward(self, pixels: Tensor) -> Tensor:
        """In fp32 whatever the autocast: an angle of 60 radians in bf16 would be off by an eighth."""
        with torch.autocast(pixels.device.type, enabled=False):
            angles = nn.functional.conv2d(pixels.float(), self.directions, self.phases)
            return torch.cat([pixels.float(), angles.cos() - self.phases.cos().view(-1, 1, 1)], 1)

"""Patches by their colours: the patch embedding of images with few colours, several times faster than a convolution.

A rendered crystal has a handful of colours. Channels (Fourier features above all) are computed once for each colour of
a batch and looked up for each pixel; patches do not overlap, so embedding them is one matrix product.

Legend: N images, S their side in pixels, H x W patches of p x p pixels, C channels, D width of a token.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Patches:
    """Pixels of images, patch by patch, and which patches are masked."""

    values: Tensor
    """(N, H, W, p p C) channels of the pixels."""
    mask: Tensor | None = None
    """(N, H W), True where a token takes the place of the patch."""


class PatchEmbedding(nn.Module):
    """A backbone's patch embedding for `Patches` instead of pixels, with the same parameters under the same names.

    Args:
        embedding: timm's, whose `proj` is a convolution, or Fourier features and a convolution.
    """

    def __init__(self, embedding: nn.Module, width: int) -> None:
        super().__init__()
        self.proj = embedding.proj
        self.patch_size: tuple[int, int] = embedding.patch_size  # type: ignore[assignment]
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))

    def cut(self, images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Images (N, 3, S, S) uint8 to the channels (N, H, W, p p C) of their pixels, normalised by mean and SD."""
        side, number = self.patch_size[0], len(images)
        red, green, blue = images.int().unbind(1)
        grid = images.shape[-1] // side
        pixels = (red << 16 | green << 8 | blue).view(number, grid, side, grid, side).transpose(2, 3)
        colors, which = pixels.unique(return_inverse=True)
        table = self._channels(torch.stack([colors >> 16, colors >> 8 & 255, colors & 255], 1), mean, std)
        return table[which.flatten()].view(number, grid, grid, -1)

    @torch.no_grad()
    def _channels(self, colors: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Colours (U, 3) from 0 to 255 to their channels (U, C), in the number format of products."""
        normalised = (colors.float()[:, :, None, None] - mean) / std
        channels = self.proj[0](normalised) if isinstance(self.proj, nn.Sequential) else normalised
        kind = colors.device.type
        return channels.flatten(1).to(torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None)

    def forward(self, patches: Patches) -> Tensor:
        """Tokens (N, H, W, D)."""
        convolution = cast(nn.Conv2d, self.proj[-1] if isinstance(self.proj, nn.Sequential) else self.proj)
        weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)  # in the order of the pixels' channels
        tokens = F.linear(patches.values, weight, convolution.bias)
        if patches.mask is None:
            return tokens
        mask = patches.mask.view(*tokens.shape[:-1], 1)
        return torch.where(mask, self.mask_token.to(tokens.dtype), tokens)

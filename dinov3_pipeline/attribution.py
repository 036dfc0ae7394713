"""Which pixels, and so which atoms, a prediction rests on.

Legend: V views of one crystal, S side of an image in pixels, N tokens of an image (P patches and a few others),
n sites of the unit cell.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pymatgen.core import Structure
from torch import Tensor, nn

from dinov3_pipeline.lit_patches import through_all
from dinov3_pipeline.network import DinoTcModel
from dinov3_pipeline.render.options import RenderOptions, view_names
from dinov3_pipeline.render.rendering import draw_views, prepare

BACKGROUND, BOND = -1, -2
FEWEST_STEPS, LARGEST_GAP = 16, 0.05


def attention_rollout(model: DinoTcModel, images: Tensor) -> NDArray[np.float32]:
    """Attention rollout: the part of the pooled output that comes from each pixel (V, S, S); each view sums to 1.

    Abnar & Zuidema 2020 (arXiv:2005.00928): heads averaged, half of the identity added for the residual path, layers
    multiplied. Patches are spread evenly over their pixels.
    """
    lit = model.read_patches(images)
    with torch.inference_mode(), _kept_attention(model.backbone) as attentions:
        if lit is None:
            model.forward_backbone(images)
        else:
            through_all(model.backbone, (images.float() - model.mean) / model.std, lit)
        tokens = _identity_like(attentions[0])
        for attention in attentions:
            tokens = (0.5 * attention + 0.5 * _identity_like(attention)) @ tokens
    patches = _pooled(model.backbone, tokens, lit)
    grid = int(round(patches.shape[1] ** 0.5))
    side = images.shape[-1] // grid
    maps = patches.reshape(-1, grid, grid).repeat_interleave(side, 1).repeat_interleave(side, 2)
    return (maps / maps.sum((1, 2), keepdim=True)).numpy()


@contextmanager
def _kept_attention(backbone: nn.Module) -> Iterator[list[Tensor]]:
    """Inside the block every attention matrix (V, N, N), averaged over heads, is appended to the list."""
    kept: list[Tensor] = []
    layers = [module for module in backbone.modules() if hasattr(module, "fused_attn")]
    fused = [layer.fused_attn for layer in layers]
    hooks = []
    for layer in layers:
        layer.fused_attn = False  # type: ignore[assignment]  # the fused kernel shows no matrix
        dropout: nn.Module = layer.attn_drop  # type: ignore[assignment]
        hooks.append(dropout.register_forward_hook(lambda _, __, matrix: kept.append(matrix.float().mean(1).cpu())))
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()
        for layer, was in zip(layers, fused, strict=True):
            layer.fused_attn = was


def _identity_like(matrices: Tensor) -> Tensor:
    return torch.eye(matrices.shape[-1]).expand_as(matrices)


def _pooled(backbone: nn.Module, tokens: Tensor, lit: Tensor | None) -> Tensor:
    """What the network's pooling takes from each patch: (V, N, N) to (V, P); `lit` those that are read, None: all."""
    others: int = backbone.num_prefix_tokens  # type: ignore[assignment]
    if backbone.global_pool != "avg":
        return tokens[:, 0, others:]
    patches = tokens[:, others:, others:]
    read = torch.ones(patches.shape[:2]) if lit is None else lit.float().cpu()
    return torch.einsum("vp,vpq->vq", read, patches) / read.sum(1, keepdim=True)


def converged_gradients(
    model: DinoTcModel, images: Tensor, most_steps: int, batch_size: int, others: Mapping[str, Tensor] | None = None
) -> tuple[NDArray[np.float32], float]:
    """Integrated gradients of as many steps as they need, and what they leave unexplained.

    Steps double from 16 until the sums of the views miss what they explain by 5 % on average: a smooth network needs
    16, one that reads Fourier features of the colour hundreds.

    Args:
        others: what the network reads beside the images (`DinoTcModel.crystal_inputs`). It stays as it is, and so
            does the crystal's palette: gradients say what the pixels add through the backbone. Retrieval is left out.

    Returns:
        Kelvins of each pixel (V, S, S), and the mean absolute gap of the views' sums in kelvin.
    """
    others = {**model.palette_input(images), **(others or {})}
    steps = min(FEWEST_STEPS, most_steps)
    with without_retrieval(model):
        with torch.inference_mode():
            explained_K = (model({**others, "images": images}) - black_K(model, images, others)).cpu().numpy()
        while True:
            added_K = integrated_gradients(model, images, steps, batch_size, others)
            gap_K = float(np.abs(added_K.sum((1, 2)) - explained_K).mean())
            if steps == most_steps or gap_K <= LARGEST_GAP * np.abs(explained_K).mean():
                return added_K, gap_K
            steps = min(2 * steps, most_steps)


def black_K(model: DinoTcModel, images: Tensor, others: Mapping[str, Tensor]) -> Tensor:
    """Kelvins (V,) for black in place of each image, from the same patches where the network skips empty ones."""
    features = model.forward_backbone(torch.zeros_like(images), model.read_patches(images))
    return model({**others, "features": features})


@contextmanager
def without_retrieval(model: DinoTcModel) -> Iterator[None]:
    """Inside the block the network predicts alone: a median of retrieved materials has no gradient."""
    retrieval, model.retrieval = model.retrieval, None
    try:
        yield
    finally:
        model.retrieval = retrieval


def integrated_gradients(
    model: DinoTcModel, images: Tensor, steps: int, batch_size: int, others: Mapping[str, Tensor] | None = None
) -> NDArray[np.float32]:
    """Kelvins that each pixel (V, S, S) adds to the prediction for a black image, where there is no atom.

    Sundararajan et al. 2017 (arXiv:1703.01365), through captum: the sum over a view's pixels is its prediction less
    that of the black image, the better the more `steps`. `others` as in `converged_gradients`.
    """
    from captum.attr import IntegratedGradients  # of the extra `study`

    others = {**model.palette_input(images), **(others or {})}

    def kelvin(pixels: Tensor, lit: Tensor | None = None) -> Tensor:
        return model({**others, "features": model.forward_backbone(pixels, lit)})

    integrated, options = IntegratedGradients(kelvin), {"n_steps": steps, "internal_batch_size": batch_size}
    tune, model.tune = model.tune, "full"
    try:
        added_K = [
            integrated.attribute(image.float(), additional_forward_args=model.read_patches(image), **options)
            for image in images.split(1)
        ]
    finally:
        model.tune = tune
    return torch.cat(added_K).sum(1).float().cpu().numpy()


def site_maps(structure: Structure, options: RenderOptions, image_size: int) -> NDArray[np.int64]:
    """Number of the site that each pixel (V, S, S) shows, or BACKGROUND or BOND.

    The crystal is rendered again with every site's number in place of its colour; nothing but a bond has a blue part.
    """
    geometry = prepare(structure, options)
    numbers = np.arange(1, len(structure) + 1)
    codes = np.stack([numbers % 256, numbers // 256, np.zeros_like(numbers)], 1).astype(np.uint8)
    coded = replace(geometry, colors=codes)
    drawn = draw_views(coded, view_names(options), replace(options, depth_cue=False))
    size = (image_size, image_size)
    sized = np.stack([cv2.resize(view, size, interpolation=cv2.INTER_NEAREST) for view in drawn]).astype(np.int64)
    return np.where(sized[..., 2] > 0, BOND, sized[..., 0] + 256 * sized[..., 1] - 1)


def by_site(values: NDArray[np.float32], sites: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Sum of `values` (V, S, S) over each site's pixels, then the bonds', then the background's: (count + 2,)."""
    where = np.where(sites == BOND, count, np.where(sites == BACKGROUND, count + 1, sites))
    return np.bincount(where.ravel(), values.ravel(), count + 2).astype(np.float64)

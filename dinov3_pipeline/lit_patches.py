"""Forward pass of a vision transformer over the patches that show anything (`--skip-empty-patches`).

Half of the patches of a rendered crystal are black. They are left out before the first block: the result is that of
the whole picture with the empty tokens masked out of attention. Lit patches keep their positions, learnt or rotary;
the mean over patches is one over lit patches; a picture without any keeps its first patch, black as it is.

The tokens of all pictures stand in one row, picture after picture, so nothing is padded. Layers that treat tokens one
by one do not notice; attention stays inside each picture.

Legend: B pictures, S their side in pixels, P patches of a picture in rows of `grid`, p side of a patch in pixels,
K patches kept of all pictures, R prefix tokens (class, registers), T = B R + K tokens in the row, D their width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from dinov3_pipeline.torchvision_operators import declare_missing_operators
from tc_common.errors import UserError

POOLS = ("token", "avg")


def require_plain_vit(backbone: Any, name: str) -> None:
    """Check that this pass knows all that timm's own forward pass does.

    Raises:
        UserError: a network of another kind, or one that pools in another way.
    """
    declare_missing_operators()
    from timm.layers import PatchEmbed
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    known = type(backbone) in (Eva, VisionTransformer) and type(backbone.patch_embed) is PatchEmbed
    if not known or backbone.attn_pool is not None or backbone.global_pool not in POOLS:
        raise UserError(
            f"--skip-empty-patches cannot be had with --backbone {name}: it needs a plain vision transformer that "
            "reads patches by one convolution and pools by its class token or a mean; leave the flag out"
        )


def lit_patches(images: Tensor, side: int) -> Tensor:
    """Patches (B, P) of images (B, 3, S, S) with a pixel that is not black; the first one where none has."""
    number, grid = len(images), images.shape[-1] // side
    red, green, blue = (images != 0).unbind(1)
    lit = (red | green | blue).view(number, grid, side, grid, side).any(2).any(3).flatten(1)
    lit[:, 0] |= ~lit.any(1)
    return lit


def features_of_lit(backbone: Any, images: Tensor, lit: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Features (B, D) of images (B, 3, S, S) from 0 to 255, of the patches `lit` (B, P) alone."""
    assert lit.shape[1] == backbone.patch_embed.num_patches, f"{lit.shape[1]} patches of a picture"
    row = _Row.of(lit, backbone.num_prefix_tokens)
    tokens = _embedded(backbone, images, row, mean, std)
    tokens = backbone.norm_pre(backbone.pos_drop(tokens[None]))
    tokens = backbone.norm(_through_blocks(backbone, tokens, row))
    return backbone.head(backbone.head_drop(backbone.fc_norm(_pooled(backbone, tokens[0], row))))


def through_all(backbone: Any, pixels: Tensor, lit: Tensor) -> None:
    """The same pass over all tokens of normalised pixels (B, 3, S, S), empty ones masked: for hooks on attention."""
    mask = F.pad(lit, (backbone.num_prefix_tokens, 0), value=True)
    backbone.forward_features(pixels, attn_mask=mask[:, None, None])


@dataclass(frozen=True)
class _Row:
    """Which token stands where."""

    prefix: int
    """R"""
    picture: Tensor
    """(K,) picture of each kept patch, rising."""
    patch: Tensor
    """(K,) its number in the picture, row by row."""
    order: Tensor
    """(T,) the row's tokens, as numbers of first all prefixes (B R), then all patches."""
    lengths: list[int]
    """(B,) tokens of each picture."""

    @classmethod
    def of(cls, lit: Tensor, prefix: int) -> "_Row":
        picture, patch = lit.nonzero(as_tuple=True)
        of_prefix = torch.arange(len(lit), device=lit.device).repeat_interleave(prefix)
        order = torch.cat([of_prefix, picture]).argsort(stable=True)
        return cls(prefix, picture, patch, order, (lit.sum(1) + prefix).tolist())

    def arrange(self, prefixes: Tensor, patches: Tensor) -> Tensor:
        """Prefixes (R, …), the same for all pictures, and kept patches (K, …) in the order of the row (T, …)."""
        repeated = prefixes.repeat(len(self.lengths), *[1] * (prefixes.ndim - 1))
        return torch.cat([repeated, patches])[self.order]


def _embedded(backbone: Any, images: Tensor, row: _Row, mean: Tensor, std: Tensor) -> Tensor:
    """The row's tokens (T, D), learnt positions added."""
    side = backbone.patch_embed.patch_size[0]
    grid = images.shape[-1] // side
    cut = images.view(len(images), 3, grid, side, grid, side)
    kept = cut[row.picture, :, row.patch // grid, :, row.patch % grid, :]  # (K, 3, p, p)
    patches = backbone.patch_embed.norm(_projected(backbone.patch_embed.proj, (kept.float() - mean) / std))
    prefixes = [part[0] for part in (backbone.cls_token, backbone.reg_token) if part is not None]
    prefix = torch.cat(prefixes) if prefixes else patches.new_empty(0, patches.shape[1])
    if backbone.pos_embed is not None:
        positions = backbone.pos_embed[0]
        if not backbone.no_embed_class:
            prefix, positions = prefix + positions[: row.prefix], positions[row.prefix :]
        patches = patches + positions[row.patch]
    return row.arrange(prefix, patches)


def _projected(projection: nn.Module, patches: Tensor) -> Tensor:
    """Patches (K, 3, p, p) to (K, D); a convolution of a single patch is one product, and faster as such."""
    if type(projection) is nn.Conv2d:
        return F.linear(patches.flatten(1), projection.weight.flatten(1), projection.bias)
    return projection(patches).flatten(1)


def _through_blocks(backbone: Any, tokens: Tensor, row: _Row) -> Tensor:
    """Tokens (1, T, D) through all blocks."""
    inside = AttentionByPicture(row.lengths)
    rotary = _rotary(backbone, row)
    for number, block in enumerate(backbone.blocks):
        options: dict[str, Any] = {}
        if rotary is not None:
            options["rope"] = rotary[number] if backbone.rope_mixed else rotary
        if backbone.grad_checkpointing and torch.is_grad_enabled():
            tokens = checkpoint(inside.call, block, tokens, use_reentrant=False, **options)
        else:
            tokens = inside.call(block, tokens, **options)
    return tokens


def _rotary(backbone: Any, row: _Row) -> Tensor | None:
    """Sines and cosines (…, T - R, 2 d) of the row, or None. timm rotates nothing of the first R tokens; the prefixes
    of the other pictures are rotated by 0."""
    rope = getattr(backbone, "rope", None)
    if rope is None:
        return None
    cached = hasattr(rope, "feat_shape") and not backbone.dynamic_img_size
    table = rope.get_embed(**({} if cached else {"shape": backbone.patch_embed.grid_size}))
    still = torch.zeros_like(table[..., :1, :])
    still[..., table.shape[-1] // 2 :] = 1
    number = row.arrange(row.patch.new_full((row.prefix,), table.shape[-2]), row.patch)
    return torch.cat([table, still], dim=-2)[..., number[row.prefix :], :]


def _pooled(backbone: Any, tokens: Tensor, row: _Row) -> Tensor:
    """The class token, or the mean over the kept patches, (B, D)."""
    pictures = tokens.split(row.lengths)
    if backbone.global_pool == "token":
        return torch.stack([picture[0] for picture in pictures])
    first = 0 if getattr(backbone, "pool_include_prefix", False) else row.prefix
    return torch.stack([picture[first:].mean(0) for picture in pictures])


class AttentionByPicture(TorchFunctionMode):
    """Inside it, attention over a row of tokens (1, H, T, d) is computed picture by picture.

    It takes the place of `scaled_dot_product_attention`, which every attention layer of timm calls when `fused_attn`
    is set: no layer has to be written anew.

    Args:
        lengths: tokens of each picture, T in all.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        super().__init__()
        self.lengths, self.calls = [*lengths], 0

    def call(self, block: nn.Module, tokens: Tensor, **options: Any) -> Tensor:
        """`block(tokens, **options)`, whose attention must have come through here."""
        before = self.calls
        with self:
            result: Tensor = block(tokens, **options)
        assert self.calls > before, f"{type(block).__name__} computes attention in a way of its own"
        return result

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not F.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        self.calls += 1
        return self.attend(*args, **(kwargs or {}))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Tensor:
        """One by one on a processor; elsewhere at once, padded to the longest."""
        assert attn_mask is None, "a bias between tokens of different pictures has no meaning"
        if q.device.type != "cpu":
            return self.attend_padded(q, k, v, **options)
        attention = products if q.dtype == torch.bfloat16 else F.scaled_dot_product_attention
        parts = zip(*(part.split(self.lengths, dim=2) for part in (q, k, v)), strict=True)
        return torch.cat([attention(*part, **options) for part in parts], dim=2)

    def attend_padded(self, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        """All pictures in one product, those that are shorter than the longest masked at their end."""
        lengths = torch.tensor(self.lengths, device=q.device)
        mask = torch.arange(max(self.lengths), device=q.device) < lengths[:, None]  # (B, N)
        where = mask.flatten().nonzero()[:, 0]

        def padded(row: Tensor) -> Tensor:
            wide = row.new_zeros(mask.numel(), *row.shape[1::2]).index_copy(0, where, row[0].transpose(0, 1))
            return wide.view(*mask.shape, *row.shape[1::2]).transpose(1, 2)

        q, k, v = (padded(row.to(v.dtype)) for row in (q, k, v))
        # keys beyond a picture's end are masked; queries there are computed and dropped
        result = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None], **options)
        return result.transpose(1, 2).flatten(0, 1)[where].transpose(0, 1)[None]


def products(q: Tensor, k: Tensor, v: Tensor, dropout_p: float = 0.0, **_: Any) -> Tensor:
    """Attention as plain products: on a processor in bf16 faster than the fused kernel, backwards above all."""
    weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
    return F.dropout(weights, dropout_p) @ v

"""Low-rank adapters (PEFT) in a frozen vision transformer, with proof that they act.

LoRA: y = W x + (alpha / r) B A x with A (r, in) and B (out, r) trained, B = 0 at the start (Hu et al. 2021,
arXiv:2106.09685). Rank-stabilised: alpha / sqrt(r) (arXiv:2312.03732). DoRA: a trained magnitude beside the direction
(arXiv:2402.09353).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dinov3_pipeline.torchvision_operators import declare_missing_operators
from tc_common.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Size and place of the adapters."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.1
    targets: tuple[str, ...] = ("attn.qkv",)
    rank_stabilised: bool = False
    dora: bool = False


def add_adapters(backbone: nn.Module, lora: Lora) -> None:
    """Freeze `backbone` and put trainable adapters on the linear layers whose name ends with one of the targets.

    Raises:
        UserError: a target that names no layer, or layers that LoRA cannot adapt.
    """
    for target in lora.targets:
        if not any(name.endswith(target) for name, _ in backbone.named_modules()):
            names = sorted({name.split(".", 2)[2] for name, _ in backbone.named_modules() if name.count(".") >= 2})
            raise UserError(f"--lora-targets {target} names no layer of this backbone; it has {', '.join(names)}")
    peft = _peft()
    settings = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        use_rslora=lora.rank_stabilised,
        use_dora=lora.dora,
        bias="none",
    )
    settings._register_custom_module({nn.Linear: _layer_class()})
    try:
        peft.inject_adapter_in_model(settings, backbone)
    except ValueError as error:
        raise UserError(f"--lora-targets {' '.join(lora.targets)}: {str(error).splitlines()[0]}") from error


def adapters(backbone: nn.Module) -> list[tuple[str, Any]]:
    """The adapted layers (`peft.tuners.lora.LoraLayer`), by name."""
    kind = _peft().tuners.lora.LoraLayer
    return [(name, module) for name, module in backbone.named_modules() if isinstance(module, kind)]


def _layer_class() -> type[nn.Module]:
    declare_missing_operators()
    from dinov3_pipeline.lora_linear import OneProductLinear

    return OneProductLinear


def _peft() -> Any:
    """The library, imported once its import of torchvision (through transformers) can succeed."""
    declare_missing_operators()
    import peft

    return peft


@torch.inference_mode()
def check_adapters_act(backbone: nn.Module, image_size: int, lora: Lora) -> None:
    """Prove that non-zero adapters change the output, one target at a time.

    timm's `*_qkvb` variants read `qkv.weight` without calling the layer, so that adapters on it would train nothing.

    Raises:
        UserError: a target whose adapters the network does not use.
    """
    was_training = backbone.training
    backbone.eval()
    pictures = torch.linspace(-1, 1, 3 * image_size**2).reshape(1, 3, image_size, image_size)
    pictures = pictures.to(next(backbone.parameters()).device)
    before: Tensor = backbone(pictures)
    for target in lora.targets:
        with _non_zero([layer for name, layer in adapters(backbone) if name.endswith(target)]):
            if torch.equal(backbone(pictures), before):
                raise UserError(
                    f"adapters on {target} do not change the output of this backbone (timm's *_qkvb variants bypass "
                    "attn.qkv); take the variant without qkvb, or other --lora-targets"
                )
    backbone.train(was_training)


@contextmanager
def _non_zero(layers: list[Any]) -> Iterator[None]:
    """Inside the block every B is the constant 0.1."""
    weights = [layer.lora_B["default"].weight for layer in layers]
    kept = [weight.detach().clone() for weight in weights]
    for weight in weights:
        nn.init.constant_(weight, 0.1)
    try:
        yield
    finally:
        for weight, old in zip(weights, kept, strict=True):
            weight.copy_(old)


def merge(backbone: nn.Module) -> None:
    """Add the adapters into the weights they adapt: the same function, computed without them.

    Raises:
        ValueError: the merged weights are not finite.
    """
    for _, layer in adapters(backbone):
        layer.merge(safe_merge=True)


def unmerge(backbone: nn.Module) -> None:
    """Take merged adapters out again (the weights return to within rounding)."""
    for _, layer in adapters(backbone):
        layer.unmerge()

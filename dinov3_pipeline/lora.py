"""Low-rank adapters (PEFT) in a frozen vision transformer, and a check that they act.

LoRA: y = W x + (alpha / r) B A x with A (r, in) and B (out, r) trained, B = 0 at the start (Hu et al. 2021,
arXiv:2106.09685).
"""

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from tyro.conf import arg

from dinov3_pipeline.torchvision_operators import declare_missing_operators
from tc_common.errors import UserError

ADAPTER = "default"


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters (--tune lora)."""

    rank: Annotated[int, arg(name="lora-rank")] = 16
    """Rank r of the adapters (>= 1)."""
    alpha: Annotated[float, arg(name="lora-alpha")] = 32.0
    """Adapters are scaled by alpha / r (> 0)."""
    dropout: Annotated[float, arg(name="lora-dropout")] = 0.1
    """Dropout before the adapters (0 to below 1)."""
    targets: Annotated[tuple[str, ...], arg(name="lora-targets")] = ("attn.qkv",)
    """Layers that get adapters, by the end of their name: attn.qkv, attn.proj, mlp.fc1, mlp.fc2."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"--lora-rank must be at least 1, got {self.rank}")
        if not self.alpha > 0:
            raise ValueError(f"--lora-alpha must be > 0, got {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--lora-dropout must be from 0 to below 1, got {self.dropout}")

    def plain(self) -> dict[str, Any]:
        """JSON-ready values under their flags' names, `lora_rank` and so on."""
        return {f"lora_{name}": list(value) if name == "targets" else value for name, value in vars(self).items()}

    @classmethod
    def from_plain(cls, settings: Mapping[str, Any]) -> "Lora":
        """The adapters of a trainer's settings; what else is in there is ignored."""
        given = {name: settings[f"lora_{name}"] for name in cls.__dataclass_fields__}
        return cls(**{**given, "targets": tuple(given["targets"])})


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
        bias="none",
    )
    settings._register_custom_module({nn.Linear: _one_product_linear()})
    try:
        peft.inject_adapter_in_model(settings, backbone)
    except ValueError as error:
        raise UserError(f"--lora-targets {' '.join(lora.targets)}: {str(error).splitlines()[0]}") from error


def adapters(backbone: nn.Module) -> list[tuple[str, Any]]:
    """The adapted layers (`peft.tuners.lora.LoraLayer`), by name."""
    kind = _peft().tuners.lora.LoraLayer
    return [(name, module) for name, module in backbone.named_modules() if isinstance(module, kind)]


def _peft() -> Any:
    """The library, imported once its import of torchvision (through transformers) can succeed."""
    declare_missing_operators()
    import peft

    return peft


@functools.cache
def _one_product_linear() -> type[nn.Module]:
    """PEFT's LoRA layer, with the adapter added in place inside one matrix product."""

    class OneProductLinear(_peft().tuners.lora.Linear):  # type: ignore[misc]
        """W x + s B (A x), where PEFT scales and adds in two further passes over the widest activations."""

        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            """(…, in) to (…, out); merged or switched off, as in PEFT."""
            if self.merged or self.disable_adapters:
                plain: Tensor = super().forward(x, *args, **kwargs)
                return plain
            if torch.is_autocast_enabled(x.device.type):  # once, where both products would each round x by themselves
                x = x.to(torch.get_autocast_dtype(x.device.type))
            wide: Tensor = self.base_layer(x, *args, **kwargs)
            narrow = self.lora_A[ADAPTER](self.lora_dropout[ADAPTER](x))
            up = self.lora_B[ADAPTER].weight.t().to(wide.dtype)
            wide.view(-1, wide.shape[-1]).addmm_(narrow.flatten(0, -2), up, alpha=self.scaling[ADAPTER])
            return wide

    return OneProductLinear


@torch.inference_mode()
def check_adapters_act(backbone: nn.Module, image_size: int, lora: Lora) -> None:
    """Check that non-zero adapters change the output, one target at a time.

    timm's `*_qkvb` variants read `qkv.weight` without calling the layer, so that adapters on it would train nothing.

    Raises:
        UserError: a target whose adapters the network does not use.
    """
    was_training = backbone.training
    backbone.eval()
    images = torch.linspace(-1, 1, 3 * image_size**2).reshape(1, 3, image_size, image_size)
    images = images.to(next(backbone.parameters()).device)
    before: Tensor = backbone(images)
    for target in lora.targets:
        with _non_zero([layer for name, layer in adapters(backbone) if name.endswith(target)]):
            if torch.equal(backbone(images), before):
                raise UserError(
                    f"adapters on {target} do not change the output of this backbone (timm's *_qkvb variants bypass "
                    "attn.qkv); take the variant without qkvb, or other --lora-targets"
                )
    backbone.train(was_training)


@contextmanager
def _non_zero(layers: list[Any]) -> Iterator[None]:
    """Inside the block every B is the constant 0.1."""
    weights = [layer.lora_B[ADAPTER].weight for layer in layers]
    kept = [weight.detach().clone() for weight in weights]
    for weight in weights:
        nn.init.constant_(weight, 0.1)
    try:
        yield
    finally:
        for weight, old in zip(weights, kept, strict=True):
            weight.copy_(old)

"""One variant of the vision model's step, timed in a process of its own (peak memory belongs to a process).

    python -m benchmarks._vision_step --variant ours-bf16

Prints one line of JSON. Legend: B images of a batch.
"""

import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import psutil
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dinov3_pipeline.network import DEFAULT_BACKBONE, create_dino_model
from dinov3_pipeline.torchvision_operators import declare_missing_operators
from tc_common import cli
from tc_common.devices import Placement
from tc_common.environment import peak_rss_MB

Variant = Literal["plain-fp32", "ours-fp32", "ours-bf16", "ours-bf16-checkpointing", "ours-bf16-compiled"]


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """What to time."""

    variant: Variant = "ours-bf16"
    """plain-fp32 is timm and PEFT as a user would write it, the others are this project's model."""
    device: str = "cpu"
    """cpu, cuda or mps."""
    steps: int = 4
    """Timed steps, after one that is not (>= 1)."""
    inference: bool = False
    """Time predictions instead of training steps."""
    batch_size: int = 8
    """Images computed at once, B (>= 1)."""
    count: bool = False
    """Count floating-point operations of a step instead of timing it."""


class Plain(nn.Module):
    """ViT-B, LoRA on qkv and the head, without anything of this project."""

    def __init__(self) -> None:
        super().__init__()
        declare_missing_operators()
        import peft
        import timm

        vit = timm.create_model(DEFAULT_BACKBONE, num_classes=0, img_size=224)
        lora = peft.LoraConfig(r=16, lora_alpha=32, lora_dropout=0.1, target_modules=["attn.qkv"])
        self.vit = peft.get_peft_model(vit, lora)
        widths = [nn.Linear(768, 512), nn.Linear(512, 256), nn.Linear(256, 1)]
        self.head = nn.Sequential(
            widths[0], nn.GELU(), nn.Dropout(0.1), widths[1], nn.GELU(), nn.Dropout(0.1), widths[2]
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, 224, 224) to (B,)."""
        kelvin: Tensor = self.head(self.vit(images)).squeeze(1)
        return kelvin


def main(config: StepConfig) -> None:
    """Build the variant, time or count its step, print one line."""
    torch.manual_seed(0)
    device = torch.device(config.device)
    model, call = plain(config, device) if config.variant == "plain-fp32" else ours(config, device)
    step = prediction(model, call) if config.inference else training_step(model, call, config.batch_size)
    facts = {"variant": config.variant, "inference": config.inference, "device": config.device}
    print(json.dumps({**facts, **(counted(step) if config.count else timed(step, config, device))}))


def plain(config: StepConfig, device: torch.device) -> tuple[nn.Module, Callable[[], Tensor]]:
    """The plain network and its forward pass in fp32."""
    model, images = Plain().to(device), torch.rand(config.batch_size, 3, 224, 224, device=device)
    return model, lambda: model(images)


def ours(config: StepConfig, device: torch.device) -> tuple[nn.Module, Callable[[], Tensor]]:
    """This project's network and its forward pass as the trainer runs it."""
    placement = Placement(device, "bf16" in config.variant)
    model = create_dino_model(init="random", gradient_checkpointing="checkpointing" in config.variant).to(device)
    model.adapt_to(placement)
    if "compiled" in config.variant:
        model.backbone.compile()
    images = torch.randint(0, 256, (config.batch_size, 3, 224, 224), dtype=torch.uint8, device=device)

    def call() -> Tensor:
        context: AbstractContextManager[Any] = placement.autocast() if placement.bf16 else nullcontext()
        with context:
            kelvin: Tensor = model({"images": images})
            return kelvin

    return model, call


def training_step(model: nn.Module, call: Callable[[], Tensor], batch_size: int) -> Callable[[], object]:
    """Forward, loss, backward, clipping and AdamW on what is trained."""
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.01)
    tc_K = torch.linspace(0, 100, batch_size, device=trained[0].device)

    def step() -> None:
        nn.functional.mse_loss(call(), tc_K).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def prediction(model: nn.Module, call: Callable[[], Tensor]) -> Callable[[], object]:
    """Forward alone, in evaluation mode."""
    model.eval()

    def step() -> Tensor:
        with torch.inference_mode():
            return call()

    return step


def timed(step: Callable[[], object], config: StepConfig, device: torch.device) -> dict[str, Any]:
    """Wall-clock and processor seconds of the steps after the first, and the memory of all of them."""
    walls, cpus, resident = [], [], []
    for _ in range(1 + config.steps):
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        resident.append(psutil.Process().memory_info().rss)
    return {
        "wall_s": statistics.median(walls[1:]), "cpu_s": statistics.median(cpus[1:]),
        "peak_rss_MB": peak_rss_MB(),
        "rss_growth_MB": (resident[-1] - resident[0]) / 2**20,
        "gpu_peak_MB": torch.cuda.max_memory_allocated() >> 20 if device.type == "cuda" else None,
    }  # fmt: skip


def counted(step: Callable[[], object]) -> dict[str, Any]:
    """Floating-point operations of the matrix products of one step (a multiplication and an addition are two)."""
    with FlopCounterMode(display=False) as counter:
        step()
    return {"gflop": counter.get_total_flops() / 1e9}


if __name__ == "__main__":
    cli.run(lambda: main(cli.parse(StepConfig, prog="python -m benchmarks._vision_step", description=__doc__ or "")))

"""One variant of the vision model, timed in a process of its own (peak memory belongs to a process).

    python -m benchmarks._vision_step --variant lit-bf16 --pictures FILE.npy

Predicts some crystals, then trains some steps; prints one line of JSON. Legend: M crystals, V views of each, B images
of a batch, S their side in pixels.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from dinov3_pipeline.images import ImageArray
from dinov3_pipeline.network import DEFAULT_BACKBONE, create_dino_model
from dinov3_pipeline.torchvision_operators import declare_missing_operators
from tc_common import cli
from tc_common.devices import Placement, find_device
from tc_common.environment import peak_rss_MB

Variant = Literal["plain-fp32", "ours-fp32", "ours-bf16", "ours-bf16-checkpointing", "lit-bf16", "lit-fp32"]


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """What to time."""

    pictures: Path
    """Images (M, V, S, S, 3) uint8, .npy."""
    variant: Variant = "lit-bf16"
    """plain-fp32 is timm and PEFT as a user would write it, the others are this project's model; lit skips empty
    patches."""
    backbone: str = DEFAULT_BACKBONE
    """Vision transformer by its name in timm."""
    device: str = "cpu"
    """cpu, cuda or mps."""
    crystals: int = 2
    """Crystals to predict, all views of one at once (>= 1)."""
    steps: int = 3
    """Training steps (>= 1)."""
    batch_size: int = 8
    """Images of a training step, B (>= 1)."""
    seed: int = 0
    """Which crystals, and which pictures in which step: the same for all variants."""


class Plain(nn.Module):
    """A ViT with LoRA on qkv and the head, without anything of this project."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str, image_size: int) -> None:
        super().__init__()
        declare_missing_operators()
        import peft
        import timm

        vit: Any = timm.create_model(backbone, num_classes=0, img_size=image_size)
        lora = peft.LoraConfig(r=16, lora_alpha=32, lora_dropout=0.1, target_modules=["attn.qkv"])
        self.vit = peft.get_peft_model(vit, lora)
        layers = [nn.Linear(vit.num_features, 512), nn.GELU(), nn.Dropout(0.1), nn.Linear(512, 256), nn.GELU()]
        self.head = nn.Sequential(*layers, nn.Dropout(0.1), nn.Linear(256, 1))
        self.register_buffer("mean", 255 * torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Images (B, 3, S, S) to (B,)."""
        kelvin: Tensor = self.head(self.vit((batch["images"].float() - self.mean) / self.std)).squeeze(1)
        return kelvin


def main(config: StepConfig) -> None:
    """Build the variant, time it, print one line."""
    torch.manual_seed(0)
    device = find_device(config.device)
    pictures = np.load(config.pictures, mmap_mode="r", allow_pickle=False)
    model, bf16 = build(config, pictures.shape[2], device), "bf16" in config.variant
    order = np.random.default_rng(config.seed)
    crystals = order.choice(len(pictures), min(config.crystals, len(pictures)), replace=False)
    flat = pictures.reshape(-1, *pictures.shape[2:])
    batches = order.integers(len(flat), size=(config.steps, config.batch_size))
    facts: dict[str, Any] = {"variant": config.variant}
    for name, step, parts in (
        ("prediction", prediction(model, Placement(device, bf16)), (pictures[each] for each in crystals)),
        ("training", training_step(model, Placement(device, bf16)), (flat[np.sort(each)] for each in batches)),
    ):
        facts[name] = timed(step, parts, flat[:2], device)
    print(json.dumps(facts))


def build(config: StepConfig, image_size: int, device: torch.device) -> nn.Module:
    """The plain network, or this project's as the trainer runs it."""
    if config.variant == "plain-fp32":
        return Plain(config.backbone, image_size).to(device)
    model = create_dino_model(
        backbone=config.backbone,
        image_size=image_size,
        init="random",
        gradient_checkpointing="checkpointing" in config.variant,
        skip_empty_patches="lit" in config.variant,
    ).to(device)
    model.adapt_to(Placement(device, "bf16" in config.variant))
    return model


def training_step(model: nn.Module, placement: Placement) -> Callable[[Tensor], object]:
    """Forward, loss, backward, clipping and AdamW on what is trained."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.01)

    def step(images: Tensor) -> None:
        model.train()
        tc_K = torch.linspace(0, 100, len(images), device=images.device)
        with placement.autocast():
            loss = nn.functional.mse_loss(model({"images": images}), tc_K)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def prediction(model: nn.Module, placement: Placement) -> Callable[[Tensor], object]:
    """Forward alone, in evaluation mode."""

    def step(images: Tensor) -> float:
        model.eval()
        with torch.inference_mode(), placement.autocast():
            return float(model({"images": images}).mean())

    return step


def timed(
    step: Callable[[Tensor], object],
    parts: Iterable[ImageArray],
    warm_up: ImageArray,
    device: torch.device,
) -> dict[str, Any]:
    """Wall-clock and processor seconds of all parts (B, S, S, 3) after a warm-up, and the peak memory so far."""
    step(as_tensor(warm_up, device))
    images = [as_tensor(part, device) for part in parts]
    synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    for each in images:
        step(each)
    synchronise(device)
    return {
        "images": sum(map(len, images)),
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_rss_MB": peak_rss_MB(),
        "gpu_peak_MB": torch.cuda.max_memory_allocated() >> 20 if device.type == "cuda" else None,
    }


def as_tensor(images: ImageArray, device: torch.device | str = "cpu") -> Tensor:
    """(B, S, S, 3) as the network reads them, (B, 3, S, S) on the device."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    cli.run(lambda: main(cli.parse(StepConfig, prog="python -m benchmarks._vision_step", description=__doc__ or "")))

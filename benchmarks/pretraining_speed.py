"""Measure a step of the vision pre-training against the plain one: fp32, and a convolution of the pixels.

    python -m benchmarks.pretraining_speed    # one core, published size, 64 crystals of the sample a step: 2 minutes

The variants take turns in one process, so that a slow spell of the machine meets both; times are of the processor
(other programs may run), medians over the rounds. Writes `benchmarks/results/pretraining_speed.json`.
"""

import json
import statistics
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks._machine import machine
from dinov3_pipeline.backbones import create_backbone
from dinov3_pipeline.crops import CropDataset, collate_crops, rendered_views
from dinov3_pipeline.patches import Patches
from dinov3_pipeline.pretrain import PretrainConfig, build_model
from dinov3_pipeline.render.options import RenderOptions
from dinov3_pipeline.self_distillation import SelfDistillation
from tc_common.cli import parse, run
from tc_common.environment import git_commit, peak_rss_MB
from tc_common.files import write_json
from tc_common.task import Batch

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """How long to measure."""

    rounds: int = 15
    """Steps of each variant (>= 1), after two that are not counted."""
    out: Path = Path("benchmarks/results")
    """Folder for the JSON file."""


class ByPixel(nn.Module):
    """timm's own embedding of normalised pixels in the place of `PatchEmbedding`."""

    def __init__(self, embedding: nn.Module, mask_token: nn.Parameter) -> None:
        super().__init__()
        self.embedding, self.mask_token = embedding, mask_token

    def cut(self, images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Normalised pixels."""
        return (images.float() - mean) / std

    def forward(self, patches: Patches) -> Tensor:
        """Tokens (N, H, W, D)."""
        tokens: Tensor = self.embedding(patches.values)
        if patches.mask is None:
            return tokens
        return torch.where(patches.mask.view(*tokens.shape[:-1], 1), self.mask_token.to(tokens.dtype), tokens)


def main(config: SpeedConfig) -> None:
    """Measure, write."""
    torch.set_num_threads(1)
    settings = PretrainConfig()
    batch, seconds_to_feed = real_batch(settings)
    steps = {"plain fp32": plain_step(settings, batch), "bf16": our_step(settings, batch)}
    rounds = [{name: timed(step) for name, step in steps.items()} for _ in range(2 + config.rounds)][2:]
    seconds = {name: [times[name] for times in rounds] for name in steps}
    views = settings.batch_size * (2 + settings.crops.crops)
    ratios = [plain / ours for plain, ours in zip(*seconds.values(), strict=True)]
    report = {
        "command": "python -m benchmarks.pretraining_speed",
        "machine": machine() | {"threads": 1},
        "step": f"{settings.batch_size} crystals, 2 views of 32 px and {settings.crops.crops} of 16 px each",
        "images_per_s": {name: round(views / statistics.median(values), 1) for name, values in seconds.items()},
        "times_plain": {
            name: round(f(ratios), 2) for name, f in (("median", statistics.median), ("min", min), ("max", max))
        },
        "ms_to_feed_a_step": round(1000 * seconds_to_feed, 1),
        "peak_rss_MB": peak_rss_MB(),
        "git_commit": git_commit(),
    }  # fmt: skip
    write_json(config.out / "pretraining_speed.json", report)
    print(json.dumps(report, indent=2))


def timed(step: Any) -> float:
    """Seconds of the processor."""
    begun = time.process_time()
    step()
    return time.process_time() - begun


def real_batch(settings: PretrainConfig) -> tuple[Batch, float]:
    """A batch of the sample's crystals, and the seconds that it takes to make one."""
    sample = pd.read_csv(ROOT / "data/sample/sample.csv").head(settings.batch_size)
    sample = sample.assign(cif=[str(ROOT / cif) for cif in sample["cif"]])
    options = RenderOptions(
        image_size=settings.image_size, bonds="none", radius_scale=0.8,
        supercells=settings.supercells, random_views=settings.random_views,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        images = rendered_views(sample, options, settings.image_size, Path(folder))
        dataset = CropDataset(sample, images, settings.crops, grid=settings.image_size // 8)
        begun = time.process_time()
        batch = collate_crops([dataset[index] for index in range(len(dataset))])
    return batch, time.process_time() - begun


def our_step(settings: PretrainConfig, batch: Batch) -> Any:
    """A step as the trainer takes it: colours looked up, products in bf16."""
    model = build_model(settings)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
    return stepper(settings, model, batch, bf16=True)


def plain_step(settings: PretrainConfig, batch: Batch) -> Any:
    """The same losses in fp32, with timm's patch embedding."""
    model = build_model(settings)
    torch.manual_seed(settings.seed)
    for side in (model.student, model.teacher):
        ours: Any = side.backbone.patch_embed
        embedding = timm_embedding(settings)
        embedding.proj = ours.proj
        side.backbone.patch_embed = ByPixel(embedding, ours.mask_token)
    return stepper(settings, model, batch, bf16=False)


def timm_embedding(settings: PretrainConfig) -> nn.Module:
    """A new patch embedding of timm's."""
    backbone, _ = create_backbone(settings.backbone, settings.image_size, "random", settings.shape)
    return backbone.get_submodule("patch_embed")


def stepper(settings: PretrainConfig, model: SelfDistillation, batch: Batch, bf16: bool) -> Any:
    """Function that takes one optimiser step and updates the teacher."""
    optimizer = torch.optim.AdamW(model.student.parameters(), lr=settings.lr)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            loss = model(batch, 0.07)
        loss.backward()
        nn.utils.clip_grad_norm_(model.student.parameters(), settings.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        model.update_teacher(0.99)

    return step


if __name__ == "__main__":
    run(lambda: main(parse(SpeedConfig, prog="python -m benchmarks.pretraining_speed", description=__doc__ or "")))

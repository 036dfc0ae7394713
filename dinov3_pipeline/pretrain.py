"""Pre-train a vision backbone on rendered crystals without their Tc, and write the weights that the project ships.

    python -m dinov3_pipeline.pretrain    # reads data/processed; writes models/pretrained/dino_crystals.safetensors

Self-distillation (`dinov3_pipeline.self_distillation`: DINO, iBOT, KoLeo): two views of a crystal must get one
description. It learns from every structure in the split files, `other_structures.csv` among them, except those of
validation and test compositions of `--exclude-split`; `render_config.json` in `--images-dir` says how they are drawn.
Labels serve one purpose: after every epoch the history states the error of the nearest neighbours' Tc on validation
materials. Cost and result of the shipped weights are in their card, models/pretrained/dino_crystals.json.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import torch
from torch import Tensor
from tyro.conf import OmitArgPrefixes, Suppress

from dinov3_pipeline.backbones import CRYSTALS, PRETRAINED_HERE, SMALLEST_SPREAD, Shape, create_backbone
from dinov3_pipeline.crops import CropDataset, Crops, collate_crops, rendered_views
from dinov3_pipeline.images import ImageArray
from dinov3_pipeline.network import create_dino_model
from dinov3_pipeline.probe import Probe, describe, require_spread
from dinov3_pipeline.render.options import SUPERCELLS, RenderOptions, read_render_options
from dinov3_pipeline.self_distillation import Distillation, SelfDistillation
from tc_common.augmentation import StructureAugmentation
from tc_common.cli import log, parse, run, set_up_log
from tc_common.devices import place
from tc_common.environment import git_commit, peak_rss_MB
from tc_common.errors import UserError
from tc_common.files import sha256, write_json
from tc_common.model_files import half_state, write_tensors
from tc_common.runs import Run, started
from tc_common.splits import composition_keys, limited, read_other_structures, read_splits, splits_sha256
from tc_common.structures import Structures
from tc_common.targets import TargetKind
from tc_common.task import Batch, ScheduleKind, Task, TrainConfig, chunked, shuffled_batches
from tc_common.training import Trainer

STEM = "dino_crystals"
PROBE_MATERIALS = 2000
PAPERS = "DINO arXiv:2104.14294, iBOT arXiv:2111.07832, DINOv2 arXiv:2304.07193, DINOv3 arXiv:2508.10104"
PRIVATE = (
    "data_dir", "images_dir", "models_dir", "results_dir", "cache_dir", "exclude_split", "output", "log_file",
    "further", "extra_structures",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainConfig):
    """Settings of the pre-training."""

    images_dir: Path = Path("data/images")
    """Folder whose render_config.json says how crystals are drawn; its images are not read."""
    exclude_split: Path | None = None
    """Folder with val.csv and test.csv, whose compositions are left out (default: --data-dir)."""
    output: Path = CRYSTALS
    """The weights to write (.safetensors), and their card (.json, same name)."""
    models_dir: Path = Path("runs/pretrain_vision")
    """Folder for checkpoints."""
    results_dir: Path = Path("runs/pretrain_vision")
    """Folder for settings and history."""
    cache_dir: Path = Path("data/cache")
    """Folder for the rendered views (3,072 bytes a view at 32 pixels)."""
    backbone: str = "vit_small_patch16_dinov3"
    """Vision transformer by its name in timm, one with rotary positions."""
    image_size: int = 32
    """Side of the large views in pixels (>= 32), a multiple of the patch."""
    shape: Annotated[Shape, OmitArgPrefixes] = field(
        default_factory=lambda: Shape(patch_size=8, width=128, depth=3, heads=2, fourier_features=64)
    )
    """Network of another shape than the published one."""
    supercells: tuple[str, ...] = SUPERCELLS[:2]
    """Repetitions along a, b, c that are drawn."""
    random_views: int = 9
    """Random directions of each supercell, beside its three axes (1 to 999)."""
    crops: Annotated[Crops, OmitArgPrefixes] = field(default_factory=Crops)
    """What the student sees."""
    distillation: Annotated[Distillation, OmitArgPrefixes] = field(default_factory=Distillation)
    """The losses."""
    lr: float = 1e-3
    """Largest learning rate of AdamW (> 0)."""
    weight_decay: float = 0.04
    """AdamW's decoupled weight decay (>= 0)."""
    schedule: ScheduleKind = "onecycle"
    """How the learning rate changes."""
    epochs: int = 40
    """Passes over the crystals (>= 1)."""
    batch_size: int = 64
    """Crystals that are compared in a step (>= 2)."""
    grad_clip: float = 3.0
    """Largest norm of the gradient (0 = no clipping)."""
    # settings of the supervised loop that self-distillation has no use for
    grad_accumulation: Suppress[Literal[1]] = 1
    init: Suppress[Literal["random"]] = "random"
    structures: Suppress[Structures] = "all"
    augment_structure: Suppress[StructureAugmentation] = field(default_factory=StructureAugmentation)
    loss: Suppress[Literal["l1"]] = "l1"
    target: Suppress[TargetKind] = "kelvin"
    patience: Suppress[int] = 10**9
    further: Suppress[bool] = False
    extra_structures: Suppress[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 2:
            raise ValueError(f"--batch-size must be at least 2, got {self.batch_size}: crystals are compared")
        if self.lr <= 0 or self.weight_decay < 0:
            raise ValueError("--lr must be > 0, --weight-decay >= 0")
        if self.output.suffix != ".safetensors":
            raise ValueError(f"--output must end in .safetensors, got {self.output}")

    def plain(self) -> dict[str, Any]:
        """The settings as JSON-ready values under their flags' names."""
        settings = super().plain()
        for part in ("shape", "crops", "distillation"):
            settings |= {name: list(v) if isinstance(v, tuple) else v for name, v in settings.pop(part).items()}
        return settings


class SelfDistillationTrainer(Trainer):
    """The loop with another loss, a teacher that follows every step, and the probe in place of validation."""

    model: SelfDistillation
    config: PretrainConfig

    def __init__(self, *args: Any, probe: Probe) -> None:
        super().__init__(*args)
        if self.placement.world > 1:
            raise UserError("self-distillation compares the crystals of a batch: start it as one process")
        self.probe = probe

    def _progressed(self) -> float:
        """Fraction of the steps that are taken."""
        return self.progress.total_steps / self.schedule.steps

    def _loss(self, batch: Batch) -> Tensor:
        return self.model(batch, teacher_temperature(self.model.settings, self._progressed()))

    def _update(self, ids: list[str]) -> float:
        norm = super()._update(ids)
        self.model.update_teacher(teacher_momentum(self.model.settings, self._progressed()))
        return norm

    def _validate(self, save: Callable[[str], None]) -> None:
        """Guard against collapse, ask the probe, record the epoch; the last weights count, whatever the probe says."""
        for callback in self.callbacks:
            callback.begin_validation()
        predicted, spread = self.probe.predict(self.describe)
        require_spread(spread, self.progress.epoch + 1)
        self._close_epoch(predicted)
        self.progress.history[-1]["feature_spread"] = spread
        self.progress.best_val_mae = self.progress.best_val_loss = math.inf
        self.progress.patience_counter = 0
        save("last")

    def describe(self, images: ImageArray) -> Tensor:
        """Unit features (n, D) of the teacher, averaged over the views."""
        return describe(partial(_features, self), images)


@torch.inference_mode()
def _features(trainer: SelfDistillationTrainer, images: Tensor) -> Tensor:
    trainer.model.eval()
    with trainer.placement.autocast():
        return trainer.model.features(images.to(trainer.placement.device)).float().cpu()


def teacher_temperature(settings: Distillation, progressed: float) -> float:
    """From the first to the second temperature over the first third of the steps, then constant."""
    first, second = settings.teacher_temperature
    return first + (second - first) * min(1.0, 3 * progressed)


def teacher_momentum(settings: Distillation, progressed: float) -> float:
    """From `momentum` to 1 along half a cosine (BYOL, arXiv:2006.07733)."""
    return 1 - (1 - settings.momentum) * (1 + math.cos(math.pi * progressed)) / 2


def main(config: PretrainConfig) -> None:
    """Render, train, write the teacher's backbone and its card."""
    set_up_log(config.log_file)
    options = replace(
        read_render_options(config.images_dir),
        image_size=config.image_size, views="all", supercells=config.supercells, random_views=config.random_views,
    )  # fmt: skip
    materials, excluded, probe = read_materials(config, options)
    task = make_task(config, options, materials)
    with started(task, config, partial(SelfDistillationTrainer, probe=probe)) as training:
        training.trainer.fit(training.save)
        write_weights(config, options, training, excluded)


@dataclass(frozen=True)
class Materials:
    """Structures to learn from, and their views (M, V, S, S, 3)."""

    table: pd.DataFrame
    images: ImageArray


def read_materials(config: PretrainConfig, options: RenderOptions) -> tuple[Materials, dict[str, Any], Probe]:
    """What is learnt from, what is left out (for the card), and the probe.

    Raises:
        UserError: split files or crystals cannot be used, or nothing is left.
    """
    splits, held_out = read_splits(config.data_dir), read_splits(config.exclude_split or config.data_dir)
    chosen = pd.concat(list(splits.values()), ignore_index=True)
    table = pd.concat([chosen, read_other_structures(config.data_dir, splits)], ignore_index=True)
    excluded = pd.concat([held_out["val"], held_out["test"]])
    left_out = pd.Series(composition_keys(table)).isin(set(composition_keys(excluded)))
    kept = limited(table[~left_out].sort_values("material_id", ignore_index=True), config.limit)
    if len(kept) < config.batch_size:
        raise UserError(f"{config.data_dir}: {len(kept)} structures are left to learn from; lower --batch-size")
    described = {
        "splits_sha256": splits_sha256(held_out),
        "compositions": len(excluded),
        "structures": int(left_out.sum()),
    }
    views = rendered_views(kept, options, config.image_size, config.cache_dir)
    known = kept[kept["material_id"].isin(chosen["material_id"])].pipe(_some, PROBE_MATERIALS)
    asked = limited(held_out["val"], config.limit)
    axes = replace(options, views="axes", supercells=config.supercells[:1])
    asked_views = rendered_views(asked, axes, config.image_size, config.cache_dir)
    log.info(f"{len(kept)} structures of {kept['formula'].nunique()} formulas, {left_out.sum()} left out")
    return Materials(kept, views), described, Probe(known, views[known.index], asked, asked_views)


def _some(table: pd.DataFrame, most: int) -> pd.DataFrame:
    return table.sample(min(most, len(table)), random_state=0)


def make_task(config: PretrainConfig, options: RenderOptions, materials: Materials) -> Task:
    """Model, optimiser, data and batches for the training loop."""
    placement = place(config.device, config.precision)
    model = build_model(config)
    for module in model.modules():
        if hasattr(module, "fused_attn") and placement.bf16 and placement.device.type == "cpu":
            module.fused_attn = False  # type: ignore[assignment]  # see DinoTcModel.adapt_to
    patch: int = model.teacher.backbone.patch_embed.patch_size[0]  # type: ignore[assignment, index, union-attr]
    if config.crops.crop_size % patch:
        raise UserError(f"--crop-size {config.crops.crop_size} is no multiple of the patch, {patch} pixels")
    grid = config.image_size // patch
    dataset = CropDataset(materials.table, materials.images, config.crops, grid, config.seed)
    trained = model.student.parameters()
    log.info(f"{config.backbone}: {sum(p.numel() for p in model.teacher.backbone.parameters()):,} parameters")
    return Task(
        name=config.name or STEM,
        stem=STEM,
        model=model,
        optimizer=torch.optim.AdamW(trained, lr=config.lr, weight_decay=config.weight_decay),
        datasets={"train": dataset},
        splits={"train": materials.table},
        collate=collate_crops,
        schedule=config.schedule,
        init="random",
        fingerprint=options.fingerprint(),
        batches=_full_batches(len(dataset), config.batch_size, config.seed),
        micro_batches=chunked(config.batch_size),
    )


def _full_batches(samples: int, size: int, seed: int) -> Callable[[int], list[list[int]]]:
    """As `shuffled_batches`, without the smaller last one: the losses compare the crystals of a batch."""
    batches = shuffled_batches(samples, size, seed)
    return lambda epoch: [batch for batch in batches(epoch) if len(batch) == size]


def build_model(config: PretrainConfig) -> SelfDistillation:
    """Student and teacher from a random start.

    Raises:
        UserError: the architecture takes images of one size only.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        backbone, _ = create_backbone(config.backbone, config.image_size, "random", config.shape)
        if getattr(backbone, "rope", None) is None:
            raise UserError(
                f"--backbone {config.backbone} takes images of one size, so no small crops; take one with rotary "
                "positions, such as vit_small_patch16_dinov3"
            )
        return SelfDistillation(backbone, config.distillation)


def write_weights(config: PretrainConfig, options: RenderOptions, training: Run, excluded: dict[str, Any]) -> None:
    """Write the teacher's backbone and its card, which states the probe's error with the file as written."""
    trainer, progress = training.trainer, training.trainer.progress
    assert isinstance(trainer, SelfDistillationTrainer)
    weights = half_state(trainer.model.teacher.backbone, ("",))
    write_tensors(config.output, {name: value for name, value in weights.items() if "mask_token" not in name})
    settings = {name: value for name, value in config.plain().items() if name not in PRIVATE}
    plain_options = {**asdict(options), "supercells": list(options.supercells)}
    views = len(progress.history) * len(trainer.task.batches(0)) * config.batch_size * (2 + config.crops.crops)
    card = {
        "name": config.output.stem,
        "kind": PRETRAINED_HERE,
        "sha256": sha256(config.output),
        "papers": PAPERS,
        "command": "python -m dinov3_pipeline.pretrain",
        "structures": len(trainer.task.splits["train"]),
        "excluded": excluded,
        "network": {"backbone": config.backbone, "image_size": config.image_size, **vars(config.shape)},
        "render_options": plain_options,
        "settings": settings,
        "epochs_run": len(progress.history),
        "train_seconds": round(progress.train_seconds, 1),
        "images_per_second": round(views / max(progress.train_seconds, 1e-9), 1),
        "peak_memory_MB": peak_rss_MB(),
        "feature_spread": SMALLEST_SPREAD,  # known once the file is read back
        "git_commit": git_commit(),
    }
    path = config.output.with_suffix(".json")
    write_json(path, card)
    predicted, spread = trainer.probe.predict(_written(config))
    median_K = float(trainer.task.splits["train"]["tc"].median())
    card |= {
        "feature_spread": spread,
        "val_mae_of_nearest_K": float((predicted["tc_pred"] - predicted["tc"]).abs().mean()),
        "val_mae_of_training_median_K": float((predicted["tc"] - median_K).abs().mean()),
        "val_note": "10 nearest of 2,000 known materials by these features; the only use of labels, for the log",
    }
    write_json(path, card)
    log.info(f"{config.output}: feature spread {spread:.2f}, val MAE of nearest {card['val_mae_of_nearest_K']:.3f} K")


def _written(config: PretrainConfig) -> Callable[[ImageArray], Tensor]:
    """`describe` by the file as written, as a training would use it."""
    model = create_dino_model(
        backbone=config.backbone, image_size=config.image_size, init=str(config.output), tune="head"
    ).eval()
    return partial(describe, torch.inference_mode()(model.features))


if __name__ == "__main__":
    run(lambda: main(parse(PretrainConfig, prog="python -m dinov3_pipeline.pretrain", description=__doc__ or "")))

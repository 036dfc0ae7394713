"""Train the vision model on rendered crystals.

    python -m dinov3_pipeline.train                                  # as the study: ViT-B, LoRA, 50 epochs, batch 8
    python -m dinov3_pipeline.train --tune head --batch-size 64      # linear probe: features once, epochs in seconds
    python -m dinov3_pipeline.train --init random --tune full …      # small, on one core: README_dinov3.md, Results
    accelerate launch --num-processes 2 -m dinov3_pipeline.train     # several GPUs or processes

Reads `--data-dir` (`python -m data.prepare`) and `--images-dir` (`python render_images.py`); writes
`models/dino_{last,best}.pth` and `results/dinov3_*`. Cost and results: README_dinov3.md.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch

from dinov3_pipeline.backbones import AS_PUBLISHED, SHAPE_FLAGS, Pool, Shape
from dinov3_pipeline.dataset import Augmentation, FeatureDataset, ViewDataset, cached_features, collate
from dinov3_pipeline.lora import Lora
from dinov3_pipeline.model import DEFAULT_BACKBONE, DinoTcModel, Tune, count_parameters, create_dino_model, shape_of
from dinov3_pipeline.pictures import DrawnPictures, Pictures, StoredPictures
from dinov3_pipeline.render.image_index import read_render_options
from dinov3_pipeline.render.options import RenderOptions
from tc_common.cli import log, parse, run, set_up_log
from tc_common.devices import Placement, place
from tc_common.runs import run_training
from tc_common.splits import SPLITS, read_splits
from tc_common.structures import TrainingStructures, structures_of, training_structures
from tc_common.targets import TargetTransform
from tc_common.task import MaterialDataset, ScheduleKind, Task, TrainConfig, chunked, shuffled_batches

SIZES = ("patch_size", "width", "depth", "heads", "color_waves")


@dataclass(frozen=True, kw_only=True)
class VisionConfig(TrainConfig):
    """Settings of the vision trainer."""

    backbone: str = DEFAULT_BACKBONE
    """Vision transformer by its name in timm; DINOv3: vit_{small,small_plus,base,large}_patch16_dinov3."""
    image_size: int = 224
    """Side of the pictures in pixels, a multiple of the patch (16); other sizes are scaled to it."""
    patch_size: int | None = None
    """Side of a patch in pixels (>= 1; default: as published); this and the next five only with --init random."""
    width: int | None = None
    """Numbers in a token, a multiple of 4 x --heads (default: as published)."""
    depth: int | None = None
    """Blocks (>= 1; default: as published)."""
    heads: int | None = None
    """Attention heads in a block (>= 1; default: as published); goes with --width."""
    pool: Pool | None = None
    """What the head reads: the class token, or the mean of the patches (default: as in timm, for DINOv3 the mean)."""
    color_waves: int | None = None
    """Random Fourier features of a pixel's colour beside its three channels (>= 1; default: none)."""
    tune: Tune = "lora"
    """What is trained besides the head: lora (adapters), head (nothing), or full (the whole backbone)."""
    lora_rank: int = 16
    """Rank r of the adapters (>= 1)."""
    lora_alpha: float = 32.0
    """Adapters are scaled by alpha / r (> 0)."""
    lora_dropout: float = 0.1
    """Dropout before the adapters (0 to below 1)."""
    lora_targets: tuple[str, ...] = ("attn.qkv",)
    """Layers that get adapters, by the end of their name: attn.qkv, attn.proj, mlp.fc1, mlp.fc2."""
    lora_rank_stabilised: bool = False
    """Scale by alpha / sqrt(r) instead."""
    lora_dora: bool = False
    """Train magnitude and direction apart (DoRA)."""
    head_dropout: float = 0.1
    """Dropout between the layers of the head (0 to below 1)."""
    lr: float = 1e-4
    """Largest learning rate (> 0)."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay (>= 0)."""
    schedule: ScheduleKind = "cosine"
    """How the learning rate moves over the run."""
    views_per_epoch: int | None = None
    """Views of each material in an epoch, drawn anew each time (>= 1; default: every view once)."""
    augment: bool = True
    """Rotate, mirror, scale and shift training pictures in the plane (colours stay as they are)."""
    online_views: bool = False
    """Draw pictures from the CIFs while training, random views fresh every epoch; needs no image files."""
    cache_dir: Path = Path("data/cache")
    """Folder for decoded pictures (150,528 bytes a view at 224) and for features (--tune head)."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, more time."""
    compile: bool = False
    """Compile the backbone first (minutes; needs a C++ compiler)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lora_rank", "views_per_epoch", "image_size", *SIZES):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        for name in ("lora_dropout", "head_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be from 0 to below 1, got {getattr(self, name)}")
        if self.lr <= 0 or self.weight_decay < 0 or self.lora_alpha <= 0:
            raise ValueError("--lr and --lora-alpha must be > 0, --weight-decay >= 0")
        if self.augment_structure.changes and not self.online_views:
            raise ValueError("--augment-structure needs --online-views: stored pictures show the crystals as they are")
        if self.tune == "head" and (self.online_views or self.views_per_epoch):
            raise ValueError("--tune head uses features of the standard views: no --online-views or --views-per-epoch")
        if self.init != "random" and self.shape() != AS_PUBLISHED:
            raise ValueError(f"{SHAPE_FLAGS} need --init random: --init {self.init} has the published shape")
        if (self.width is None) != (self.heads is None):
            raise ValueError("--width and --heads go together")
        if self.width and self.heads and self.width % (4 * self.heads):
            raise ValueError(f"--width {self.width}: a multiple of 4 x --heads, {4 * self.heads}")

    def shape(self) -> Shape:
        """The network's shape, where it is not the published one."""
        return shape_of(asdict(self))

    def lora(self) -> Lora:
        """The adapters."""
        return Lora(
            rank=self.lora_rank,
            alpha=self.lora_alpha,
            dropout=self.lora_dropout,
            targets=self.lora_targets,
            rank_stabilised=self.lora_rank_stabilised,
            dora=self.lora_dora,
        )


def main(config: VisionConfig) -> None:
    """Build data and model, train, predict, write."""
    set_up_log(config.log_file, place(config.device, config.precision).is_main)
    run_training(prepare(config), config)


def prepare(config: VisionConfig, parts: Sequence[str] = SPLITS) -> Task:
    """All that a training of these settings needs, with the pictures of these parts of the data.

    Raises:
        UserError: data, pictures or weights cannot be used.
    """
    placement = place(config.device, config.precision)
    splits = read_splits(config.data_dir, config.limit)
    structures = training_structures(config.data_dir, splits, config.structures, config.seed)
    tables: dict[str, pd.DataFrame | TrainingStructures] = {**splits, "train": structures}
    pictures = {name: load_pictures(config, structures_of(tables[name]).table) for name in parts}
    model = build_model(config, splits["train"]["tc"])
    model.render_options = pictures["train"].options
    model.adapt_to(placement)
    datasets: dict[str, MaterialDataset] = {}
    for name in parts:
        table = tables[name]
        views = make_dataset(config, name, table, pictures[name])
        datasets[name] = frozen(model, name, views, config, placement, table) if config.tune == "head" else views
    if config.compile:
        model.backbone.compile()
    trainable, total = count_parameters(model)
    log.info(
        f"{config.backbone} at {config.image_size} px, {config.tune}: {trainable:,} of {total:,} parameters train"
    )
    log.info(f"weights {model.init}; {len(datasets['train'])} pictures an epoch; {placement.device}")
    return make_task(config, model, datasets, splits, structures.fingerprint().get("structures", ""))


def build_model(config: VisionConfig, train_tc_K: pd.Series) -> DinoTcModel:
    """The network that the settings describe, its target scaled to the training set."""
    return create_dino_model(
        backbone=config.backbone,
        image_size=config.image_size,
        tune=config.tune,
        init=config.init,
        shape=config.shape(),
        lora=config.lora(),
        head_dropout=config.head_dropout,
        target=TargetTransform(config.target, torch.tensor(train_tc_K.to_numpy())),
        gradient_checkpointing=config.gradient_checkpointing,
        seed=config.seed,
    )


def load_pictures(config: VisionConfig, table: pd.DataFrame) -> Pictures:
    """The views of one split: from the image files, or drawn as they are needed."""
    if not config.online_views:
        ids = table["material_id"].tolist()
        return StoredPictures(config.images_dir, ids, config.image_size, config.cache_dir)
    recorded = (config.images_dir / "render_config.json").exists()
    options = read_render_options(config.images_dir) if recorded else RenderOptions()
    return DrawnPictures(table, config.image_size, options)


def make_dataset(
    config: VisionConfig, split: str, table: pd.DataFrame | TrainingStructures, pictures: Pictures
) -> ViewDataset:
    """Training views chosen and moved anew every epoch; validation and test views as they are, all of them."""
    if split != "train":
        return ViewDataset(table, pictures)
    if config.tune == "head":  # features of every structure; `FeatureDataset` draws among them
        return ViewDataset(structures_of(table).table, pictures)
    return ViewDataset(
        table,
        pictures,
        per_epoch=config.views_per_epoch,
        fresh=config.online_views,
        augmentation=Augmentation() if config.augment else None,
        crystal_augmentation=config.augment_structure if config.augment_structure.changes else None,
        seed=config.seed,
    )


def frozen(
    model: DinoTcModel,
    split: str,
    dataset: ViewDataset,
    config: VisionConfig,
    placement: Placement,
    table: pd.DataFrame | TrainingStructures,
) -> FeatureDataset:
    """Features in place of pictures (so --augment has nothing to act on); those of `train` scale the head's input."""
    features = cached_features(model, dataset, placement, config.batch_size, config.num_workers, config.cache_dir)
    if split == "train":
        model.standardise(torch.from_numpy(features))
    return FeatureDataset(table, features, dataset.pictures.views)


def make_task(
    config: VisionConfig,
    model: DinoTcModel,
    datasets: dict[str, MaterialDataset],
    splits: dict[str, pd.DataFrame],
    structures: str = "",
) -> Task:
    """What the loop needs to know; `structures` is the fingerprint of those to train on."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return Task(
        name=config.name or "dinov3",
        stem="dino",
        model=model,
        optimizer=torch.optim.AdamW(trained, lr=config.lr, weight_decay=config.weight_decay),
        datasets=datasets,
        splits=splits,
        collate=collate,
        schedule=config.schedule,
        init=model.init,
        fingerprint=f"{model.render_options.fingerprint()}-{config.image_size} {structures}".strip(),
        batches=shuffled_batches(len(datasets["train"]), config.batch_size * config.grad_accumulation, config.seed),
        micro_batches=chunked(config.batch_size),
        frozen=model.frozen(),
    )


if __name__ == "__main__":
    run(lambda: main(parse(VisionConfig, prog="python -m dinov3_pipeline.train", description=__doc__ or "")))

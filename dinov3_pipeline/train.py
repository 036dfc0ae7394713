"""Train the vision model on rendered crystals.

    python -m dinov3_pipeline.train                                  # fine-tune DINOv3: ViT-B, LoRA, 50 epochs
    python -m dinov3_pipeline.train --tune head --batch-size 64      # linear probe: features once, epochs in seconds
    python -m dinov3_pipeline.train --init crystals --backbone vit_small_patch16_dinov3 --image-size 32   # small, LoRA
    accelerate launch --num-processes 2 -m dinov3_pipeline.train     # GPUs or processes

The published network of pictures alone: 8 minutes of one core, test MAE 3.96 K on 3DSC (random split, seed 42;
training median 9.31 K); README_dinov3.md has the one that also reads the formula, 3.11 K:

    python render_images.py --supercells 1x1x1 --bonds none --image-size 32 --views all --radius-scale 0.8
    python -m dinov3_pipeline.train --init crystals --tune head --backbone vit_small_patch16_dinov3 --image-size 32 \\
        --palette --epochs 16 --patience 16 --batch-size 64 --lr 1.5e-3 --weight-decay 0.05 --schedule onecycle \\
        --target sqrt

The whole study: python -m tools.study --list.

Reads `--data-dir` (`python -m data.prepare`) and `--images-dir` (`python render_images.py`); writes
`models/dino_{last,best}.pth` and `results/dinov3_*`, also of the further tests (`tc_common.further`), whose
images are rendered in memory. Other networks and what was tried: README_dinov3.md.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
from tyro.conf import OmitArgPrefixes

from dinov3_pipeline.backbones import AS_PUBLISHED, SHAPE_FLAGS, Shape, drawn_otherwise, shape_from
from dinov3_pipeline.dataset import Augmentation, FeatureDataset, ViewDataset, collate
from dinov3_pipeline.features import cached_features
from dinov3_pipeline.images import ImageSource, RenderedImages, StoredImages
from dinov3_pipeline.lora import Lora
from dinov3_pipeline.network import DEFAULT_BACKBONE, DinoTcModel, Tune, count_parameters, create_dino_model
from dinov3_pipeline.palette import inputs_of
from dinov3_pipeline.render.options import RenderOptions, read_render_options
from tc_common.cli import log, parse, run, set_up_log
from tc_common.composition_branch import HeadFeatures
from tc_common.devices import Placement, place
from tc_common.errors import UserError
from tc_common.extra_structures import facts_of_structures, read_extra_structures
from tc_common.further import learned_literature
from tc_common.runs import run_training
from tc_common.splits import SPLITS, read_splits
from tc_common.structures import TrainingStructures, structures_of, training_structures
from tc_common.targets import TargetTransform
from tc_common.task import MaterialDataset, ScheduleKind, Task, TrainConfig, chunked, shuffled_batches


@dataclass(frozen=True, kw_only=True)
class VisionConfig(TrainConfig):
    """Settings of the vision trainer."""

    backbone: str = DEFAULT_BACKBONE
    """Vision transformer by its name in timm; DINOv3: vit_{small,small_plus,base,large}_patch16_dinov3."""
    image_size: int = 224
    """Side of the images in pixels, a multiple of the patch (16); other sizes are scaled to it."""
    shape: Annotated[Shape, OmitArgPrefixes] = field(default_factory=Shape)
    """Network of another shape than the published one (with --init random; --init crystals brings its own)."""
    tune: Tune = "lora"
    """What is trained: head (the head alone), lora (head and adapters), or full (head and whole backbone)."""
    lora: Annotated[Lora, OmitArgPrefixes] = field(default_factory=Lora)
    """Low-rank adapters (--tune lora)."""
    head_dropout: float = 0.1
    """Dropout between the layers of the head (0 to below 1)."""
    palette: bool = False
    """Give the head the crystal's palette too: the commonest colours of all its views and their fractions of the lit
    area, counted in the pixels."""
    head_features: HeadFeatures = "none"
    """Give the head features of the composition too, as in the graph pipeline: composition, continuous or physics. The
    model's name is then dinov3_composition, unless --name says otherwise."""
    lr: float = 1e-4
    """Largest learning rate (> 0)."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay (>= 0)."""
    schedule: ScheduleKind = "cosine"
    """Learning-rate schedule."""
    views_per_epoch: int | None = None
    """Views of each material in an epoch, sampled every epoch (>= 1; default: every view once)."""
    augment: bool = True
    """Rotate, mirror, scale and shift training images in the plane (colours stay as they are)."""
    online_views: bool = False
    """Render from the CIFs while training, with new random views every epoch; needs no image files."""
    cache_dir: Path = Path("data/cache")
    """Folder for decoded images (150,528 bytes a view at 224) and for features (--tune head)."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, more time."""
    compile: bool = False
    """Compile the backbone first (minutes; needs a C++ compiler)."""
    skip_empty_patches: bool = False
    """Read only patches with a pixel that is not black, in training and prediction: about half the time at 224 pixels,
    little gained at 32. It is another network than one that reads all patches, a little better in small trainings
    (README_dinov3.md), not measured with DINOv3's weights; checkpoints remember it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("views_per_epoch", "image_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.head_dropout < 1:
            raise ValueError(f"--head-dropout must be from 0 to below 1, got {self.head_dropout}")
        if self.lr <= 0 or self.weight_decay < 0:
            raise ValueError("--lr must be > 0, --weight-decay >= 0")
        if self.augment_structure.changes and not self.online_views:
            raise ValueError("--augment-structure needs --online-views: stored images show the crystals as they are")
        if self.augment_structure.changes and self.palette:
            raise ValueError("--palette is that of the crystals as they are: leave out --augment-structure")
        if self.tune == "head" and (self.online_views or self.views_per_epoch):
            raise ValueError("--tune head uses features of the standard views: no --online-views or --views-per-epoch")
        if self.compile and self.skip_empty_patches:
            raise ValueError("--compile needs pictures of one shape: leave out either it or --skip-empty-patches")
        if not self.init.endswith(("random", "crystals", ".safetensors")) and self.shape != AS_PUBLISHED:
            raise ValueError(f"{SHAPE_FLAGS} need --init random: --init {self.init} has the published shape")

    @property
    def model_name(self) -> str:
        """Name of the model in the results folder."""
        return self.name or ("dinov3" if self.head_features == "none" else "dinov3_composition")

    def plain(self) -> dict[str, Any]:
        """The settings as JSON-ready values under their flags' names, those of `lora` and `shape` among them."""
        settings = super().plain()
        del settings["lora"], settings["shape"]
        return {**settings, **vars(self.shape), **self.lora.plain()}


def main(config: VisionConfig) -> None:
    """Build data and model, train, predict, write."""
    set_up_log(config.log_file, place(config.device, config.precision).is_main)
    config = replace(config, shape=shape_from(config.init, config.shape))
    run_training(prepare(config), config)


def prepare(config: VisionConfig, parts: Sequence[str] = SPLITS) -> Task:
    """Data and model of a training with these settings.

    Args:
        parts: splits whose images are read, `train` among them.

    Raises:
        UserError: data, images or weights cannot be used.
    """
    placement = place(config.device, config.precision)
    splits = read_splits(config.data_dir, config.limit)
    extra = read_extra_structures(config.data_dir, config.extra_structures, config.limit)
    structures = training_structures(config.data_dir, splits, config.structures, config.seed, extra)
    tables: dict[str, pd.DataFrame | TrainingStructures] = {**splits, "train": structures}
    images = {name: load_images(config, structures_of(tables[name]).table) for name in parts}
    model = build_model(config, splits["train"]["tc"], images["train"].options)
    model.adapt_to(placement)
    views = {name: make_dataset(config, name, tables[name], images[name], model.reads) for name in parts}
    if (branch := model.composition_branch) is not None:
        branch.standardise(views["train"].inputs[branch.kind][structures.chosen()])
    datasets: Mapping[str, MaterialDataset] = views
    if config.tune == "head":
        datasets = features = {
            name: extract_features(model, views[name], config, placement, structures_of(tables[name]))
            for name in parts
        }
        model.standardise(torch.from_numpy(features["train"].features))
    if config.compile:
        model.backbone.compile()
    trainable, total = count_parameters(model)
    log.info(
        f"{config.backbone} at {config.image_size} px, {config.tune}: {trainable:,} of {total:,} parameters train"
    )
    log.info(f"weights {model.init}; {len(datasets['train'])} images an epoch; {placement.device}")
    task = make_task(config, model, datasets, splits, structures.fingerprint())
    return replace(task, facts=facts_of_structures(extra), learned=learned_literature(splits, extra))


def build_model(config: VisionConfig, train_tc_K: pd.Series, render_options: RenderOptions) -> DinoTcModel:
    """The network of these settings, its target scaled to the training set.

    Raises:
        UserError: see `create_dino_model`; a palette is asked of images whose pixels mix or dim the colours.
    """
    if config.palette and (render_options.depth_cue or config.image_size < render_options.image_size):
        raise UserError(
            "--palette counts the pixels of each colour, which a smaller --image-size mixes and --depth-cue dims; "
            f"render the images with --image-size {config.image_size} and without --depth-cue"
        )
    model = create_dino_model(
        backbone=config.backbone,
        image_size=config.image_size,
        tune=config.tune,
        init=config.init,
        shape=config.shape,
        lora=config.lora,
        head_dropout=config.head_dropout,
        target=TargetTransform(config.target, torch.tensor(train_tc_K.to_numpy())),
        gradient_checkpointing=config.gradient_checkpointing,
        seed=config.seed,
        palette=config.palette,
        head_features=config.head_features,
        skip_empty_patches=config.skip_empty_patches,
    )
    model.render_options = render_options
    if said := drawn_otherwise(config.init, vars(render_options)):
        log.warning(f"the images are not drawn as those that --init {config.init} learnt from: {said}")
    return model


def load_images(config: VisionConfig, table: pd.DataFrame) -> ImageSource:
    """The views of one split: from the image files, or rendered while training."""
    if not config.online_views:
        ids = table["material_id"].tolist()
        return StoredImages(config.images_dir, ids, config.image_size, config.cache_dir)
    recorded = (config.images_dir / "render_config.json").exists()
    options = read_render_options(config.images_dir) if recorded else RenderOptions()
    return RenderedImages(table, config.image_size, options)


def make_dataset(
    config: VisionConfig,
    split: str,
    table: pd.DataFrame | TrainingStructures,
    images: ImageSource,
    reads: Collection[str] = (),
) -> ViewDataset:
    """Training views sampled and augmented every epoch; all standard views of all rows, as they are, otherwise.

    Args:
        reads: what else the network reads (`DinoTcModel.reads`).
    """
    rows = structures_of(table).table
    inputs = inputs_of(rows, images, reads)
    if split != "train" or config.tune == "head":
        return ViewDataset(rows, images, inputs=inputs)
    return ViewDataset(
        table,
        images,
        inputs=inputs,
        per_epoch=config.views_per_epoch,
        fresh=config.online_views,
        augmentation=Augmentation() if config.augment else None,
        crystal_augmentation=config.augment_structure if config.augment_structure.changes else None,
        seed=config.seed,
    )


def extract_features(
    model: DinoTcModel,
    dataset: ViewDataset,
    config: VisionConfig,
    placement: Placement,
    structures: TrainingStructures | None = None,
) -> FeatureDataset:
    """Precomputed backbone features instead of images (linear probe)."""
    features = cached_features(model, dataset, placement, config.batch_size, config.num_workers, config.cache_dir)
    return FeatureDataset(dataset, features, structures)


def make_task(
    config: VisionConfig,
    model: DinoTcModel,
    datasets: Mapping[str, MaterialDataset],
    splits: dict[str, pd.DataFrame],
    structures_sha256: str = "",
) -> Task:
    """Model, optimiser, data and batches for the training loop; `structures_sha256` the digest of those trained on."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return Task(
        name=config.model_name,
        stem="dino",
        model=model,
        optimizer=torch.optim.AdamW(trained, lr=config.lr, weight_decay=config.weight_decay),
        datasets=datasets,
        splits=splits,
        collate=collate,
        schedule=config.schedule,
        init=model.init,
        fingerprint=f"{model.render_options.fingerprint()}-{config.image_size}",
        structures_sha256=structures_sha256,
        batches=shuffled_batches(len(datasets["train"]), config.batch_size * config.grad_accumulation, config.seed),
        micro_batches=chunked(config.batch_size),
        frozen=model.frozen(),
        further=lambda materials: further_dataset(config, model, materials),
    )


def further_dataset(config: VisionConfig, model: DinoTcModel, materials: pd.DataFrame) -> MaterialDataset:
    """Standard views of other materials, rendered in memory as the training's images were."""
    images = RenderedImages(materials, config.image_size, model.render_options)
    views = ViewDataset(materials, images, inputs=inputs_of(materials, images, model.reads))
    if config.tune != "head":
        return views
    return extract_features(model, views, config, place(config.device, config.precision))


if __name__ == "__main__":
    run(lambda: main(parse(VisionConfig, prog="python -m dinov3_pipeline.train", description=__doc__ or "")))

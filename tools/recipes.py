"""The settings of the published study, and those of the same study in small: what its commands get beside the folders.

`{crystals}` in a vision command stands for the weights pre-trained on that split's crystals.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# Seeds of the splits with chemical systems held out.
SPLIT_SEEDS = (42, 43, 44, 45, 46)
# Seeds of the trainings in the transfer table.
TRAINING_SEEDS = (42, 43, 44)
SHAPE = "--patch-size 8 --width 128 --depth 3 --heads 2 --fourier-features 64"
SMALL_SHAPE = "--patch-size 8 --width 16 --depth 1 --heads 2 --fourier-features 8"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of every command of a study, and its expected minutes on one core."""

    split_seeds: tuple[int, ...]
    """Splits with chemical systems held out."""
    data: str = ""
    """data.prepare"""
    images: str
    """render_images.py"""
    alignn: str
    """gat_pipeline.train, from random weights."""
    finetuned_alignn: str
    """gat_pipeline.train, from the weights trained on JARVIS."""
    graph_pretraining: str = ""
    """gat_pipeline.pretrain"""
    vision_pretraining: str = ""
    """dinov3_pipeline.pretrain"""
    dinov3: str
    """dinov3_pipeline.train, pictures alone."""
    dinov3_composition: str
    """dinov3_pipeline.train, with the composition branch."""
    dinov3_held_out: str
    """dinov3_pipeline.train where chemical systems are held out, pictures alone."""
    dinov3_composition_held_out: str
    """The same with the composition branch."""
    training_seeds: tuple[int, ...] = TRAINING_SEEDS
    """Trainings of the vision network on the structures of the extra labels, of which the mean is a model."""
    training_seeds_held_out: tuple[int, ...] = TRAINING_SEEDS[:2]
    """The same where chemical systems are held out."""
    alignn_labels: str
    """gat_pipeline.train on the structures of the extra labels too, from random weights."""
    alignn_labels_held_out: str
    """The same where chemical systems are held out."""
    transfer: Mapping[str, tuple[str, tuple[int, ...]]]
    """dinov3_pipeline.train in each cell of the transfer table, `<start>_<what is trained>`, and its seeds."""
    comparison: str = ""
    """compare_models.py"""
    ship: str = ""
    """prediction.ship"""
    distil: str
    """prediction.distil"""
    minutes: Mapping[str, float] = field(default_factory=dict)
    """Minutes of a stage by the last part of its name, without a seed; 0.2 where it is not there."""

    def minutes_of(self, stage: str) -> float:
        """Expected minutes of a stage."""
        return self.minutes.get(re.sub(r"_\d+$", "", stage.rpartition("/")[2]), 0.2)


AUGMENTED = "--augment-structure.strain 0.02 --augment-structure.shear 0.006 --augment-structure.displacement-A 0.02"
ALIGNN_OF = (
    "--init random --hidden 128 --alignn-layers 2 --gcn-layers 2 --graph.angle-cutoff-A 3.2 --target sqrt "
    f"--head-features physics --batch-size 64 --lr-head 2e-3 --schedule onecycle {AUGMENTED}"
)
ALIGNN = f"{ALIGNN_OF} --epochs 40 --patience 40"
VISION = (
    "--backbone vit_small_patch16_dinov3 --image-size 32 --batch-size 32 --lr 1e-3 --weight-decay 0.05 "
    "--schedule onecycle --target sqrt"
)
CELL = f"{VISION} --epochs 25 --patience 25"
PICTURES = f"--init random {SHAPE} --tune full {VISION} --palette --views-per-epoch 3"
HEAD = (
    "--tune head --backbone vit_small_patch16_dinov3 --image-size 32 --palette --batch-size 64 --lr 1.5e-3 "
    "--weight-decay 0.05 --schedule onecycle --target sqrt"
)
CRYSTALS_HEAD = f"--init {{crystals}} {HEAD} --epochs 16 --patience 16"
# Frozen random features: weights pre-trained without one split's test structures have seen another's, and pre-training
# for each split takes half an hour. Beside the palette they are as good (results/LOG.md).
RANDOM_HEAD = f"--init random {SHAPE} {HEAD}"

FULL = Recipe(
    split_seeds=SPLIT_SEEDS,
    images="--supercells 1x1x1 --bonds none --image-size 32 --views all --radius-scale 0.8",
    alignn=ALIGNN,
    finetuned_alignn="--target sqrt --head-features physics --batch-size 64 --lr-backbone 3e-4 --lr-head 1e-3 "
    f"--schedule onecycle --epochs 12 --patience 12 {AUGMENTED}",
    dinov3=CRYSTALS_HEAD,
    dinov3_composition=f"{PICTURES} --head-features physics --epochs 25 --patience 25",
    dinov3_held_out=f"{RANDOM_HEAD} --epochs 16 --patience 16",
    dinov3_composition_held_out=f"{RANDOM_HEAD} --head-features physics --epochs 12 --patience 12",
    alignn_labels=f"{ALIGNN_OF} --epochs 20 --patience 20",
    alignn_labels_held_out=f"{ALIGNN_OF} --epochs 12 --patience 12",
    transfer={
        "random_head": (f"--init random {SHAPE} --tune head {CELL}", TRAINING_SEEDS),
        "crystals_head": (f"--init {{crystals}} --tune head {CELL}", TRAINING_SEEDS),
        "random_lora": (f"--init random {SHAPE} --tune lora {CELL} --views-per-epoch 3", TRAINING_SEEDS),
        "crystals_lora": (f"--init {{crystals}} --tune lora {CELL} --views-per-epoch 3", TRAINING_SEEDS),
        "random_full": (f"--init random {SHAPE} --tune full {CELL} --views-per-epoch 3", TRAINING_SEEDS),
        "crystals_full": (f"--init {{crystals}} --tune full {CELL} --views-per-epoch 3", TRAINING_SEEDS),
        "crystals_head-palette": (CRYSTALS_HEAD, (42,)),
    },
    ship="--trees 60",
    distil="--copies 1 --epochs 12",
    # training steps and the tests after them: `train_seconds` in results/3dsc, and results/LOG.md
    minutes={
        "data": 0.6, "labels": 0.5, "images": 1.5, "baselines": 2, "prior": 2, "graph_pretraining": 60,
        "vision_pretraining": 32, "dinov3": 10, "dinov3_neighbours": 2, "dinov3_composition": 11,
        "dinov3_composition_neighbours": 2, "alignn": 15, "alignn_neighbours": 1.5, "alignn_prior": 15,
        "finetuned_alignn": 29, "pretrained_alignn": 2, "comparison": 1, "ship": 5, "distil": 13,
        "random_head": 3, "crystals_head": 3, "crystals_head-palette": 10, "random_lora": 18, "crystals_lora": 22,
        "random_full": 10, "crystals_full": 26, "extra_structures": 1, "dinov3_with_labels": 6,
        "alignn_with_labels": 31, "alignn_with_labels_neighbours": 2,
    },
)  # fmt: skip

_TINY = "--epochs 2 --patience 2 --batch-size 16"
_TINY_VISION = (
    f"--backbone vit_small_patch16_dinov3 --image-size 32 {_TINY} --lr 1e-3 --schedule onecycle --target sqrt"
)
_TINY_PICTURES = f"--init random {SMALL_SHAPE} --tune full {_TINY_VISION} --palette --views-per-epoch 1"

_TINY_ALIGNN = (
    "--init random --hidden 16 --alignn-layers 1 --gcn-layers 1 --graph.angle-cutoff-A 3.2 --target sqrt "
    f"--head-features physics --lr-head 2e-3 --schedule onecycle {_TINY} {AUGMENTED}"
)

SMALL = Recipe(
    split_seeds=(42, 43),
    data="--limit 80 --workers 1",
    images="--supercells 1x1x1 --bonds none --image-size 32 --views axes --radius-scale 0.8 --workers 1",
    alignn=_TINY_ALIGNN,
    finetuned_alignn="--hidden 16 --alignn-layers 1 --gcn-layers 1 --target sqrt --head-features composition "
    f"--lr-backbone 3e-4 --lr-head 1e-3 --schedule onecycle {_TINY}",
    graph_pretraining="--hidden 16 --alignn-layers 1 --gcn-layers 1 --epochs 1 --batch-size 8",
    vision_pretraining=f"{SMALL_SHAPE} --epochs 1 --batch-size 16 --supercells 1x1x1 --random-views 2",
    dinov3=_TINY_PICTURES,
    dinov3_composition=f"{_TINY_PICTURES} --head-features physics",
    dinov3_held_out=_TINY_PICTURES,
    dinov3_composition_held_out=f"{_TINY_PICTURES} --head-features physics",
    training_seeds=(42, 43),
    alignn_labels=_TINY_ALIGNN,
    alignn_labels_held_out=_TINY_ALIGNN,
    transfer={
        "random_head": (f"--init random {SMALL_SHAPE} --tune head {_TINY_VISION}", (42,)),
        "crystals_lora": (f"--init {{crystals}} --tune lora {_TINY_VISION} --views-per-epoch 1", (42,)),
    },
    comparison="--resamples 200",
    ship="--trees 5",
    distil="--copies 0 --epochs 1 --hidden 16 --workers 1",
)

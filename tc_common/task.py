"""A training's settings (`TrainConfig`), what a pipeline brings to the loop (`Task`), and its learning-rate schedule.

Legend: B samples in a batch.
"""

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import pandas as pd
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from tc_common.augmentation import StructureAugmentation
from tc_common.devices import Precision
from tc_common.predictions import MODEL_NAME_RULE, is_model_name
from tc_common.structures import Structures
from tc_common.targets import TargetKind

Batch: TypeAlias = dict[str, Any]
ScheduleKind: TypeAlias = Literal["cosine", "plateau", "onecycle", "constant"]
# Epochs without a better validation MAE before the plateau schedule halves the learning rates.
PLATEAU_PATIENCE = 5


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of both trainers; each pipeline adds its own."""

    data_dir: Path = Path("data/processed")
    """Folder with train.csv, val.csv and test.csv (Tc in K)."""
    images_dir: Path = Path("data/images")
    """Folder with the rendered images and their index (the graph pipeline reads none)."""
    models_dir: Path = Path("models")
    """Folder for checkpoints; one trainer at a time."""
    results_dir: Path = Path("results")
    """Folder for predictions, metrics, history and settings."""
    name: str | None = None
    """Name of the model, the prefix of its result files (default: alignn or dinov3). Checkpoints do not have it, so a
    variant of a model needs a --models-dir of its own."""
    init: str = "pretrained"
    """Where the weights come from: pretrained, random, or a file. Nothing falls back to random by itself."""
    epochs: int = 50
    """Passes over the training set (>= 1)."""
    batch_size: int = 8
    """Samples computed at once (>= 1); memory grows with it."""
    grad_accumulation: int = 1
    """Batches whose gradients make one optimiser step (>= 1)."""
    num_workers: int = 0
    """Processes that prepare samples (>= 0; 0 = the trainer itself)."""
    seed: int = 42
    """Seed of weights, order, dropout and augmentation (>= 0)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: Precision = "auto"
    """Matrix products in fp32 or bf16; auto takes bf16 where the processor computes it natively."""
    resume: str = "auto"
    """auto resumes an unfinished run of the same settings, never starts afresh, force resumes although settings
    differ, a path resumes from that checkpoint."""
    structures: Structures = "draw"
    """Structures of training compositions: the chosen one, all of them, or one of them drawn anew every epoch;
    validation and test always have the chosen ones."""
    extra_structures: bool = False
    """Train on the structures of the extra labels too (extra_structures.csv in --data-dir, made by python -m
    data.dope)."""
    augment_structure: StructureAugmentation = field(default_factory=StructureAugmentation)
    """Changes of training crystals, drawn anew every epoch."""
    limit: int | None = None
    """Use only N materials of each split, the same ones in every run (>= 1)."""
    loss: Literal["mse", "l1", "huber"] = "l1"
    """Loss in the space of --target."""
    target: TargetKind = "log1p"
    """What the network regresses: kelvin; log(1 + Tc / K), sqrt(1 + Tc / K) or kelvin, standardised."""
    patience: int = 10
    """Epochs without a better validation MAE before training stops (>= 1)."""
    grad_clip: float = 1.0
    """Largest norm of the gradient (0 = no clipping)."""
    save_every_minutes: float = 10.0
    """Minutes between checkpoints inside an epoch (> 0)."""
    log_file: Path | None = None
    """Also append the run's lines, with their time, to this file."""
    further: bool = True
    """Predict the further tests too, once trained: other structures of the held-out compositions, and the crystals of
    the literature (--no-further leaves them out, to try something)."""

    def __post_init__(self) -> None:
        for name, minimum in _MINIMUM.items():
            value = getattr(self, name)
            if value is not None and not value >= minimum:  # NaN is not
                raise ValueError(f"--{name.replace('_', '-')} must be at least {minimum}, got {value}")
        if not 0 < self.save_every_minutes < math.inf:
            raise ValueError(f"--save-every-minutes must be > 0 and finite, got {self.save_every_minutes}")
        if self.name is not None and not is_model_name(self.name):
            raise ValueError(f"--name must be {MODEL_NAME_RULE}, got {self.name!r}")

    def plain(self) -> dict[str, Any]:
        """The settings as JSON-ready values."""
        return {name: _plain(value) for name, value in asdict(self).items()}


_MINIMUM = {
    "epochs": 1,
    "batch_size": 1,
    "grad_accumulation": 1,
    "num_workers": 0,
    "seed": 0,
    "limit": 1,
    "patience": 1,
    "grad_clip": 0,
}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


class MaterialDataset(Protocol):
    """Samples of materials; any randomness of sample i comes from (seed, epoch, i) alone."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...

    def set_epoch(self, epoch: int) -> None: ...


@dataclass(kw_only=True)
class Task:
    """What a pipeline brings to the training loop."""

    name: str
    """Model name in `results/<name>_*.csv`."""
    stem: str
    """Checkpoints are `models/<stem>_last.pth` and `models/<stem>_best.pth`."""
    model: nn.Module
    """Maps a batch to kelvin (B,) and holds its `target` transform."""
    optimizer: Optimizer
    datasets: Mapping[str, MaterialDataset]
    """`train`, `val`, and `test` where test materials are predicted at the end (`run_training`)."""
    splits: dict[str, pd.DataFrame]
    """The rows behind the datasets (`tc_common.splits`)."""
    collate: Callable[[list[Any]], Batch]
    schedule: ScheduleKind
    init: str
    """Origin of the weights: `pretrained:…`, `file:…` or `random`."""
    fingerprint: str
    """Identifies what the samples were made with (render options, graph options)."""
    structures_sha256: str = ""
    """Digest of the structures trained on (`TrainingStructures.fingerprint`): more than `splits` may have."""
    batches: Callable[[int], list[list[int]]]
    """Training indices of every batch (optimiser step) of an epoch, a pure function of the epoch."""
    micro_batches: Callable[[MaterialDataset, Sequence[int]], list[list[int]]]
    """Cuts indices into micro-batches that fit the memory."""
    further: Callable[[pd.DataFrame], MaterialDataset] | None = None
    """Makes the dataset of a further test's materials (`tc_common.further`), which are predicted after the test."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further facts for metrics and checkpoints: what else was learned from (`prior_sha256`, `extra_labels`, …). A run
    resumes only with the same."""
    learned: frozenset[str] = frozenset()
    """Ids of further materials whose composition was learned through those."""
    frozen: Collection[str] = ()
    """Names in `model.state_dict()` that never change and that `init` brings back: checkpoints hold their sha256
    instead of them. Leave it empty where the weights cannot be had again (`--init random`)."""
    before_epoch: Callable[[int], None] = lambda epoch: None
    """Called with the number (from 0) of an epoch that begins or is resumed, for unfreezing and the like."""


def shuffled_batches(samples: int, size: int, seed: int) -> Callable[[int], list[list[int]]]:
    """Batches of `size` in an order that depends on (seed, epoch) only; the last one may be smaller."""

    def batches(epoch: int) -> list[list[int]]:
        order = np.random.default_rng((seed, epoch)).permutation(samples)
        return [order[start : start + size].tolist() for start in range(0, samples, size)]

    return batches


def chunked(size: int) -> Callable[[MaterialDataset, Sequence[int]], list[list[int]]]:
    """Micro-batches of at most `size` samples."""
    return lambda dataset, indices: [list(indices[at : at + size]) for at in range(0, len(indices), size)]


class Schedule:
    """One interface for per-step (cosine, onecycle) and per-epoch (plateau) learning-rate schedulers of torch.

    Args:
        steps: optimiser steps of the whole training, where cosine and onecycle end.
    """

    def __init__(self, kind: ScheduleKind, optimizer: Optimizer, steps: int) -> None:
        self.kind, self.optimizer, self.steps = kind, optimizer, steps
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.scheduler = self._start()

    def _start(self) -> Any:
        if self.kind == "cosine":
            return CosineAnnealingLR(self.optimizer, T_max=self.steps)
        if self.kind == "onecycle":
            # torch counts the construction as the first of its steps
            return OneCycleLR(self.optimizer, max_lr=self.rates, total_steps=self.steps + 1)
        if self.kind == "plateau":
            return ReduceLROnPlateau(self.optimizer, factor=0.5, patience=PLATEAU_PATIENCE)
        return ConstantLR(self.optimizer, factor=1.0)

    def after_step(self) -> None:
        """Update the per-step schedules."""
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()

    def after_epoch(self, val_mae_K: float) -> None:
        """Update the per-epoch schedule with the validation MAE (K)."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(val_mae_K)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers only."""
        return self.scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.scheduler.load_state_dict(state)

    def is_as_long_as(self, state: dict[str, Any]) -> bool:
        """Whether a stored state is of a schedule that ends where this one does; one without an end always is."""
        length = {"cosine": "T_max", "onecycle": "total_steps"}.get(self.kind)
        return length is None or state[length] == self.state_dict()[length]

    def start_at(self, step: int) -> None:
        """Be as if `step` steps of this schedule had been taken, whatever rates the optimiser has now."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate
        self.scheduler = self._start()
        with warnings.catch_warnings():  # of a rate that is changed before the optimiser has moved
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            for _ in range(min(step, self.steps)):
                self.scheduler.step()

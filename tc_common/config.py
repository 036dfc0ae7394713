"""Flags that every trainer has."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tc_common.augmentation import StructureAugmentation
from tc_common.devices import Precision
from tc_common.predictions import MODEL_NAME_RULE, is_model_name
from tc_common.structures import Structures
from tc_common.targets import TargetKind


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings shared by the trainers; each pipeline adds its own."""

    data_dir: Path = Path("data/processed")
    """Folder with train.csv, val.csv and test.csv (Tc in K)."""
    images_dir: Path = Path("data/images")
    """Folder with the rendered images and their index (the graph pipeline reads none)."""
    models_dir: Path = Path("models")
    """Folder for checkpoints; one trainer at a time."""
    results_dir: Path = Path("results")
    """Folder for predictions, metrics, history and settings."""
    name: str | None = None
    """Beginning of the result files' names, so that variants can lie side by side (default: alignn or dinov3);
    checkpoints keep theirs, so each variant needs a --models-dir of its own."""
    init: str = "pretrained"
    """Where the weights come from: pretrained, random, or a file. Nothing falls back to random by itself."""
    epochs: int = 50
    """Passes over the training set (>= 1)."""
    batch_size: int = 8
    """Samples computed at once (>= 1); memory grows with it."""
    grad_accumulation: int = 1
    """Batches whose gradients make one optimiser step (>= 1)."""
    num_workers: int = 0
    """Processes that prepare samples (>= 0; 0 = none besides the trainer)."""
    seed: int = 42
    """Seed of weights, order, dropout and augmentation (>= 0)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: Precision = "auto"
    """Matrix products in fp32 or bf16; auto takes bf16 where the processor computes it natively."""
    resume: str = "auto"
    """auto continues an unfinished run of the same settings, never starts afresh, force continues although settings
    differ, a path continues from that checkpoint."""
    structures: Structures = "draw"
    """Structures of training compositions: the chosen one, all of them, or one of them drawn anew every epoch;
    validation and test always have the chosen ones."""
    augment_structure: StructureAugmentation = field(default_factory=StructureAugmentation)
    """Changes of training crystals, drawn anew every epoch."""
    limit: int | None = None
    """Use only N materials of each split, drawn once and for all (>= 1)."""
    loss: Literal["mse", "l1", "huber"] = "l1"
    """Loss in the space of --target."""
    target: TargetKind = "log1p"
    """What the network regresses: kelvin; log(1 + Tc / K), sqrt(1 + Tc / K) or kelvin, standardised."""
    patience: int = 10
    """Epochs without a better validation MAE before training stops (>= 1)."""
    plateau_patience: int = 5
    """Epochs without a better validation MAE before a plateau schedule halves the learning rate (>= 0)."""
    grad_clip: float = 1.0
    """Largest norm of the gradient (0 = no clipping)."""
    save_every_minutes: float = 10.0
    """Minutes between checkpoints inside an epoch (> 0)."""
    log_file: Path | None = None
    """Also append the run's lines, with their time, to this file."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:  # NaN is not
                raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
        if not 0 < self.save_every_minutes < math.inf:
            raise ValueError(f"--save-every-minutes must be > 0 and finite, got {self.save_every_minutes}")
        if self.name is not None and not is_model_name(self.name):
            raise ValueError(f"--name must be {MODEL_NAME_RULE}, got {self.name!r}")

    def plain(self) -> dict[str, Any]:
        """The settings as JSON-ready values."""
        return {name: _plain(value) for name, value in asdict(self).items()}


_LEAST = {
    "epochs": 1,
    "batch_size": 1,
    "grad_accumulation": 1,
    "num_workers": 0,
    "seed": 0,
    "limit": 1,
    "patience": 1,
    "plateau_patience": 0,
    "grad_clip": 0,
}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value

"""Flags of the search."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Settings of the search; the trainer's own follow behind `--`."""

    pipeline: Literal["gat", "vision"]
    """Whose settings are searched: gat (ALIGNN) or vision (DINOv3)."""
    trials: int = 30
    """Trials of the study in all (>= 1); a larger number continues a finished study."""
    search: tuple[str, ...] = ()
    """Parameters to search (default: the usual ones that mean something beside the fixed settings)."""
    startup_trials: int = 5
    """Trials drawn at random before any is drawn by the model of the others, or pruned (>= 1)."""
    warm_up_epochs: int = 3
    """Epochs that every trial may run before it is compared with the others (>= 0)."""
    seed: int = 42
    """Seed of the search (>= 0); the trainings have their own, behind --."""
    out: Path = Path("results/3dsc/tuning")
    """Folder for the study and its tables."""
    name: str | None = None
    """Name of the study, the beginning of its files' names (default: the pipeline's)."""

    def __post_init__(self) -> None:
        for field, least in (("trials", 1), ("startup_trials", 1), ("warm_up_epochs", 0), ("seed", 0)):
            if getattr(self, field) < least:
                raise ValueError(f"--{field.replace('_', '-')} must be at least {least}, got {getattr(self, field)}")
        if not re.fullmatch(r"\w[\w-]*", self.stem):
            raise ValueError(f"--name must be letters, digits, _ and -, got {self.name!r}")

    @property
    def stem(self) -> str:
        """The study's name."""
        return self.name if self.name is not None else self.pipeline

    def path(self, ending: str) -> Path:
        """`<out>/<name><ending>`."""
        return self.out / f"{self.stem}{ending}"

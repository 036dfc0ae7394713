"""Where a study reads and writes: its splits, its folders, and how its commands are spelled."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.recipes import Recipe
from tools.stages import ROOT, Stage


@dataclass(frozen=True)
class Split:
    """One division of the data."""

    name: str
    """Folder below data, results and models."""
    kind: str
    seed: int


STRATIFIED = Split("stratified", "stratified", 42)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Where a study reads and writes, and with which settings."""

    work: Path
    """Folder of everything that is made."""
    published: Path
    """Folder with results/, models/ and README.md."""
    recipe: Recipe
    data_source: str | Path = "3dsc"
    labels_source: str | Path = "download"
    jarvis_dir: Path | None = None
    """JARVIS superconductors, to pre-train ALIGNN anew."""
    training_seeds: tuple[int, ...] = (42,)
    """Trainings of ALIGNN on the stratified split; with several, their mean is published too."""

    @property
    def splits(self) -> list[Split]:
        """The stratified split, and those with chemical systems held out."""
        grouped = (Split(f"chemical-system/seed_{seed}", "chemical-system", seed) for seed in self.recipe.split_seeds)
        return [STRATIFIED, *grouped]

    def data(self, split: Split) -> Path:
        """Split files, extra labels and prior."""
        return self.work / "data" / split.name

    def images(self, split: Split) -> Path:
        """Rendered images."""
        return self.work / "images" / split.name

    def results(self, split: Split) -> Path:
        """Predictions and metrics of all models."""
        return self.work / "results" / split.name

    def models(self, split: Split, model: str) -> Path:
        """Checkpoints of one training."""
        return self.work / "models" / split.name / model

    def stage(
        self,
        name: str,
        *command: str | Path,
        reads: Sequence[Path] = (),
        writes: Sequence[Path] = (),
        publishes: bool = False,
    ) -> Stage:
        """A stage with the minutes of the recipe."""
        return Stage(
            name=name,
            command=words(*command),
            inputs=tuple(reads),
            outputs=tuple(writes),
            minutes=self.recipe.minutes_of(name),
            publishes=publishes,
        )


def words(*parts: str | Path) -> tuple[str, ...]:
    """A command line: strings are split as a shell does, a path is one word, relative to the project if below it."""
    return tuple(word for part in parts for word in ([shown(part)] if isinstance(part, Path) else shlex.split(part)))


def shown(path: Path) -> str:
    """A path as it is written in commands, and hence in settings that are published."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def split_files(study: Study, split: Split) -> list[Path]:
    """What `data.prepare` writes and every model reads."""
    names = ("train.csv", "val.csv", "test.csv", "other_structures.csv", "report.json")
    return [study.data(split) / name for name in names]


def predictions(folder: Path, *models: str) -> list[Path]:
    """What every model writes."""
    endings = ("predictions.csv", "val_predictions.csv", "metrics.json")
    return [folder / f"{model}_{ending}" for model in models for ending in endings]


def local(study: Study, source: str | Path) -> list[Path]:
    """A source that a stage of the study makes itself."""
    return [source] if isinstance(source, Path) and source.is_relative_to(study.work) else []


def extra_structures(study: Study, split: Split) -> list[Path]:
    """What `data.dope` writes."""
    return [study.data(split) / f"extra_structures{ending}" for ending in (".csv", ".json", "")]

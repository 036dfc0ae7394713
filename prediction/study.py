"""A study's results folder: metrics, settings and predictions that a card repeats."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from tc_common.cli import current_settings
from tc_common.errors import UserError
from tc_common.files import read_json
from tc_common.predictions import align, read_predictions
from tc_common.splits import splits_sha256
from tc_common.task import TrainConfig

COMPARED_BY = "python compare_models.py --ensemble"
# Settings that do not change the result.
RUN_SETTINGS = (
    "data_dir", "images_dir", "models_dir", "results_dir", "name", "cache_dir", "log_file", "resume", "num_workers",
    "save_every_minutes", "device", "further",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Study:
    """One results folder on one set of splits."""

    results_dir: Path
    splits: dict[str, pd.DataFrame]
    sha256: str
    """Fingerprint of the splits."""
    comparison: dict[str, Any]
    names: dict[str, str] = field(default_factory=dict)
    """The study's names of models that are shipped under another name."""

    def name(self, model: str) -> str:
        """The study's name of a model."""
        return self.names.get(model, model)

    def metrics(self, model: str) -> dict[str, Any]:
        """`<model>_metrics.json`, on these splits.

        Raises:
            UserError: missing, unreadable, or of other splits.
        """
        path = self.results_dir / f"{self.name(model)}_metrics.json"
        metrics = read_json(path)
        if metrics.get("splits_sha256") != self.sha256:
            raise UserError(
                f"{path} belongs to other splits than --data-dir (and --limit); name those it was made with"
            )
        return metrics

    def predictions(self, model: str, split: str) -> pd.DataFrame:
        """Committed predictions for `val` or `test`, in the order of the split."""
        ending = "val_predictions" if split == "val" else "predictions"
        path = self.results_dir / f"{self.name(model)}_{ending}.csv"
        return align(read_predictions(path), self.splits[split], path, f"the {split} split")

    def with_materials(self, split: str, made: pd.DataFrame) -> pd.DataFrame:
        """`material_id`, `formula`, `tc` (K) of the split beside what a shipped model made of it."""
        return self.splits[split][["material_id", "formula", "tc"]].reset_index(drop=True).join(made)

    def compared(self, model: str) -> dict[str, Any]:
        """Test metrics with their intervals, as the comparison has them."""
        name = self.name(model)
        if name not in self.comparison["models"]:
            raise UserError(f"{self.results_dir}/comparison.json has no {name}; make it again with: {COMPARED_BY}")
        entry = self.comparison["models"][name]
        return {"test": entry["score"], "interval": entry["interval"], "uncertainty": self.comparison["uncertainty"]}

    def settings(self, model: str) -> dict[str, Any]:
        """`<model>_config.json` without folders."""
        path = self.results_dir / f"{self.name(model)}_config.json"
        config = current_settings(read_json(path), path)
        return {name: value for name, value in config.items() if name not in RUN_SETTINGS}


def read_study(results_dir: Path, splits: dict[str, pd.DataFrame], names: dict[str, str]) -> Study:
    """Open a results folder.

    Raises:
        UserError: it holds no comparison, or one of other splits.
    """
    digest, path = splits_sha256(splits), results_dir / "comparison.json"
    comparison = read_json(path)
    if comparison.get("splits_sha256") != digest or not isinstance(comparison.get("models"), dict):
        raise UserError(f"{path} belongs to other splits than --data-dir (and --limit); make it again: {COMPARED_BY}")
    return Study(results_dir, splits, digest, comparison, names)


def command(program: str, settings: dict[str, Any], defaults: TrainConfig) -> str:
    """The command line that gives these settings, without folders."""
    plain = defaults.plain()
    flags = [_flag(name, value, plain.get(name)) for name, value in settings.items() if value != plain.get(name)]
    return " ".join([program, *flags])


def _flag(name: str, value: Any, default: Any) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, dict):
        inner = default if isinstance(default, dict) else {}
        return " ".join(_flag(f"{name}.{key}", item, None) for key, item in value.items() if item != inner.get(key))
    if isinstance(value, bool):
        return f"--{'' if value else 'no-'}{flag}"
    return f"--{flag} {' '.join(map(str, value)) if isinstance(value, list) else value}"

"""Composition baselines: predict Tc from the chemical formula alone.

    python -m baselines --data-dir data/processed --results-dir results
    python -m baselines --pair --extra-labels data/processed/extra_labels.csv

fits baselines (median, nearest composition, extremely randomized trees with the mean or the median of their votes,
gradient boosting), writes each of them to `results/baselines/` and the best kind of trees, by validation MAE, as
`results/composition_*`. `--pair` adds `results/pair_*` (trees and boosted trees on features of doping);
`--extra-labels` also fits the pair and the trees with SuperCon's labels (`python -m data.supercon`), as
`results/pair_with_labels_*` and `results/composition_with_labels_*`.

Each model of the comparison also predicts the further tests (`tc_common.further`): other structures of a composition
get the prediction of the composition.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tc_common.cli import parse, run
from tc_common.extras import need
from tc_common.further import further_materials
from tc_common.labels import ExtraLabels, read_extra_labels
from tc_common.splits import read_splits


@dataclass(frozen=True, kw_only=True)
class BaselineConfig:
    """Settings of the composition baselines."""

    data_dir: Path = Path("data/processed")
    """Folder with train.csv, val.csv and test.csv (Tc in K)."""
    results_dir: Path = Path("results")
    """Folder for predictions and metrics."""
    seed: int = 42
    """Seed of the trees (>= 0)."""
    pair: bool = False
    """Fit the pair on the labels of the split files, about a minute of processor time."""
    extra_labels: Path | None = None
    """Labels of `python -m data.supercon` for these split files: fit the pair and the trees with them too."""
    limit: int | None = None
    """Use only N materials of each split, the same ones in every run (>= 1)."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit must be at least 1, got {self.limit}")


def main() -> None:
    """Read the splits, fit, write, print one line per baseline."""
    config = parse(BaselineConfig, prog="python -m baselines", description=__doc__ or "")
    from baselines.run import locked_results  # once flags are read

    if config.pair or config.extra_labels:
        need("study", "lightgbm")  # said before the other trees have been fitted
    splits = read_splits(config.data_dir, config.limit)
    labels = None if config.extra_labels is None else read_extra_labels(config.extra_labels, config.data_dir)
    with locked_results(config.results_dir, pair=config.pair, labels=labels is not None):
        fit_and_write(config, splits, labels)


def fit_and_write(config: BaselineConfig, splits: dict[str, pd.DataFrame], labels: ExtraLabels | None) -> None:
    """Fit all that the flags ask for, and write it when all is fitted."""
    from baselines.run import best_candidate, run_baselines, run_pair, write_baselines, write_pair

    further = further_materials(config.data_dir, splits, config.limit)
    outcome = run_baselines(splits, config.seed, further)
    more = run_pair(splits, config.seed, further=further) if config.pair else {}
    if labels:
        more |= run_pair(splits, config.seed, labels, further_materials(config.data_dir, splits, config.limit, labels))
    write_baselines(config.results_dir, outcome)
    write_pair(config.results_dir, more)
    show(outcome | more)
    print(
        f"wrote {config.results_dir}/composition_*.csv ({best_candidate(outcome)}) and {config.results_dir}/baselines/"
    )


def show(outcome: dict[str, dict[str, Any]]) -> None:
    """One line per baseline."""
    for name, entry in outcome.items():
        metrics = entry["metrics"]
        print(
            f"{name:<30} val MAE {metrics['val_mae_K']:6.2f} K   test MAE {metrics['mae_K']:6.2f} K   "
            f"R² {metrics['r2']:6.3f}   skill {metrics['skill']:5.2f}   {metrics['train_seconds']:6.1f} s"
        )


if __name__ == "__main__":
    run(main)

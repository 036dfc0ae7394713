"""Composition baselines: predict Tc from the chemical formula alone.

    python -m baselines --data-dir data/processed --results-dir results

fits baselines (median, nearest composition, extremely randomized trees with the mean or the median of their votes,
gradient boosting), writes each of them to `results/baselines/` and the best kind of trees, by validation MAE, as
`results/composition_*`.
"""

from dataclasses import dataclass
from pathlib import Path

from baselines.run import best_candidate, run_baselines, write_baselines
from tc_common.cli import parse, run
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
    limit: int | None = None
    """Use only N materials of each split, drawn once and for all (>= 1)."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit must be at least 1, got {self.limit}")


def main() -> None:
    """Read the splits, fit, write, print one line per baseline."""
    config = parse(BaselineConfig, prog="python -m baselines", description="Tc from the chemical formula alone.")
    outcome = run_baselines(read_splits(config.data_dir, config.limit), config.seed)
    write_baselines(config.results_dir, outcome)
    for name, entry in outcome.items():
        metrics = entry["metrics"]
        print(
            f"{name:<20} val MAE {metrics['val_mae_K']:6.2f} K   test MAE {metrics['mae_K']:6.2f} K   "
            f"R² {metrics['r2']:6.3f}   skill {metrics['skill']:5.2f}   {metrics['train_seconds']:6.1f} s"
        )
    print(
        f"wrote {config.results_dir}/composition_*.csv ({best_candidate(outcome)}) and {config.results_dir}/baselines/"
    )


if __name__ == "__main__":
    run(main)

"""Test MAE over the number of training compositions, of the models that need no structure.

    python -m benchmarks.learning_curve --results-dir results/3dsc/stratified

The trees on composition (median vote) and the pair, without extra labels, on 10, 20, 40, 70 and 100 % of the training
compositions of a results folder (its `splits.csv.gz`; no data set needed), every part holding the smaller ones. Writes
`learning_curve.csv` into that folder, from which `compare_models.py` draws the curve; 80 s of processor
time for 3DSC.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from baselines.models import Fit, fit_extra_trees
from baselines.pair import fit_pair
from comparison.bootstrap import bootstrap
from comparison.gather import SPLITS_FILE, read_kept_splits
from comparison.learning import LEARNING_FILE, nested_subsets
from tc_common.chemistry import FeatureKind, composition_features
from tc_common.cli import parse, run
from tc_common.composition import Array
from tc_common.errors import UserError
from tc_common.files import write_csv

PARTS = (0.1, 0.2, 0.4, 0.7, 1.0)
LEVEL, RESAMPLES = 0.95, 10_000


@dataclass(frozen=True, kw_only=True)
class CurveConfig:
    """On which split."""

    results_dir: Path = Path("results")
    """Folder of a comparison, with splits.csv.gz."""
    seed: int = 42
    """Seed of the subsets and the trees (>= 0)."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}")


# Name in the comparison, kind of features, fit, and which of its predictors.
LEARNERS: tuple[tuple[str, FeatureKind, Fit, str], ...] = (
    ("composition", "statistics", fit_extra_trees, "extra_trees_median"),
    ("pair", "physics", fit_pair, "pair"),
)


def predictions(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> dict[str, Array]:
    """Tc (n,) in K of the test materials by each model, fitted on `train`."""
    found = {}
    for name, kind, fit, predictor in LEARNERS:
        known, wanted = (composition_features(table["formula"].tolist(), kind) for table in (train, test))
        found[name] = fit(known, train["tc"].to_numpy(float), seed)[predictor](wanted)[0]
    return found


def curve(splits: dict[str, pd.DataFrame], seed: int) -> pd.DataFrame:
    """`model, part, n_train, mae_K, low_K, high_K`: MAE with its BCa interval over test materials."""
    tc_K, rows = splits["test"]["tc"].to_numpy(float), []
    for part, train in zip(PARTS, nested_subsets(splits["train"], PARTS, seed), strict=True):
        started = time.monotonic()
        found = predictions(train, splits["test"], seed)
        pred_K = np.stack([*found.values()], axis=1)
        mae_K = bootstrap(tc_K, pred_K, float(train["tc"].median()), resamples=RESAMPLES, seed=seed)["mae_K"]
        for name, value, (low, high) in zip(found, mae_K.point, mae_K.interval(LEVEL).T, strict=True):
            row = {"model": name, "part": part, "n_train": len(train), "mae_K": value, "low_K": low, "high_K": high}
            rows.append(row)
        print(
            f"{len(train)} materials: " + ", ".join(f"{row['model']} {row['mae_K']:.2f} K" for row in rows[-2:]),
            end="",
        )
        print(f" ({time.monotonic() - started:.0f} s)", flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    """Read, fit, write."""
    config = parse(CurveConfig, prog="python -m benchmarks.learning_curve", description="Error over training size.")
    if not (config.results_dir / SPLITS_FILE).exists():
        raise UserError(f"{config.results_dir} has no {SPLITS_FILE}; compare its models first: compare_models.py")
    write_csv(config.results_dir / LEARNING_FILE, curve(read_kept_splits(config.results_dir), config.seed))
    print(f"wrote {config.results_dir / LEARNING_FILE}")


if __name__ == "__main__":
    run(main)

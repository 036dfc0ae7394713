"""Fit every baseline on one set of splits and write what any other model writes."""

import time
from pathlib import Path
from typing import Any

import pandas as pd

from baselines.models import FITS, Predictor
from tc_common.composition import Array, composition_features
from tc_common.conformal import conformal_intervals
from tc_common.environment import git_commit, peak_rss_MB
from tc_common.files import write_json
from tc_common.metrics import score
from tc_common.predictions import write_predictions
from tc_common.splits import splits_sha256

# The best of these on validation materials enters the comparison as `composition`.
CANDIDATES = ("extra_trees", "extra_trees_median", "gradient_boosting")
NAME = "composition"
# Share of materials that `tc_lower` to `tc_upper` shall hold.
COVERAGE = 0.9


def run_baselines(splits: dict[str, pd.DataFrame], seed: int) -> dict[str, dict[str, Any]]:
    """Predictions and metrics of every baseline: `{name: {"val": table, "test": table, "metrics": {...}}}`."""
    started = time.monotonic()
    features = {split: composition_features(table["formula"].tolist()) for split, table in splits.items()}
    features_seconds = time.monotonic() - started
    outcome = {}
    for fit in FITS:
        started = time.monotonic()
        predictors = fit(features["train"], splits["train"]["tc"].to_numpy(), seed)
        train_seconds = time.monotonic() - started + features_seconds
        for name, predictor in predictors.items():
            outcome[name] = _predict(name, predictor, features, splits, seed)
            outcome[name]["metrics"]["train_seconds"] = round(train_seconds, 2)
    return outcome


def _predict(
    name: str, predictor: Predictor, features: dict[str, Array], splits: dict[str, pd.DataFrame], seed: int
) -> dict[str, Any]:
    """One baseline's tables and metrics, with the time that a test material takes."""
    started = time.monotonic()
    test = _table(splits["test"], *predictor(features["test"]))
    milliseconds = 1000 * (time.monotonic() - started) / len(test)
    val = _table(splits["val"], *predictor(features["val"]))
    metrics = _metrics(name, splits, val, test, seed) | {"inference_ms_per_sample": round(milliseconds, 4)}
    return {"val": val, "test": test, "metrics": metrics}


def _table(split: pd.DataFrame, pred_K: Any, sd_K: Any) -> pd.DataFrame:
    table = split[["material_id", "formula", "tc"]].assign(tc_pred=pred_K)
    return table if sd_K is None else table.assign(tc_std=sd_K)


def _metrics(
    name: str, splits: dict[str, pd.DataFrame], val: pd.DataFrame, test: pd.DataFrame, seed: int
) -> dict[str, Any]:
    median_K = float(splits["train"]["tc"].median())
    return {
        "model": name,
        **score(test["tc"], test["tc_pred"], median_K),
        "val_mae_K": score(val["tc"], val["tc_pred"], median_K)["mae_K"],
        "seed": seed,
        "init": "random",
        "n_train": len(splits["train"]),
        "git_commit": git_commit(),
        "splits_sha256": splits_sha256(splits),
        "device": "cpu",
        "peak_memory_MB": peak_rss_MB(),
    }


def best_candidate(outcome: dict[str, dict[str, Any]]) -> str:
    """The candidate with the lowest validation MAE."""
    return min(CANDIDATES, key=lambda name: outcome[name]["metrics"]["val_mae_K"])


def write_baselines(results_dir: Path, outcome: dict[str, dict[str, Any]]) -> None:
    """Write each baseline under `baselines/`, and the best candidate again as `composition`."""
    for name, entry in outcome.items():
        _write(results_dir / "baselines", name, entry)
    best = best_candidate(outcome)
    metrics = outcome[best]["metrics"] | {"model": NAME, "chosen": best}
    candidates = {name: entry["metrics"] for name, entry in outcome.items()}
    _write(results_dir, NAME, outcome[best] | {"metrics": metrics | {"baselines": candidates}})


def _write(folder: Path, name: str, entry: dict[str, Any]) -> None:
    bounds = conformal_intervals(entry["val"], entry["test"], COVERAGE)
    test = entry["test"] if bounds is None else entry["test"].join(bounds)
    write_predictions(folder / f"{name}_val_predictions.csv", entry["val"])
    write_predictions(folder / f"{name}_predictions.csv", test)
    write_json(folder / f"{name}_metrics.json", entry["metrics"])

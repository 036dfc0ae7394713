"""Fit all baselines on one set of splits; write predictions and metrics."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from baselines.models import FITS, Fit, Predictor, fit_extra_trees
from baselines.pair import KIND, fit_pair
from tc_common.chemistry import FeatureKind, composition_features
from tc_common.composition import Array
from tc_common.environment import peak_rss_MB
from tc_common.labels import ExtraLabels, with_labels
from tc_common.lock import lock_folder
from tc_common.results import Tables, metrics_of, with_intervals, write_further, write_results

# The best of these on validation materials enters the comparison as `composition`.
CANDIDATES = ("extra_trees", "extra_trees_median", "gradient_boosting")
NAME = "composition"
WITH_LABELS = "_with_labels"


@contextmanager
def locked_results(folder: Path, *, pair: bool, labels: bool) -> Iterator[None]:
    """Hold the names of all models that will be written into `folder`.

    Raises:
        UserError: another run holds one of them, or the folder cannot be written.
    """
    names = [NAME, *["pair"] * pair, *[f"{NAME}{WITH_LABELS}", f"pair{WITH_LABELS}"] * labels]
    with ExitStack() as held:
        for name in names:
            held.enter_context(lock_folder(folder, "--results-dir", name))
        yield


def run_baselines(
    splits: dict[str, pd.DataFrame], seed: int, further: Tables | None = None
) -> dict[str, dict[str, Any]]:
    """Predictions and metrics of every baseline: `{name: {"val": table, "test": table, "metrics": {...}}}`.

    Args:
        further: materials of the further tests (`tc_common.further`), predicted under `further` of each baseline.
    """
    started = time.monotonic()
    tables = {**splits, **(further or {})}
    features = {split: composition_features(table["formula"].tolist()) for split, table in tables.items()}
    features_seconds = time.monotonic() - started
    outcome = {}
    for fit in FITS:
        started = time.monotonic()
        predictors = fit(features["train"], splits["train"]["tc"].to_numpy(), seed)
        train_seconds = time.monotonic() - started + features_seconds
        for name, predictor in predictors.items():
            outcome[name] = _predict(name, predictor, features, splits, seed, further or {})
            outcome[name]["metrics"]["train_seconds"] = round(train_seconds, 2)
    return outcome


def run_pair(
    splits: dict[str, pd.DataFrame], seed: int, labels: ExtraLabels | None = None, further: Tables | None = None
) -> dict[str, dict[str, Any]]:
    """As `run_baselines`, of the pair; with extra labels also of the published trees, all named `…_with_labels`."""
    outcome: dict[str, dict[str, Any]] = {}
    learners: list[tuple[Fit, FeatureKind]] = [(fit_pair, KIND)]
    learners += [(fit_extra_trees, "statistics")] if labels else []
    for fit, kind in learners:
        started = time.monotonic()
        learned = with_labels(splits["train"], labels)
        features = {
            split: composition_features(table["formula"].tolist(), kind)
            for split, table in {**splits, **(further or {}), "train": learned}.items()
        }
        predictors = fit(features["train"], learned["tc"].to_numpy(float), seed)
        train_seconds = round(time.monotonic() - started, 2)
        for kind_of_model, predictor in predictors.items():
            name = kind_of_model + (WITH_LABELS if labels else "")
            outcome[name] = _predict(name, predictor, features, splits, seed, further or {})
            outcome[name]["metrics"] |= {"train_seconds": train_seconds, **(labels.metadata() if labels else {})}
    return outcome


def _predict(
    name: str,
    predictor: Predictor,
    features: dict[str, Array],
    splits: dict[str, pd.DataFrame],
    seed: int,
    further: Tables,
) -> dict[str, Any]:
    """One baseline's tables and metrics, with the time that a test material takes."""
    started = time.monotonic()
    measured = {split: splits[split][["material_id", "formula", "tc"]] for split in ("val", "test")}
    test = _table(measured["test"], *predictor(features["test"]))
    milliseconds = 1000 * (time.monotonic() - started) / len(test)
    val = _table(measured["val"], *predictor(features["val"]))
    known = {
        "seeds": [seed],
        "init": "random",
        "device": "cpu",
        "inference_ms_per_sample": round(milliseconds, 4),
        "peak_memory_MB": peak_rss_MB(),
    }
    tables = {"val": val, "test": with_intervals(val, test)}
    more = {test: _table(table, *predictor(features[test])) for test, table in further.items()}
    more = {test: with_intervals(val, table) for test, table in more.items()}
    return {**tables, "metrics": metrics_of(name, splits, tables, known), "further": more}


def _table(materials: pd.DataFrame, pred_K: Any, sd_K: Any) -> pd.DataFrame:
    table = materials.drop(columns="cif", errors="ignore").assign(tc_pred=pred_K)
    return table if sd_K is None else table.assign(tc_std=sd_K)


def best_candidate(outcome: dict[str, dict[str, Any]]) -> str:
    """The candidate with the lowest validation MAE."""
    return min(CANDIDATES, key=lambda name: outcome[name]["metrics"]["val_mae_K"])


def write_baselines(results_dir: Path, outcome: dict[str, dict[str, Any]]) -> None:
    """Write each baseline under `baselines/`, and the best candidate as `composition`, with its further tests."""
    for name, entry in outcome.items():
        write_results(results_dir / "baselines", name, entry, entry["metrics"])
    best = best_candidate(outcome)
    candidates = {name: entry["metrics"] for name, entry in outcome.items()}
    chosen = outcome[best]["metrics"] | {"model": NAME, "chosen": best, "baselines": candidates}
    _write(results_dir, NAME, outcome[best], chosen)


def write_pair(results_dir: Path, outcome: dict[str, dict[str, Any]]) -> None:
    """Write each model of `run_pair` under `baselines/`; the pair, and the better trees with labels, as models too."""
    for name, entry in outcome.items():
        write_results(results_dir / "baselines", name, entry, entry["metrics"])
    for name in ("pair", f"pair{WITH_LABELS}"):
        if name in outcome:
            _write(results_dir, name, outcome[name], outcome[name]["metrics"])
    trees = [name for name in outcome if name.startswith("extra_trees")]
    if trees:
        best = min(trees, key=lambda name: outcome[name]["metrics"]["val_mae_K"])
        named = {"model": f"{NAME}{WITH_LABELS}", "chosen": best}
        _write(results_dir, named["model"], outcome[best], outcome[best]["metrics"] | named)


def _write(folder: Path, name: str, entry: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Write a model of the comparison: its results and its predictions of the further tests."""
    write_results(folder, name, entry, metrics)
    write_further(folder, name, entry["further"])

"""Several runs of the same models: other training seeds, or other splits (folds)."""

import os
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from comparison.bootstrap import METRICS
from comparison.formatting import with_conclusions
from comparison.gather import prediction_files, read_aligned, read_metrics
from tc_common.environment import git_commit
from tc_common.errors import UserError
from tc_common.files import read_csv, write_csv
from tc_common.metrics import score
from tc_common.results import ENDING, METRICS_ENDING

# Predictions of all runs, in the folder of their comparison so that it can be recomputed.
RUNS_FILE = "runs_predictions.csv.gz"
TRAINING_COLUMNS = ("run", "training_median_K", "n_train")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: what every model predicted for the same materials."""

    predictions: pd.DataFrame
    """`material_id`, `tc` and one column per model (K); n rows."""
    median_mae_K: dict[str, float]
    """MAE of always saying the training median, by model; NaN where a model did not write it."""
    n_train: dict[str, float]
    """Training materials, by model; NaN where it did not write it."""


def read_runs(pattern: str) -> dict[str, Run]:
    """Every folder that `pattern` matches and that holds predictions, by its path below what all have in common.

    Raises:
        UserError: fewer than two runs, differing materials within a run.
    """
    folders = matching_folders(pattern)
    common = os.path.commonpath(folders)
    return {folder.relative_to(common).as_posix(): read_run(folder) for folder in folders}


def matching_folders(pattern: str) -> list[Path]:
    """Folders that `pattern` matches and that hold predictions, by name.

    Raises:
        UserError: fewer than two.
    """
    anchor = Path(pattern).anchor
    matched = sorted(Path(anchor).glob(pattern.removeprefix(anchor)))
    folders = [folder for folder in matched if any(folder.glob(f"*{ENDING}"))]
    if len(folders) < 2:
        raise UserError(f"{pattern!r} matches {len(folders)} folders with predictions; at least 2 are needed")
    return folders


def read_run(folder: Path) -> Run:
    """Predictions of every model in a folder; what they say about training comes from `<model>_metrics.json`.

    Raises:
        UserError: no predictions, or of differing materials.
    """
    paths = prediction_files(folder, ensembles=True)
    tables, truth = read_aligned(paths)
    metrics = {name: read_metrics(folder / f"{name}{METRICS_ENDING}") for name in paths}
    predicted = {name: table["tc_pred"].to_numpy(float) for name, table in tables.items()}
    return Run(
        predictions=truth[["material_id", "tc"]].assign(**predicted),
        median_mae_K={name: _stated(content, "median_mae_K") for name, content in metrics.items()},
        n_train={name: _stated(content, "n_train") for name, content in metrics.items()},
    )


def _stated(metrics: dict[str, Any], key: str) -> float:
    """A number of a metrics file, NaN where it is absent or null."""
    value = metrics.get(key)
    return float("nan") if value is None else float(value)


def score_runs(runs: dict[str, Run]) -> tuple[pd.DataFrame, bool]:
    """Scores of every model in every run, and whether all runs test the same materials.

    Columns: run, model, n, the metrics, n_train.

    Raises:
        UserError: a model that is missing in one of them.
    """
    scored = pd.DataFrame([row for name, run in runs.items() for row in _scores(name, run)])
    _require_all_models(scored)
    return scored, len({tuple(run.predictions["material_id"]) for run in runs.values()}) == 1


def _scores(name: str, run: Run) -> list[dict[str, Any]]:
    """One row per model of a run."""
    rows, table = [], run.predictions
    for model in run.median_mae_K:
        scores = score(table["tc"], table[model], float("nan"))
        median_mae_K = run.median_mae_K[model]
        scores |= {"median_mae_K": median_mae_K, "skill": 1 - scores["mae_K"] / median_mae_K}
        rows.append({"run": name, "model": model, **scores, "n_train": run.n_train[model]})
    return rows


def _require_all_models(runs: pd.DataFrame) -> None:
    """Pairs are made over runs, so every run needs every model."""
    present = runs.groupby("run")["model"].agg(set)
    everything = set(runs["model"])
    for run, models in present.items():
        if missing := sorted(everything - models):
            raise UserError(
                f"run {run} has no predictions of {', '.join(missing)}; train it there or leave the run out"
            )


def summarise(runs: pd.DataFrame, same_materials: bool, level: float) -> dict[str, Any]:
    """Mean and SD of every metric over runs, and paired differences in MAE."""
    count = runs["run"].nunique()
    means = runs.groupby("model")["mae_K"].mean().sort_values()
    order = [str(name) for name in means.index]
    table = {
        name: {
            metric: {"mean": float(values[metric].mean()), "sd": float(values[metric].std(ddof=1))}
            for metric in METRICS
        }
        for name, values in ((name, runs[runs["model"] == name]) for name in order)
    }
    ratio = 0.0 if same_materials else _test_share(runs)
    return {
        "git_commit": git_commit(),
        "runs": count,
        "level": level,
        "n": sorted({int(n) for n in runs["n"]}),
        "same_materials": same_materials,
        "test_train_ratio": ratio,
        "models": table,
        "differences": _differences(runs, order, ratio, level),
    }


def _test_share(runs: pd.DataFrame) -> float:
    """Test materials per training material, NaN where a model did not write `n_train`."""
    return float((runs["n"] / runs["n_train"]).mean(skipna=False))


def _differences(runs: pd.DataFrame, order: list[str], ratio: float, level: float) -> list[dict[str, Any]]:
    """Paired t over runs, widened for training sets that overlap.

    Nadeau and Bengio 2003, doi 10.1023/A:1024068626366: the variance of the mean is s² (1 / k + n_test / n_train)
    for k random splits. With one split and k training seeds (ratio 0) it is the usual s² / k.
    """
    mae_K = runs.pivot(index="run", columns="model", values="mae_K")
    rows = []
    for a, b in combinations(order, 2):
        difference = (mae_K[a] - mae_K[b]).to_numpy()
        count, mean = len(difference), float(difference.mean())
        error = float(difference.std(ddof=1)) * (1 / count + (0.0 if np.isnan(ratio) else ratio)) ** 0.5
        half_width = float(student.ppf((1 + level) / 2, count - 1)) * error
        p = float(2 * student.sf(abs(mean) / error, count - 1)) if error > 0 else float(mean == 0)
        row = {"a": a, "b": b, "mae_difference_K": mean, "interval_K": [mean - half_width, mean + half_width]}
        rows.append({**row, "p": p})
    return with_conclusions(rows, level)


def write_kept_runs(folder: Path, runs: dict[str, Run], splits: dict[str, dict[str, pd.DataFrame]]) -> None:
    """Write the predictions of all runs as one table: run, training median (K) and size, material, Tc, every model."""
    tables = []
    for name, run in runs.items():
        train = splits[name]["train"]
        table = run.predictions.assign(run=name, training_median_K=train["tc"].median(), n_train=len(train))
        tables.append(table[[*TRAINING_COLUMNS, *run.predictions.columns]])
    write_csv(folder / RUNS_FILE, pd.concat(tables))


def read_kept_runs(folder: Path) -> dict[str, Run]:
    """Every run of `write_kept_runs`.

    Raises:
        UserError: the file is missing or damaged.
    """
    made_by = "the benchmark that wrote comparison.json"
    table = read_csv(folder / RUNS_FILE, (*TRAINING_COLUMNS, "material_id", "tc"), made_by)
    return {str(name): _kept_run(part) for name, part in table.groupby("run", sort=False)}


def _kept_run(table: pd.DataFrame) -> Run:
    """One run of the kept table."""
    predictions = table.drop(columns=list(TRAINING_COLUMNS)).reset_index(drop=True)
    models = [name for name in predictions if name not in ("material_id", "tc")]
    tc_K, median_K = predictions["tc"], float(table["training_median_K"].iloc[0])
    median_mae_K = score(tc_K, tc_K, median_K)["median_mae_K"]
    return Run(
        predictions=predictions,
        median_mae_K=dict.fromkeys(models, median_mae_K),
        n_train=dict.fromkeys(models, float(table["n_train"].iloc[0])),
    )

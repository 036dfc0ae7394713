"""Several runs of the same models: other training seeds, or other splits (folds)."""

import os
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from comparison.bootstrap import METRICS, holm
from comparison.gather import ENDING, prediction_files, read_metrics
from comparison.verdicts import verdict
from tc_common.errors import UserError
from tc_common.metrics import score
from tc_common.predictions import align, read_predictions
from tc_common.provenance import git_commit


def read_runs(pattern: str) -> tuple[pd.DataFrame, bool]:
    """Scores of every model in every folder that `pattern` matches, and whether all runs test the same materials.

    Columns: run, model, n, the metrics, n_train (NaN where the model did not write it). The median's MAE, hence
    skill, comes from `<model>_metrics.json`.

    Raises:
        UserError: fewer than two runs, a model that is missing in one of them, differing materials within a run.
    """
    anchor = Path(pattern).anchor
    matched = sorted(Path(anchor).glob(pattern.removeprefix(anchor)))
    folders = [folder for folder in matched if any(folder.glob(f"*{ENDING}"))]
    if len(folders) < 2:
        raise UserError(f"--runs {pattern!r} matches {len(folders)} folders with predictions; at least 2 are needed")
    rows, materials, common = [], set(), os.path.commonpath(folders)
    for folder in folders:
        scored, ids = _read_run(folder, run=folder.relative_to(common).as_posix())
        rows += scored
        materials.add(ids)
    runs = pd.DataFrame(rows)
    _require_all_models(runs)
    return runs, len(materials) == 1


def _read_run(folder: Path, run: str) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """One row of scores per model of a run, and the ids it was tested on."""
    paths = prediction_files(folder, ensembles=True)
    tables = {name: read_predictions(path) for name, path in paths.items()}
    truth_name, truth = next(iter(tables.items()))
    rows = []
    for name, table in tables.items():
        table = align(table, truth, paths[name], paths[truth_name].name)
        metrics = read_metrics(folder / f"{name}_metrics.json")
        scores = score(table["tc"], table["tc_pred"], float("nan"))
        median_mae_K = metrics.get("median_mae_K", float("nan"))
        scores |= {"median_mae_K": median_mae_K, "skill": 1 - scores["mae_K"] / median_mae_K}
        rows.append({"run": run, "model": name, **scores, "n_train": metrics.get("n_train", float("nan"))})
    return rows, tuple(truth["material_id"])


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
        reach = float(student.ppf((1 + level) / 2, count - 1)) * error
        p = float(2 * student.sf(abs(mean) / error, count - 1)) if error > 0 else float(mean == 0)
        row = {"a": a, "b": b, "mae_difference_K": mean, "interval_K": [mean - reach, mean + reach]}
        rows.append({**row, "p": p})
    corrected = holm(np.array([row["p"] for row in rows]))
    rows = [{**row, "p_holm": float(p)} for row, p in zip(rows, corrected, strict=True)]
    return [{**row, "verdict": verdict(row, level)} for row in rows]

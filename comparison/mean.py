"""Seed ensemble: the mean of several trainings' predictions, and their spread.

Lakshminarayanan et al. 2017, arXiv:1612.01474: networks that differ in nothing but their seed err differently, so
their mean errs less than any, and their spread says where they are unsure.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from comparison.evaluate import costs, total_costs
from comparison.gather import Results, gather, read_metrics
from comparison.repeats import matching_folders
from tc_common.errors import UserError
from tc_common.files import write_json
from tc_common.further import FACTS
from tc_common.metrics import mean_and_spread
from tc_common.results import (
    ENDING,
    METRICS_ENDING,
    VAL_ENDING,
    metrics_of,
    with_intervals,
    write_further,
    write_results,
)

# Metrics that the mean inherits where all trainings agree.
KEPT = ("n_train", "splits_sha256", "epochs", "extra_structures", "extra_labels_exclude")


def mean_of_trainings(
    pattern: str, model: str, data_dir: Path | None, limit: int | None, results_dir: Path
) -> dict[Path, Results]:
    """What each folder that `pattern` matches says of `model`, by folder; at least two.

    Raises:
        UserError: fewer folders, one that lacks files of the model or has other materials or splits, or `results_dir`
            among them.
    """
    folders = matching_folders(pattern)
    if results_dir.resolve() in [folder.resolve() for folder in folders]:
        raise UserError(f"{results_dir} is one of the folders that {pattern!r} matches; name another --results-dir")
    trainings = {folder: gather(folder, data_dir, limit) for folder in folders}
    first = trainings[folders[0]]
    for folder, training in trainings.items():
        needed = [f"{model}{ending}" for ending in (ENDING, VAL_ENDING, METRICS_ENDING, "_config.json")]
        if missing := [name for name in needed if not (folder / name).is_file()]:
            raise UserError(f"{folder} lacks {', '.join(missing)}; train {model} there, or name other folders")
        if training.splits_sha256 != first.splits_sha256 or not _same_materials(training, first):
            raise UserError(f"{folder} has other materials than {folders[0]}; a mean needs the same splits")
    return trainings


def _same_materials(a: Results, b: Results) -> bool:
    return all(a.truth[split]["material_id"].equals(b.truth[split]["material_id"]) for split in ("val", "test"))


def write_mean(
    trainings: dict[Path, Results], model: str, name: str, results_dir: Path, coverage: float
) -> dict[str, Any]:
    """Write `<name>_{predictions,val_predictions}.csv`, `<name>_{metrics,config}.json`; the metrics are returned.

    `tc_pred` is the mean of the trainings and `tc_std` their SD, in K, so that intervals are wide where they differ;
    the settings are those on which the trainings agree.
    """
    every = list(trainings.values())
    val, test = (mean_prediction([getattr(one, split)[model] for one in every]) for split in ("val", "test"))
    predicted = {"val": val, "test": with_intervals(val, test, coverage)}
    metrics = metrics_of(name, every[0].splits, predicted, _origins([one.metrics[model] for one in every]))
    write_results(results_dir, name, predicted, metrics)
    write_further(results_dir, name, mean_further(every, model))
    settings = [read_metrics(folder / f"{model}_config.json") for folder in trainings]
    write_json(results_dir / f"{name}_config.json", _common(settings))
    return metrics


def mean_prediction(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """`material_id, formula, tc, tc_pred, tc_std` of n materials from tables in the same order; SD with n - 1."""
    pred_K = np.stack([table["tc_pred"].to_numpy(float) for table in tables], axis=1)
    mean_K, spread_K = mean_and_spread(pred_K, np.full(len(tables), 1 / len(tables)), unbiased=True)
    return tables[0][["material_id", "formula", "tc"]].assign(tc_pred=mean_K, tc_std=spread_K)


def mean_further(trainings: list[Results], model: str) -> dict[str, pd.DataFrame]:
    """The means of the further tests that all trainings have.

    Raises:
        UserError: two of them hold other materials.
    """
    tests = [test for test in trainings[0].further if all(model in one.further.get(test, {}) for one in trainings)]
    means = {}
    for test in tests:
        tables = [one.further[test][model] for one in trainings]
        if any(not table["material_id"].equals(tables[0]["material_id"]) for table in tables):
            raise UserError(f"{model}: the trainings' {test} predictions hold other materials; predict them again")
        facts = [fact for fact in FACTS if fact in tables[0]]
        means[test] = mean_prediction(tables).join(tables[0][facts])
    return means


def _origins(stated: list[dict[str, Any]]) -> dict[str, Any]:
    """Where the mean comes from, and what its trainings cost together."""
    origins = sorted({str(metrics.get("init", "unknown")) for metrics in stated})
    agreed = {key: value for key, value in _common(stated).items() if key in KEPT and value is not None}
    return {
        "init": f"mean of {len(stated)}: {', '.join(origins)}",
        "seeds": [seed for metrics in stated for seed in metrics.get("seeds") or [None]],
        **agreed,
        **{key: [metrics[key] for metrics in stated] for key in ("neighbours",) if all(key in m for m in stated)},
        **total_costs([costs(metrics) for metrics in stated]),
        "git_commits": sorted({str(metrics.get("git_commit")) for metrics in stated}),
    }


def _common(tables: list[dict[str, Any]]) -> dict[str, Any]:
    """Entries that are the same in all tables."""
    return {key: value for key, value in tables[0].items() if all(table.get(key) == value for table in tables)}


def alone_mae_K(training: Results, model: str) -> float:
    """MAE of one training."""
    table = training.test[model]
    return float((table["tc_pred"] - table["tc"]).abs().mean())

"""The one result writer: predictions of validation and test materials, and metrics with the same keys for all.

Every model (trainers, zero-shot, retrieval, baselines, means, ensembles) writes `<model>_predictions.csv`,
`<model>_val_predictions.csv` and `<model>_metrics.json` through `write_results`, and its predictions of the further
tests (`tc_common.further`) through `write_further`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from tc_common.conformal import conformal_intervals
from tc_common.environment import git_commit
from tc_common.files import plain, write_json
from tc_common.further import FACTS, FURTHER_TESTS
from tc_common.metrics import score
from tc_common.predictions import write_predictions
from tc_common.splits import splits_sha256

ENDING, VAL_ENDING, METRICS_ENDING = "_predictions.csv", "_val_predictions.csv", "_metrics.json"
# Keys of every metrics file; null where unknown. A model that has more to say adds keys after these.
METRICS_KEYS = (
    "model", "n", "n_train", "mae_K", "rmse_K", "r2", "msle", "median_mae_K", "skill", "val_mae_K", "seeds", "init",
    "device", "train_seconds", "inference_ms_per_sample", "parameters", "git_commit", "splits_sha256",
)  # fmt: skip
COVERAGE = 0.9  # nominal coverage of `tc_lower` to `tc_upper`


Tables: TypeAlias = Mapping[str, pd.DataFrame]


def metrics_of(name: str, splits: Tables, predicted: Tables, known: Mapping[str, Any]) -> dict[str, Any]:
    """All that a metrics file says: scores, sizes, fingerprint of the splits, this program's commit, and `known`.

    Args:
        splits: `train`, `val`, `test`; empty where the split files are unknown, which leaves no skill.
        predicted: tables of `val` and `test` with `tc` and `tc_pred` (K).
        known: what only the model knows: `seeds`, `init`, `device`, times, sizes, and whatever else it has to say.
    """
    median_K = float(splits["train"]["tc"].median()) if splits else float("nan")
    val, test = predicted["val"], predicted["test"]
    found = {
        "model": name,
        **score(test["tc"], test["tc_pred"], median_K),
        "n_train": len(splits["train"]) if splits else None,
        "val_mae_K": float((val["tc_pred"] - val["tc"]).abs().mean()),
        "git_commit": git_commit(),
        "splits_sha256": splits_sha256(dict(splits)) if splits else None,
    }
    return in_one_form(found | dict(known))


def in_one_form(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The same metrics with `METRICS_KEYS` first, null where unknown, without NaN and numpy."""
    return dict(plain({key: metrics.get(key) for key in METRICS_KEYS} | dict(metrics)))


def write_results(folder: Path, name: str, predicted: Tables, metrics: Mapping[str, Any]) -> None:
    """Write a model's predictions of `val` and `test`, and the metrics that `metrics_of` made.

    Raises:
        UserError: a prediction is no temperature, or the folder cannot be written.
    """
    assert set(METRICS_KEYS) <= set(metrics), "metrics are made by metrics_of"
    write_predictions(folder / f"{name}{VAL_ENDING}", predicted["val"])
    write_predictions(folder / f"{name}{ENDING}", predicted["test"])
    write_json(folder / f"{name}{METRICS_ENDING}", dict(metrics))


def further_path(folder: Path, name: str, test: str) -> Path:
    """`<name>_<test>_predictions.csv` of one of the `FURTHER_TESTS`."""
    return folder / f"{name}_{test}{ENDING}"


def write_further(folder: Path, name: str, predicted: Tables) -> None:
    """Write a model's predictions of the further tests; files of those that it has no more are removed.

    Args:
        predicted: by name of the test, the materials of `tc_common.further` with `tc_pred` (K).

    Raises:
        UserError: a prediction is no temperature, or the folder cannot be written.
    """
    for test in FURTHER_TESTS:
        if test in predicted:
            write_predictions(further_path(folder, name, test), predicted[test], FACTS)
        else:
            further_path(folder, name, test).unlink(missing_ok=True)


def with_intervals(val: pd.DataFrame, test: pd.DataFrame, coverage: float = COVERAGE) -> pd.DataFrame:
    """`test` with conformal `tc_lower`, `tc_upper` (K), where the validation materials suffice."""
    bounds = conformal_intervals(val, test, coverage)
    return test if bounds is None else test.join(bounds)

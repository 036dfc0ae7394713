"""Every model's metrics file has the same keys, whoever writes it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tc_common.results import METRICS_KEYS, in_one_form, metrics_of, with_intervals, write_results
from tc_common.splits import splits_sha256
from tests.comparison.made import make_splits

ROOT = Path(__file__).parents[2]
NUMBERS = ("n", "mae_K", "rmse_K", "r2", "msle", "median_mae_K", "skill", "val_mae_K", "train_seconds")


def predicted(splits: dict[str, pd.DataFrame], error_K: float) -> dict[str, pd.DataFrame]:
    return {name: splits[name].assign(tc_pred=splits[name]["tc"] + error_K) for name in ("val", "test")}


def test_all_published_metrics_have_the_same_keys_in_the_same_order() -> None:
    paths = sorted((ROOT / "results").rglob("*_metrics.json"))
    assert len(paths) >= 48
    wrong = []
    for path in paths:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        tables = [metrics, *metrics.get("baselines", {}).values()]
        in_order = all(list(table)[: len(METRICS_KEYS)] == list(METRICS_KEYS) for table in tables)
        numbers = all(isinstance(table[key], (int, float)) for table in tables for key in NUMBERS if in_order)
        seeds = in_order and isinstance(metrics["seeds"], list)
        old = {"seed", "best_val_mae_K"} & set(metrics)
        if not (in_order and numbers and seeds) or old:
            wrong.append(path.relative_to(ROOT).as_posix())
    assert wrong == []


def test_scores_sizes_and_fingerprint_follow_from_predictions_and_splits(tmp_path: Path) -> None:
    splits = make_splits(tmp_path, 20)
    metrics = metrics_of("alignn", splits, predicted(splits, 2.0), {"init": "random", "epochs": 3})
    assert tuple(metrics)[: len(METRICS_KEYS)] == METRICS_KEYS
    assert (metrics["n"], metrics["n_train"], metrics["init"], metrics["epochs"]) == (20, 20, "random", 3)
    assert metrics["mae_K"] == pytest.approx(2.0) and metrics["val_mae_K"] == pytest.approx(2.0)
    assert metrics["splits_sha256"] == splits_sha256(splits)
    assert metrics["device"] is None and metrics["parameters"] is None, "unknown"


def test_without_splits_what_they_know_is_null(tmp_path: Path) -> None:
    metrics = metrics_of("alignn", {}, predicted(make_splits(tmp_path, 20), 2.0), {})
    assert [metrics[key] for key in ("n_train", "skill", "median_mae_K", "splits_sha256")] == [None] * 4
    assert metrics["mae_K"] == pytest.approx(2.0)


def test_three_files_are_written_and_hold_no_numpy(tmp_path: Path) -> None:
    splits = make_splits(tmp_path / "splits", 20)
    tables: dict[str, pd.DataFrame] = predicted(splits, 2.0)
    known: dict[str, Any] = {"parameters": np.int64(7), "train_seconds": float("nan")}
    write_results(tmp_path / "r", "alignn", tables, metrics_of("alignn", splits, tables, known))
    names = {path.name for path in (tmp_path / "r").iterdir()}
    assert names == {"alignn_predictions.csv", "alignn_val_predictions.csv", "alignn_metrics.json"}
    metrics = json.loads((tmp_path / "r/alignn_metrics.json").read_text(encoding="utf-8"))
    assert metrics["parameters"] == 7 and metrics["train_seconds"] is None
    with pytest.raises(AssertionError, match="metrics_of"):
        write_results(tmp_path / "r", "alignn", tables, {"mae_K": 1.0})


def test_one_form_keeps_further_keys_after_the_common_ones() -> None:
    assert list(in_one_form({"epochs": 3, "skill": 0.5})) == [*METRICS_KEYS, "epochs"]


def test_intervals_need_enough_validation_materials(tmp_path: Path) -> None:
    tables = predicted(make_splits(tmp_path, 20), 2.0)
    bounded = with_intervals(tables["val"], tables["test"])
    assert ((bounded["tc_upper"] - bounded["tc_pred"]).round(9) == 2.0).all()
    assert "tc_lower" not in with_intervals(tables["val"][:5], tables["test"])

"""Several trainings as one model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comparison.mean import alone_mae_K, mean_of_trainings, write_mean
from tc_common.errors import UserError
from tc_common.files import write_json
from tc_common.predictions import read_predictions
from tests.comparison.made import make_model, make_splits, read_json


def trained(folder: Path, seeds: int = 3, count: int = 60) -> str:
    """Trainings of "alignn" whose errors are independent, and the pattern that matches them."""
    splits = make_splits(folder / "splits", count)
    for seed in range(seeds):
        known = {"init": "random", "train_seconds": 10.0, "parameters": 100, "seeds": [seed]}
        make_model(folder / f"seed{seed}", "alignn", splits, 3.0, seed, **known)
        settings = {"seed": seed, "hidden": 64, "results_dir": f"seed{seed}"}
        write_json(folder / f"seed{seed}/alignn_config.json", settings)
    return str(folder / "seed*")


def test_the_mean_errs_less_than_each_and_says_where_it_comes_from(tmp_path: Path) -> None:
    trainings = mean_of_trainings(trained(tmp_path, 4), "alignn", tmp_path / "splits", None, tmp_path / "out")
    metrics = write_mean(trainings, "alignn", "alignn_mean", tmp_path / "out", 0.9)
    tables = [read_predictions(folder / "alignn_predictions.csv") for folder in trainings]
    pred_K = np.array([table["tc_pred"] for table in tables])
    mean = read_predictions(tmp_path / "out/alignn_mean_predictions.csv")
    np.testing.assert_allclose(mean["tc_pred"], pred_K.mean(axis=0))
    np.testing.assert_allclose(mean["tc_std"], pred_K.std(axis=0, ddof=1))
    assert (mean["tc_lower"] <= mean["tc_pred"].clip(0)).all() and (mean["tc_pred"] <= mean["tc_upper"]).all()
    assert np.ptp(mean["tc_upper"] - mean["tc_pred"]) > 0.1, "widths follow the spread"
    # independent errors: the mean of four has half the error of one
    alone_K = [alone_mae_K(training, "alignn") for training in trainings.values()]
    assert metrics["mae_K"] == pytest.approx(np.mean(alone_K) / 2, rel=0.2)
    assert metrics["mae_K"] == pytest.approx(np.abs(mean["tc_pred"] - mean["tc"]).mean())
    assert metrics == read_json(tmp_path / "out/alignn_mean_metrics.json")
    assert (metrics["model"], metrics["init"], metrics["seeds"]) == ("alignn_mean", "mean of 4: random", [0, 1, 2, 3])
    assert (metrics["train_seconds"], metrics["parameters"], metrics["n_train"]) == (40.0, 400, 60)
    assert read_json(tmp_path / "out/alignn_mean_config.json") == {"hidden": 64}


def test_what_no_mean_can_be_made_of_is_named(tmp_path: Path) -> None:
    pattern = trained(tmp_path)
    with pytest.raises(UserError, match="matches 0 folders"):
        mean_of_trainings(str(tmp_path / "none*"), "alignn", None, None, tmp_path)
    with pytest.raises(UserError, match="seed0 lacks dinov3_predictions.csv"):
        mean_of_trainings(pattern, "dinov3", None, None, tmp_path)
    with pytest.raises(UserError, match="is one of the folders"):
        mean_of_trainings(pattern, "alignn", None, None, tmp_path / "seed1")
    (tmp_path / "seed1/alignn_val_predictions.csv").unlink()
    with pytest.raises(UserError, match="seed1 lacks"):
        mean_of_trainings(pattern, "alignn", None, None, tmp_path)
    make_model(tmp_path / "seed1", "alignn", make_splits(tmp_path / "other", 50), 3.0, 1)
    with pytest.raises(UserError, match="seed1 has other materials than .*seed0"):
        mean_of_trainings(pattern, "alignn", None, None, tmp_path)


def test_rows_in_another_order_are_matched_by_id(tmp_path: Path) -> None:
    pattern = trained(tmp_path)
    path = tmp_path / "seed1/alignn_predictions.csv"
    before = write_mean(
        mean_of_trainings(pattern, "alignn", tmp_path / "splits", None, tmp_path), "alignn", "a", tmp_path, 0.9
    )
    pd.read_csv(path, dtype=str).sample(frac=1, random_state=1).to_csv(path, index=False)
    again = write_mean(
        mean_of_trainings(pattern, "alignn", tmp_path / "splits", None, tmp_path), "alignn", "a", tmp_path, 0.9
    )
    assert before == again

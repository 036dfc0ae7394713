"""Models are compared on the same materials or not at all."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comparison.evaluate import Uncertainty, evaluate
from comparison.gather import gather, write_kept_splits
from tc_common.errors import UserError
from tc_common.predictions import read_predictions, write_predictions
from tc_common.splits import limited
from tests.comparison.made import make_model, make_results, make_splits

QUICK = Uncertainty(resamples=200)


def test_shuffled_rows_give_identical_numbers(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 2.0, "dinov3": 4.0})
    before = evaluate(results, QUICK)
    for path in tmp_path.glob("*_predictions.csv"):
        rows = pd.read_csv(path, dtype=str).sample(frac=1, random_state=3)
        rows.to_csv(path, index=False)
    assert evaluate(gather(tmp_path, tmp_path / "splits"), QUICK) == before


def test_a_missing_material_is_an_error_that_names_it(tmp_path: Path) -> None:
    make_results(tmp_path, {"alignn": 2.0, "dinov3": 4.0})
    path = tmp_path / "dinov3_predictions.csv"
    write_predictions(path, read_predictions(path)[1:])
    with pytest.raises(
        UserError, match=r"dinov3_predictions.csv and test.csv hold different materials.*lacks test-000"
    ):
        gather(tmp_path, tmp_path / "splits")


def test_without_split_files_models_are_held_against_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_results(tmp_path, {"alignn": 2.0, "dinov3": 4.0})
    monkeypatch.chdir(tmp_path)
    results = gather(tmp_path)
    assert np.isnan(results.training_median_K)
    comparison = evaluate(results, QUICK)
    assert np.isnan(comparison["models"]["alignn"]["score"]["skill"])
    assert comparison["models"]["alignn"]["by_family"] == []
    assert "--data-dir" in comparison["notes"][0]
    path = tmp_path / "dinov3_predictions.csv"
    write_predictions(path, read_predictions(path)[1:])
    with pytest.raises(UserError, match=r"dinov3_predictions.csv and alignn_predictions.csv .* lacks test-000"):
        gather(tmp_path)


def test_the_default_splits_are_used_if_they_are_of_these_materials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    splits = make_splits(tmp_path / "data/processed")
    make_model(tmp_path, "alignn", splits, 2.0, 1)
    assert gather(tmp_path).training_median_K == splits["train"]["tc"].median()
    make_splits(tmp_path / "data/processed", count=50, seed=9)
    assert np.isnan(gather(tmp_path).training_median_K), "other materials"


def test_a_material_missing_from_the_default_splits_is_an_error_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    splits = make_splits(tmp_path / "data/processed")
    make_model(tmp_path, "alignn", splits, 2.0, 1)
    path = tmp_path / "alignn_predictions.csv"
    write_predictions(path, read_predictions(path)[1:])
    with pytest.raises(UserError, match="lacks test-000"):
        gather(tmp_path)


def test_a_limit_is_the_trainers_limit(tmp_path: Path) -> None:
    splits = make_splits(tmp_path / "splits")
    few = {name: limited(table, 20) for name, table in splits.items()}
    make_model(tmp_path, "alignn", few, 2.0, 1)
    assert len(gather(tmp_path, tmp_path / "splits", limit=20).truth["test"]) == 20
    with pytest.raises(UserError, match="lacks test-0"):
        gather(tmp_path, tmp_path / "splits")


def test_numbers_of_other_splits_are_refused(tmp_path: Path) -> None:
    splits = make_splits(tmp_path / "splits")
    make_model(tmp_path, "alignn", splits, 2.0, 1)
    splits["train"].loc[0, "tc"] += 1
    make_model(tmp_path, "dinov3", splits, 2.0, 1)
    with pytest.raises(UserError, match="dinov3 was trained on other splits"):
        gather(tmp_path, tmp_path / "splits")


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="python -m baselines"):
        gather(tmp_path)


def test_ensembles_of_an_earlier_comparison_are_no_models(tmp_path: Path) -> None:
    make_results(tmp_path, {"alignn": 2.0, "ensemble": 1.0})
    assert list(gather(tmp_path, tmp_path / "splits").test) == ["alignn"]


def test_a_damaged_metrics_file_is_named(tmp_path: Path) -> None:
    make_results(tmp_path, {"alignn": 2.0})
    (tmp_path / "alignn_metrics.json").write_text("{")
    with pytest.raises(UserError, match="alignn_metrics.json cannot be read"):
        gather(tmp_path, tmp_path / "splits")


def test_splits_kept_by_an_earlier_comparison_are_used_if_they_are_of_these_materials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = make_results(tmp_path / "r", {"alignn": 2.0})
    write_kept_splits(tmp_path / "r", results.splits)
    assert gather(tmp_path / "r").training_median_K == results.training_median_K
    write_kept_splits(tmp_path / "r", make_splits(tmp_path / "other", count=50, seed=9))
    assert np.isnan(gather(tmp_path / "r").training_median_K), "other materials"

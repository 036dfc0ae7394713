"""Several runs: means, spreads and paired differences."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from comparison.repeats import read_run, read_runs, score_runs, summarise
from comparison.report.documents import markdown, terminal
from tc_common.errors import UserError
from tc_common.files import plain
from tests.comparison.made import make_model, make_results, make_splits


def test_training_seeds_on_one_split_give_the_usual_paired_t(tmp_path: Path) -> None:
    splits = make_splits(tmp_path / "splits")
    for seed in range(4):
        for number, noise_K in enumerate((2.0, 2.4)):
            make_model(tmp_path / f"seed{seed}", "ab"[number], splits, noise_K, 10 * seed + number, median_mae_K=8.0)
    runs, same_materials = score_runs(read_runs(str(tmp_path / "seed*")))
    assert same_materials and list(runs["run"].unique()) == ["seed0", "seed1", "seed2", "seed3"]
    summary = summarise(runs, same_materials, 0.95)
    mae_K = runs.pivot(index="run", columns="model", values="mae_K")
    assert summary["models"]["a"]["mae_K"]["mean"] == pytest.approx(mae_K["a"].mean())
    assert summary["models"]["a"]["mae_K"]["sd"] == pytest.approx(np.std(mae_K["a"], ddof=1))
    assert summary["models"]["a"]["skill"]["mean"] == pytest.approx(1 - mae_K["a"].mean() / 8)
    expected = ttest_rel(mae_K["a"], mae_K["b"])
    row = summary["differences"][0]
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["interval_K"] == pytest.approx(list(expected.confidence_interval(0.95)))
    assert "same 60 test materials" in terminal(summary)


def test_overlapping_splits_widen_the_interval_as_nadeau_and_bengio_say(tmp_path: Path) -> None:
    for seed in range(5):
        make_results(tmp_path / f"fold_{seed}", {"a": 2.0, "b": 2.6}, count=40 + 3 * seed, seed=seed)
    runs, same_materials = score_runs(read_runs(str(tmp_path / "fold_*")))
    assert not same_materials
    row = summarise(runs, same_materials, 0.95)["differences"][0]
    naive = summarise(runs, True, 0.95)["differences"][0]
    # test and training sets are of one size here: factor sqrt(1 / 5 + 1) over sqrt(1 / 5)
    assert np.ptp(row["interval_K"]) == pytest.approx(6**0.5 * np.ptp(naive["interval_K"]))
    assert row["p"] > naive["p"]


def test_an_unknown_training_size_is_said(tmp_path: Path) -> None:
    for seed in range(3):
        make_results(tmp_path / f"fold_{seed}", {"a": 2.0, "b": 2.6}, count=40 + seed, seed=seed)
        (tmp_path / f"fold_{seed}" / "a_metrics.json").unlink()
    summary = plain(summarise(*score_runs(read_runs(str(tmp_path / "fold_*"))), 0.95))
    assert "not corrected" in markdown(summary)
    assert summary["models"]["a"]["skill"]["mean"] is None


def test_a_training_size_is_the_models_own_statement(tmp_path: Path) -> None:
    splits = make_splits(tmp_path / "splits", count=30)
    make_model(tmp_path / "run", "a", splits, 2.0, 1)
    make_model(tmp_path / "run", "b", splits, 2.0, 1, n_train=None)
    n_train = read_run(tmp_path / "run").n_train
    assert n_train["a"] == 30 and np.isnan(n_train["b"])


def test_a_model_missing_in_one_run_is_named(tmp_path: Path) -> None:
    for seed in range(2):
        make_results(tmp_path / f"s{seed}", {"a": 2.0, "b": 2.6}, seed=seed)
    (tmp_path / "s1" / "b_predictions.csv").unlink()
    with pytest.raises(UserError, match="run s1 has no predictions of b"):
        score_runs(read_runs(str(tmp_path / "s*")))


def test_one_run_is_not_enough(tmp_path: Path) -> None:
    make_results(tmp_path / "s0", {"a": 2.0})
    with pytest.raises(UserError, match="matches 1 folders"):
        read_runs(str(tmp_path / "s*"))


def test_models_that_never_differ_are_not_distinguished() -> None:
    rows = [{"run": run, "model": model, "n": 9, "n_train": 30.0} for run in "xy" for model in "ab"]
    runs = pd.DataFrame(rows).assign(mae_K=3.0, rmse_K=4.0, r2=0.5, msle=0.1, skill=0.4)
    row = summarise(runs, False, 0.95)["differences"][0]
    assert row["p"] == 1 and "not distinguishable" in row["conclusion"]

"""Ensembles are fitted on validation materials and never look at the test materials."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comparison.ensemble import with_ensembles, write_ensembles
from comparison.gather import gather
from comparison.weights import cross_fitted, fit_weights
from tc_common.errors import UserError
from tc_common.predictions import read_predictions
from tests.comparison.made import make_results, read_json


def test_weights_are_the_best_of_a_fine_grid() -> None:
    random = np.random.default_rng(0)
    tc_K = random.lognormal(1, 1, 80)
    shared = random.normal(0, 1, (80, 1))  # without the bound, the model that errs twice as far would count negative
    pred_K = tc_K[:, None] + shared * [1, 2, 0.5] + random.normal(0, [0.1, 0.1, 2], (80, 3))
    weights = fit_weights(pred_K, tc_K)
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1)
    steps = np.linspace(0, 1, 51)
    grid = [(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1 + 1e-12]
    errors = [np.abs(pred_K @ candidate - tc_K).mean() for candidate in grid]
    assert np.abs(pred_K @ weights - tc_K).mean() <= min(errors) + 1e-9


def test_a_useless_model_gets_no_weight() -> None:
    tc_K = np.random.default_rng(1).lognormal(1, 1, 60)
    weights = fit_weights(np.stack([tc_K, 500 - tc_K], axis=1), tc_K)
    assert weights == pytest.approx([1, 0], abs=1e-9)


@pytest.mark.parametrize(("best", "given"), [(0.004, 0.0), (0.02, 0.02)])
def test_a_model_of_less_than_a_hundredth_is_left_out(best: float, given: float) -> None:
    random = np.random.default_rng(2)
    tc_K, apart_K = random.lognormal(1, 1, 60), random.normal(0, 1, 60)
    pred_K = np.stack([tc_K + best * apart_K, tc_K - (1 - best) * apart_K], axis=1)  # exact at this weight
    assert fit_weights(pred_K, tc_K) == pytest.approx([1 - given, given], abs=1e-6)


@pytest.mark.parametrize("name", ["ensemble", "ensemble_equal"])
def test_independent_errors_average_out(tmp_path: Path, name: str) -> None:
    results = make_results(tmp_path, {"a": 3.0, "b": 3.0, "c": 3.0}, count=300)
    combined = with_ensembles(results, [name], seed=1)
    mae_K = {model: np.abs(t["tc_pred"] - results.column("tc")).mean() for model, t in combined.test.items()}
    assert mae_K[name] < 0.8 * min(mae_K["a"], mae_K["b"], mae_K["c"])
    val_error = np.abs(combined.val[name]["tc_pred"] - combined.truth["val"]["tc"]).mean()
    assert val_error == pytest.approx(mae_K[name], rel=0.25)


def test_the_plain_mean_leaves_out_a_model_no_better_than_a_constant(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"a": 3.0, "b": 300.0, "c": 3.0}, count=30)
    combined = with_ensembles(results, ["ensemble_equal"], seed=1)
    expected = np.mean([combined.test[name]["tc_pred"] for name in "ac"], axis=0)
    np.testing.assert_allclose(combined.test["ensemble_equal"]["tc_pred"], expected)
    assert combined.ensembles["ensemble_equal"]["left_out"] == ["b"]


def test_the_plain_mean_is_the_mean_of_all_models(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"a": 3.0, "b": 6.0, "c": 3.0}, count=30)
    combined = with_ensembles(results, ["ensemble_equal"], seed=1)
    for tables in (combined.val, combined.test):
        expected = np.mean([tables[name]["tc_pred"] for name in "abc"], axis=0)
        np.testing.assert_allclose(tables["ensemble_equal"]["tc_pred"], expected)
        spread = np.std([tables[name]["tc_pred"] for name in "abc"], axis=0)
        np.testing.assert_allclose(tables["ensemble_equal"]["tc_std"], spread)


def test_test_materials_have_no_say(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"a": 3.0, "b": 4.0}, count=80)
    other_truth = {**results.truth, "test": results.truth["test"].assign(tc=0.0)}
    for name in ("ensemble", "ensemble_equal"):
        first, second = (with_ensembles(r, [name], seed=1) for r in (results, replace(results, truth=other_truth)))
        assert np.array_equal(first.test[name]["tc_pred"], second.test[name]["tc_pred"])
        assert np.array_equal(first.val[name]["tc_pred"], second.val[name]["tc_pred"])


def test_a_model_without_weight_does_not_widen_the_spread(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"a": 1.0, "b": 1.0, "wild": 300.0}, count=80)
    combined = with_ensembles(results, ["ensemble"], seed=1)
    weights = combined.ensembles["ensemble"]["weights"]
    assert weights["wild"] < 0.02
    apart = (results.test["a"]["tc_pred"] - results.test["b"]["tc_pred"]).abs().to_numpy()
    expected = apart * (weights["a"] * weights["b"]) ** 0.5
    wild = combined.test["ensemble"]["tc_std"].to_numpy() - expected
    assert np.median(np.abs(wild)) < 300 * weights["wild"] ** 0.5 + 1e-9
    assert combined.test["ensemble"]["tc_std"].median() < 5


def test_a_model_without_weight_costs_nothing(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"a": 1.0, "b": 1.0, "useless": 50.0})
    found = with_ensembles(results, ["ensemble", "ensemble_equal"], 1)
    assert found.ensembles["ensemble"]["weights"]["useless"] == 0
    assert found.metrics["ensemble"]["train_seconds"] == 10.0 + 20.0
    assert found.metrics["ensemble_equal"]["train_seconds"] == 10.0 + 20.0, "the plain mean leaves it out too"


def test_a_validation_material_has_no_say_in_its_own_prediction() -> None:
    random = np.random.default_rng(3)
    pred_K, tc_K = random.lognormal(1, 1, (80, 2)), random.lognormal(1, 1, 80)
    fit = lambda _, tc_K: np.full(2, tc_K.mean())  # noqa: E731  (notices every material)
    before = cross_fitted(fit, pred_K, tc_K, seed=1)
    for row in (0, 17):
        moved = tc_K.copy()
        moved[row] += 1000
        after = cross_fitted(fit, pred_K, moved, seed=1)
        assert before[row] == after[row]
        assert (before != after).sum() == 64, "the other four folds do notice"


def test_who_lacks_validation_predictions_is_named(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"a": 3.0, "b": 4.0, "c": 2.0})
    without = replace(results, val={name: results.val[name] for name in "ab"})
    facts = with_ensembles(without, ["ensemble", "ensemble_equal"], 1).ensembles
    assert facts["ensemble"]["models"] == facts["ensemble_equal"]["models"] == ["a", "b"]
    assert facts["ensemble"]["left_out"] == facts["ensemble_equal"]["left_out"] == ["c"]
    with pytest.raises(UserError, match="at least two models, found: a"):
        with_ensembles(replace(results, val={"a": results.val["a"]}), ["ensemble"], 1)


def test_an_ensemble_is_written_like_any_model(tmp_path: Path) -> None:
    results = with_ensembles(make_results(tmp_path, {"a": 3.0, "b": 4.0}), ["ensemble"], 1)
    write_ensembles(results, tmp_path, 0.9)
    written = read_predictions(tmp_path / "ensemble_predictions.csv")
    assert {"tc_std", "tc_lower", "tc_upper"} <= set(written.columns)
    assert (written["tc_lower"] <= written["tc_upper"]).all()
    metrics = read_json(tmp_path / "ensemble_metrics.json")
    assert metrics["mae_K"] == pytest.approx((written["tc_pred"] - written["tc"]).abs().mean())
    assert metrics["train_seconds"] == 30.0 and metrics["inference_ms_per_sample"] == 4.0
    assert sum(metrics["weights"].values()) == pytest.approx(1)
    assert list(gather(tmp_path, tmp_path / "splits").test) == ["a", "b"], "not an input of the next comparison"

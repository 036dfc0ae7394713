"""The scorer against hand-computed numbers and scikit-learn."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import (
    mean_absolute_error,
    mean_squared_error,
    mean_squared_log_error,
    median_absolute_error,
    r2_score,
)

from tc_common.metrics import errors_by_group, mean_and_spread, r2, score, weighted_median

temperatures = st.lists(st.floats(0, 140), min_size=2, max_size=30)


def sets(seed: int = 0, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    tc_K = np.where(random.random(count) < 0.3, 0, random.lognormal(1, 1.5, count))
    return tc_K, np.maximum(tc_K + random.normal(0, 4, count), 0)


def test_a_hand_computed_example() -> None:
    scores = score([0, 10, 20, 90], [1, 8, 20, 60], training_median_K=5)
    assert scores["n"] == 4
    assert scores["mae_K"] == pytest.approx((1 + 2 + 0 + 30) / 4)
    assert scores["rmse_K"] == pytest.approx(((1 + 4 + 0 + 900) / 4) ** 0.5)
    assert scores["r2"] == pytest.approx(1 - 905 / (30**2 + 20**2 + 10**2 + 60**2))
    assert scores["bias_K"] == pytest.approx((1 - 2 + 0 - 30) / 4)
    assert scores["median_absolute_error_K"] == pytest.approx(1.5)
    assert scores["median_mae_K"] == pytest.approx((5 + 5 + 15 + 85) / 4)
    assert scores["skill"] == pytest.approx(1 - 8.25 / 27.5)
    assert scores["residual_sd_K"] == pytest.approx((905 / 4 - 7.75**2) ** 0.5)


@pytest.mark.parametrize("weighted", [False, True])
def test_scikit_learn_agrees(weighted: bool) -> None:
    tc_K, pred_K = sets()
    weights = np.random.default_rng(1).integers(1, 5, len(tc_K)) / 4 if weighted else None
    scores = score(tc_K, pred_K, 2.0, weights)
    assert scores["mae_K"] == pytest.approx(mean_absolute_error(tc_K, pred_K, sample_weight=weights))
    assert scores["rmse_K"] == pytest.approx(mean_squared_error(tc_K, pred_K, sample_weight=weights) ** 0.5)
    assert scores["r2"] == pytest.approx(r2_score(tc_K, pred_K, sample_weight=weights))
    assert scores["msle"] == pytest.approx(mean_squared_log_error(tc_K, pred_K, sample_weight=weights))
    assert scores["pearson"] == pytest.approx(
        np.cov(tc_K, pred_K, aweights=weights)[0, 1] / _spread(tc_K, pred_K, weights)
    )
    if not weighted:
        assert scores["median_absolute_error_K"] == pytest.approx(median_absolute_error(tc_K, pred_K))
        assert scores["pearson"] == pytest.approx(pearsonr(tc_K, pred_K)[0])
        assert scores["spearman"] == pytest.approx(spearmanr(tc_K, pred_K)[0])


def _spread(a: np.ndarray, b: np.ndarray, weights: np.ndarray | None) -> float:
    covariance = np.cov(a, b, aweights=weights)
    return float((covariance[0, 0] * covariance[1, 1]) ** 0.5)


def test_integer_weights_count_as_repetitions() -> None:
    tc_K, pred_K = sets(count=40)
    times = np.random.default_rng(2).integers(1, 4, 40)
    repeated = score(np.repeat(tc_K, times), np.repeat(pred_K, times), 2.0)
    for name, value in score(tc_K, pred_K, 2.0, times).items():
        if name not in ("n", "spearman"):  # midranks of repeated rows are others
            assert value == pytest.approx(repeated[name]), name


@given(temperatures, st.floats(0, 100))
@example([86.03048979542703] * 3, 86.03048979542703)  # whose mean rounds to another number
def test_a_constant_prediction_explains_nothing(tc_K: list[float], constant_K: float) -> None:
    scores = score(tc_K, np.full(len(tc_K), constant_K), training_median_K=constant_K)
    assert scores["skill"] == 0
    assert scores["r2"] <= 1e-9
    assert scores["pearson"] == scores["spearman"] == 0


@given(temperatures)
def test_a_perfect_prediction_is_perfect(tc_K: list[float]) -> None:
    scores = score(tc_K, tc_K, training_median_K=1.0)
    assert scores["mae_K"] == scores["rmse_K"] == scores["msle"] == 0
    assert scores["skill"] == (1 if scores["median_mae_K"] else 0)


def test_negative_predictions_count_as_zero_in_the_logarithm_only() -> None:
    assert score([0.0, 3.0], [-5.0, 3.0], 1.0)["msle"] == 0
    assert score([0.0, 3.0], [-5.0, 3.0], 1.0)["mae_K"] == 2.5


def test_without_the_training_median_there_is_no_skill() -> None:
    scores = score([1.0, 2.0], [1.0, 3.0], float("nan"))
    assert np.isnan(scores["skill"]) and scores["mae_K"] == 0.5


def test_r2_is_zero_where_nothing_varies() -> None:
    assert r2(np.array([4.0, 4.0]), np.array([4.0, 9.0])) == 0


def test_weighted_median_of_an_even_split_lies_between() -> None:
    assert weighted_median(np.array([3.0, 1.0, 2.0, 10.0]), np.ones(4)) == 2.5
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 5.0])) == 2.0
    assert weighted_median(np.array([7.0]), np.ones(1)) == 7.0


def test_mean_and_spread_by_hand() -> None:
    pred_K = np.array([[1.0, 4.0], [2.0, 2.0]])
    mean_K, spread_K = mean_and_spread(pred_K, np.array([2 / 3, 1 / 3]))
    assert mean_K == pytest.approx([2, 2]) and spread_K == pytest.approx([2**0.5, 0])
    equal = np.full(3, 1 / 3)
    samples = np.array([[3.0, 5.0, 10.0]])
    assert mean_and_spread(samples, equal)[1] == pytest.approx(samples.std(axis=1))
    assert mean_and_spread(samples, equal, unbiased=True)[1] == pytest.approx(samples.std(axis=1, ddof=1))


def test_errors_by_group_share_the_whole_error() -> None:
    table = errors_by_group(["b", "a", "b"], np.array([1.0, 10, 5]), np.array([2.0, 4, 8])).set_index("group")
    assert list(table.index) == ["a", "b"]
    assert table.loc["b", "n"] == 2
    assert table.loc["b", "mae_K"] == table.loc["b", "bias_K"] == 2
    assert table.loc["a", "bias_K"] == -6
    assert table.loc["b", "rmse_K"] == pytest.approx(5**0.5)
    assert table["error_share"].to_list() == pytest.approx([0.6, 0.4])

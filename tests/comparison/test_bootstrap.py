"""Intervals and p-values: against brute force, scipy, and the truth."""

import time

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from comparison.bootstrap import METRICS, bootstrap, holm
from tc_common.metrics import score


def made(count: int, random: np.random.Generator, models: int = 2) -> tuple[np.ndarray, np.ndarray]:
    tc_K = random.lognormal(1, 1.2, count)
    return tc_K, tc_K[:, None] + random.normal(0, 1, (count, models)) * np.linspace(1, 2, models)


def test_points_are_those_of_the_scorer() -> None:
    tc_K, pred_K = made(50, np.random.default_rng(0))
    weights = np.random.default_rng(1).random(50)
    found = bootstrap(tc_K, pred_K, 2.5, resamples=10, seed=0, weights=weights)
    for model in range(2):
        expected = score(tc_K, pred_K[:, model], 2.5, weights)
        assert [found[name].point[model] for name in METRICS] == pytest.approx([expected[name] for name in METRICS])


def test_every_resample_is_what_the_scorer_says_of_the_drawn_materials() -> None:
    tc_K, pred_K = made(30, np.random.default_rng(2))
    found = bootstrap(tc_K, pred_K, 2.5, resamples=7, seed=5)
    drawn = np.random.default_rng(5).integers(30, size=(7, 30))
    for row, members in enumerate(drawn):
        expected = score(tc_K[members], pred_K[members, 1], 2.5)
        assert [found[name].resampled[row, 1] for name in METRICS] == pytest.approx(
            [expected[name] for name in METRICS]
        )


def test_left_out_is_the_jackknife() -> None:
    tc_K, pred_K = made(12, np.random.default_rng(3))
    found = bootstrap(tc_K, pred_K, 2.5, resamples=2, seed=0)
    for row in range(12):
        expected = score(np.delete(tc_K, row), np.delete(pred_K[:, 0], row), 2.5)
        assert found["r2"].left_out[row, 0] == pytest.approx(expected["r2"])


def test_scipy_agrees() -> None:
    tc_K, pred_K = made(80, np.random.default_rng(4), models=1)
    error = np.abs(pred_K[:, 0] - tc_K)
    ours = bootstrap(tc_K, pred_K, 2.5, resamples=40_000, seed=1)["mae_K"].interval(0.95)
    theirs = scipy_bootstrap((error,), np.mean, n_resamples=40_000, method="BCa", rng=np.random.default_rng(2))
    assert ours[:, 0] == pytest.approx(list(theirs.confidence_interval), abs=0.01)


def test_clusters_are_drawn_whole() -> None:
    tc_K, pred_K = made(40, np.random.default_rng(5))
    labels = np.repeat([f"system {k}" for k in range(8)], 5)
    found = bootstrap(tc_K, pred_K, 2.5, resamples=3, seed=9, clusters=labels)
    for row, systems in enumerate(np.random.default_rng(9).integers(8, size=(3, 8))):
        members = np.concatenate([np.flatnonzero(labels == f"system {k}") for k in systems])
        assert found["mae_K"].resampled[row, 0] == pytest.approx(np.abs(pred_K[members, 0] - tc_K[members]).mean())


def test_clusters_widen_the_interval_of_materials_that_err_together() -> None:
    random = np.random.default_rng(6)
    tc_K = random.lognormal(1, 1, 400)
    pred_K = (tc_K + np.repeat(random.normal(0, 3, 40), 10))[:, None]
    labels = np.repeat(np.arange(40).astype(str), 10)
    width = [
        np.ptp(bootstrap(tc_K, pred_K, 2.5, resamples=2000, seed=0, clusters=c)["mae_K"].interval(0.95))
        for c in (None, labels)
    ]
    assert width[1] > 2 * width[0]


def test_pairing_tells_apart_what_two_intervals_do_not() -> None:
    random = np.random.default_rng(7)
    tc_K = random.lognormal(1, 1.2, 300)
    shared = random.standard_t(3, 300) * 4
    pred_K = np.stack([tc_K + shared, tc_K + 1.08 * shared], axis=1)
    mae = bootstrap(tc_K, pred_K, 2.5, resamples=4000, seed=0)["mae_K"]
    (low_a, low_b), (high_a, high_b) = mae.interval(0.95)
    assert low_b < high_a, "the two intervals overlap"
    difference = mae.minus(0, 1)
    assert difference.interval(0.95)[1, 0] < 0
    assert difference.p_value()[0] < 0.001


def test_equal_models_differ_by_nothing() -> None:
    tc_K, pred_K = made(50, np.random.default_rng(8))
    difference = bootstrap(tc_K, pred_K[:, [0, 0]], 2.5, resamples=500, seed=0)["mae_K"].minus(0, 1)
    assert difference.p_value()[0] == 1
    assert difference.interval(0.95)[:, 0].tolist() == [0, 0]


def test_the_interval_of_confidence_1_minus_p_just_touches_zero() -> None:
    random = np.random.default_rng(9)
    for _ in range(20):
        tc_K = random.lognormal(1, 1, 40)
        error = random.standard_t(2, (40, 2)) * [1.0, 1.6]  # heavy tails: BCa corrects a lot
        difference = bootstrap(tc_K, tc_K[:, None] + error, 2.5, resamples=4000, seed=1)["mae_K"].minus(0, 1)
        p = difference.p_value()[0]
        assert 1 / 4001 <= p <= 1
        if 0.01 < p < 0.9:
            bounds = difference.interval(1 - p)[:, 0]
            assert np.abs(bounds).min() < 0.01 * np.ptp(bounds), (p, bounds)


def test_holm_by_hand() -> None:
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1, 1])
    assert len(holm(np.array([]))) == 0


def test_the_seed_decides() -> None:
    tc_K, pred_K = made(30, np.random.default_rng(10))
    first, again, other = (
        bootstrap(tc_K, pred_K, 2.5, resamples=50, seed=seed)["mae_K"].resampled for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("count", [1, 2])
def test_a_handful_of_materials_is_no_crash(count: int) -> None:
    found = bootstrap(np.zeros(count), np.zeros((count, 1)), 0.0, resamples=100, seed=0)
    for name in METRICS:
        assert np.isfinite(found[name].interval(0.95)).all()
    assert found["r2"].point[0] == found["skill"].point[0] == 0


def test_five_models_and_900_materials_take_little_processor_time() -> None:
    tc_K, pred_K = made(900, np.random.default_rng(11), models=5)
    started = time.process_time()
    found = bootstrap(tc_K, pred_K, 2.5, resamples=10_000, seed=0)
    for a in range(5):
        for b in range(a):
            difference = found["mae_K"].minus(a, b)
            difference.interval(0.95)
            difference.p_value()
    assert time.process_time() - started < 10


@pytest.mark.slow
def test_95_percent_intervals_hold_the_truth_93_to_97_times_in_100() -> None:
    random = np.random.default_rng(12)
    hits = {"mae_K": 0, "difference": 0}
    for number in range(1000):
        tc_K = random.lognormal(1, 1, 300)
        error = random.laplace(0, [3.0, 3.3], (300, 2))  # mean absolute errors 3.0 and 3.3 K
        mae = bootstrap(tc_K, tc_K[:, None] + error, 2.5, resamples=1000, seed=number)["mae_K"]
        low, high = mae.interval(0.95)[:, 0]
        hits["mae_K"] += low <= 3.0 <= high
        low, high = mae.minus(0, 1).interval(0.95)[:, 0]
        hits["difference"] += low <= -0.3 <= high
    assert 930 <= hits["mae_K"] <= 970 and 930 <= hits["difference"] <= 970, hits

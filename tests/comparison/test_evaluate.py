"""Numbers of the comparison and the sentences that follow from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comparison.evaluate import Uncertainty, compression, evaluate, worst_misses
from comparison.formatting import conclusion, display, format_p, number
from tc_common.files import plain
from tc_common.splits import TC_RANGES
from tests.comparison.made import make_results

QUICK = Uncertainty(resamples=500)


def difference(low: float, high: float, p: float) -> dict[str, Any]:
    middle = (low + high) / 2
    return {"a": "dinov3", "b": "alignn", "mae_difference_K": middle, "interval_K": [low, high], "p_holm": p}


def test_models_come_ordered_by_mae_with_their_groups(tmp_path: Path) -> None:
    comparison = evaluate(make_results(tmp_path, {"worse": 6.0, "better": 1.0, "middle": 3.0}), QUICK)
    assert list(comparison["models"]) == ["better", "middle", "worse"]
    model = comparison["models"]["worse"]
    for key in ("by_range", "by_family"):
        assert sum(row["n"] for row in model[key]) == comparison["n"] == 60
        assert sum(row["error_share"] for row in model[key]) == pytest.approx(1)
        weighted = sum(row["n"] * row["mae_K"] for row in model[key]) / 60
        assert weighted == pytest.approx(model["score"]["mae_K"])
    assert [row["group"] for row in model["by_range"]] == list(TC_RANGES)
    assert model["superconductors"]["n"] < 60
    low, high = model["interval"]["mae_K"]
    assert low < model["score"]["mae_K"] < high


def test_every_pair_is_compared_once(tmp_path: Path) -> None:
    comparison = evaluate(make_results(tmp_path, {"a": 1.0, "b": 1.0, "c": 9.0}, seed=2), QUICK)
    pairs = {frozenset((row["a"], row["b"])) for row in comparison["differences"]}
    assert pairs == {frozenset("ab"), frozenset("ac"), frozenset("bc")}
    for row in comparison["differences"]:
        scores = [comparison["models"][row[side]]["score"]["mae_K"] for side in "ab"]
        assert row["mae_difference_K"] == pytest.approx(scores[0] - scores[1])
        assert row["p_holm"] >= row["p"]
        told_apart = "c" in (row["a"], row["b"])
        assert ("not distinguishable" in row["conclusion"]) != told_apart


def test_one_model_has_no_differences(tmp_path: Path) -> None:
    assert evaluate(make_results(tmp_path, {"alone": 1.0}), QUICK)["differences"] == []


@pytest.mark.parametrize(
    ("low", "high", "p", "ending"),
    [
        (0.1, 0.9, 0.01, "ALIGNN has the lower MAE"),
        (-0.9, -0.1, 0.01, "ViT has the lower MAE"),
        (-0.1, 0.9, 0.01, "not distinguishable"),
        (0.1, 0.9, 0.06, "not distinguishable"),
    ],
)
def test_a_conclusion_needs_interval_and_corrected_p(low: float, high: float, p: float, ending: str) -> None:
    said = conclusion(difference(low, high, p), level=0.95)
    assert said.startswith(f"ViT − ALIGNN = {number((low + high) / 2, sign=True)} K [")
    assert said.endswith(ending)


def test_conclusions_follow_the_confidence_asked_for() -> None:
    assert "not distinguishable" in conclusion(difference(0.1, 0.9, 0.02), level=0.99)
    assert "lower MAE" in conclusion(difference(0.1, 0.9, 0.02), level=0.95)


def test_numbers_as_written() -> None:
    assert [number(value) for value in (-0.001, 1.005, None, float("nan"), -2.5)] == [
        "0.00",
        "1.00",
        "–",
        "–",
        "−2.50",
    ]
    assert [number(value, sign=True) for value in (0.3, -0.3, 0.0)] == ["+0.30", "−0.30", "0.00"]
    assert [format_p(p) for p in (0.5, 0.1, 0.0523, 0.00123, 0.0000912, 1.0)] == [
        "0.50", "0.10", "0.052", "0.001", "9e-05", "1.00"
    ]  # fmt: skip


def test_compression_of_known_predictions() -> None:
    tc_K = np.array([0.0, 10, 20, 30])
    assert compression(tc_K, tc_K) == pytest.approx({"sd_ratio": 1, "slope": 1})
    assert compression(tc_K, 0.25 * tc_K + 7) == pytest.approx({"sd_ratio": 0.25, "slope": 0.25})
    assert compression(tc_K, np.full(4, 3.0)) == {"sd_ratio": 0, "slope": 0}
    assert compression(tc_K, -tc_K)["slope"] == pytest.approx(-1)


def test_worst_misses_are_the_worst(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"a": 3.0, "b": 1.0})
    worst = worst_misses(results, "a", count=5)
    error_K = np.abs(results.test["a"]["tc_pred"] - results.column("tc"))
    assert [abs(row["tc_pred"]["a"] - row["tc"]) for row in worst] == pytest.approx(sorted(error_K)[:-6:-1])
    assert set(worst[0]["tc_pred"]) == {"a", "b"}


def test_weights_change_scores_and_intervals(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"a": 3.0})
    error_K = np.abs(results.test["a"]["tc_pred"].to_numpy() - results.column("tc"))
    weights = np.where(error_K > np.median(error_K), 0.001, 1.0)
    results.truth["test"]["weight"] = weights
    model = evaluate(results, QUICK, weighted=True)["models"]["a"]
    assert model["score"]["mae_K"] == pytest.approx(np.average(error_K, weights=weights))
    low, high = model["interval"]["mae_K"]
    assert low < model["score"]["mae_K"] < high < np.median(error_K)
    assert evaluate(results, QUICK)["models"]["a"]["score"]["mae_K"] == pytest.approx(error_K.mean())


def test_nothing_that_json_does_not_know_remains() -> None:
    assert plain({"a": (np.float64("nan"), np.int64(3)), "b": [Path("x"), float("inf")]}) == {
        "a": [None, 3],
        "b": ["x", None],
    }


def test_a_random_start_is_not_called_dinov3() -> None:
    assert display("dinov3", "random") == "ViT (from scratch)"
    assert display("dinov3", "pretrained:vit_base_patch16_dinov3.lvd1689m@0123456789ab") == "DINOv3"
    assert display("dinov3", "file:vit_tiny.pth@0123456789ab") == display("dinov3") == "ViT"
    assert display("alignn", "random") == "ALIGNN"

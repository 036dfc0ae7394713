"""Prediction intervals have their nominal coverage, and are given only where they can have it."""

import numpy as np
import pandas as pd
import pytest

from tc_common.conformal import conformal_intervals


def materials(count: int, random: np.random.Generator, noise: str = "scaled") -> pd.DataFrame:
    """Tc with residuals whose SD is known (`tc_std`) and varies a hundredfold."""
    pred_K = random.uniform(0, 100, count)
    std_K = 10 ** random.uniform(-1, 1, count)
    residual = random.standard_t(3, count) * (std_K if noise == "scaled" else 1)
    return pd.DataFrame({"tc": np.maximum(pred_K + residual, 0), "tc_pred": pred_K, "tc_std": std_K})


def covered(table: pd.DataFrame, bounds: pd.DataFrame) -> np.ndarray:
    return ((table["tc"] >= bounds["tc_lower"]) & (table["tc"] <= bounds["tc_upper"])).to_numpy()


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_empirical_coverage_is_the_nominal_one(coverage: float) -> None:
    random = np.random.default_rng(5)
    shares = []
    for _ in range(100):
        val, test = materials(150, random), materials(300, random)
        bounds = conformal_intervals(val, test, coverage)
        assert bounds is not None
        shares.append(covered(test, bounds).mean())
    # exact expectation: ceil(151 c) / 151
    assert np.mean(shares) == pytest.approx(np.ceil(151 * coverage) / 151, abs=0.008)


def test_a_known_spread_makes_intervals_narrow_where_they_can_be() -> None:
    random = np.random.default_rng(6)
    val, test = materials(500, random), materials(2000, random)
    scaled = conformal_intervals(val, test, 0.9)
    flat = conformal_intervals(val.drop(columns="tc_std"), test, 0.9)
    assert scaled is not None and flat is not None
    width = scaled["tc_upper"] - scaled["tc_lower"]
    assert width.mean() < 0.9 * (flat["tc_upper"] - flat["tc_lower"]).mean()
    sure = (test["tc_std"] < 0.5).to_numpy()
    assert covered(test, flat)[sure].mean() > 0.99, "too wide for the sure ones"
    assert covered(test, flat)[~sure].mean() < 0.89, "too narrow for the others"


def test_a_hand_computed_example() -> None:
    val = pd.DataFrame({"tc": [10.0] * 9, "tc_pred": [10.0 + k for k in range(1, 10)]})
    test = pd.DataFrame({"tc": [0.0, 0.0], "tc_pred": [20.0, 3.0]}, index=[7, 3])
    bounds = conformal_intervals(val, test, 0.8)  # rank ceil(10 * 0.8) = 8: radius 8 K
    assert bounds is not None
    assert bounds["tc_lower"].to_list() == [12.0, 0.0]
    assert bounds["tc_upper"].to_list() == [28.0, 11.0]
    assert bounds.index.to_list() == [7, 3]


def test_too_few_validation_materials_give_no_interval() -> None:
    val = materials(8, np.random.default_rng(0))
    assert conformal_intervals(val, val, 0.9) is None
    assert conformal_intervals(val, val, 0.8) is not None

"""Intervals by range of predicted Tc: nominal coverage in every range, where the plain ones fail."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from prediction.intervals import EDGES_K, FLOOR_K, PART_OF_TC, Intervals, fit_intervals
from tc_common.conformal import conformal_intervals
from tc_common.errors import UserError


def materials(count: int, seed: int, with_std: bool = False) -> pd.DataFrame:
    """Predictions most of which are low, with errors that grow faster than the prediction."""
    random = np.random.default_rng(seed)
    pred_K = random.exponential(12, count)
    std_K = random.uniform(0.5, 3, count) if with_std else np.ones(count)
    error_K = random.normal(0, 1, count) * (0.05 + 0.01 * pred_K**1.7) * std_K
    table = pd.DataFrame({"tc": np.maximum(pred_K + error_K, 0), "tc_pred": pred_K})
    return table.assign(tc_std=std_K) if with_std else table


def covered(intervals: Intervals, test: pd.DataFrame) -> list[float]:
    """Empirical coverage by range of predicted Tc."""
    std_K = test["tc_std"].to_numpy() if "tc_std" in test else None
    lower_K, upper_K = intervals.bounds(test["tc_pred"].to_numpy(), std_K)
    inside = (test["tc"] >= lower_K) & (test["tc"] <= upper_K)
    return inside.groupby(np.digitize(test["tc_pred"], EDGES_K)).mean().tolist()


@pytest.mark.parametrize("with_std", [False, True])
def test_every_range_is_covered_where_plain_intervals_leave_the_highest_out(with_std: bool) -> None:
    val, test = materials(20_000, 1, with_std), materials(20_000, 2, with_std)
    assert covered(fit_intervals(val), test) == pytest.approx([0.9] * 4, abs=0.03)
    plain = conformal_intervals(val, test, 0.9)
    assert plain is not None
    inside = (test["tc"] >= plain["tc_lower"]) & (test["tc"] <= plain["tc_upper"])
    assert inside[test["tc_pred"] >= EDGES_K[-1]].mean() < 0.6


def test_bounds_by_hand() -> None:
    intervals = Intervals(0.9, (5.0, 15.0), (2.0, 3.0, 4.0), True)
    lower_K, upper_K = intervals.bounds(np.array([1.0, 10.0, 20.0]), np.array([0.0, 1.0, 2.0]))
    radius = np.array([2 * (0.3 + 0.1), 3 * (1 + 0.3 + 1), 4 * (2 + 0.3 + 2)])
    assert (FLOOR_K, PART_OF_TC) == (0.3, 0.1)
    assert upper_K == pytest.approx([1, 10, 20] + radius)
    assert lower_K == pytest.approx([1 - radius[0], 10 - radius[1], 20 - radius[2]])


def test_a_prediction_below_0_K_counts_as_0_K_and_so_does_the_lower_end() -> None:
    lower_K, upper_K = Intervals(0.9, (), (2.0,), False).bounds(np.array([-3.0, 0.0]))
    assert lower_K.tolist() == [0, 0] and upper_K == pytest.approx([0.6, 0.6])


def test_a_range_of_few_materials_is_joined_with_the_one_below() -> None:
    val = materials(4000, 1)
    few = pd.concat([val[val["tc_pred"] < 40], val[val["tc_pred"] >= 40].iloc[:20]])
    assert fit_intervals(val).edges_K == EDGES_K and fit_intervals(few).edges_K == EDGES_K[:2]
    assert fit_intervals(val.iloc[:25]).edges_K == ()


def test_a_card_gives_the_same_intervals_back() -> None:
    fitted = fit_intervals(materials(500, 3, with_std=True))
    assert Intervals.from_plain(json.loads(json.dumps(fitted.plain()))) == fitted


@pytest.mark.parametrize(
    "edit",
    [
        {"factors": [1.0]}, {"factors": "wide"}, {"factors": [1.0, float("nan")]}, {"factors": [1.0, -1.0]},
        {"edges_K": [float("inf")]}, {"coverage": 2}, {"by_std": 1}, {"edges_K": None},
    ],
)  # fmt: skip
def test_an_edited_card_is_refused(edit: dict[str, Any]) -> None:
    good = Intervals(0.9, (5.0,), (1.0, 2.0), False).plain()
    assert Intervals.from_plain(good).factors == (1.0, 2.0)
    with pytest.raises(UserError, match="the card has no intervals"):
        Intervals.from_plain({**good, **edit})


def test_intervals_with_an_sd_need_one() -> None:
    with pytest.raises(UserError, match="SD, which is missing"):
        Intervals(0.9, (), (1.0,), True).bounds(np.ones(2))


def test_too_few_materials_are_a_users_mistake() -> None:
    with pytest.raises(UserError, match="5 validation materials are too few"):
        fit_intervals(materials(5, 1))

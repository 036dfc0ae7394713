"""Empirical coverage is reported as it is, also where it is below the nominal one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comparison.calibration import (
    all_intervals,
    calibration,
    coverage_by_prediction,
    coverage_curve,
    intervals_of,
    rejection_curve,
)
from tests.comparison.made import make_results


def test_coverage_and_width_by_hand(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 3.0}, count=200)
    found = calibration(results, "alignn", 0.8)
    table = intervals_of(results, "alignn", 0.8)
    assert table is not None
    inside = (results.column("tc") >= table["tc_lower"]) & (results.column("tc") <= table["tc_upper"])
    assert found["overall"]["coverage"] == pytest.approx(inside.mean())
    assert found["overall"]["mean_width_K"] == pytest.approx((table["tc_upper"] - table["tc_lower"]).mean())
    for key in ("by_range", "by_family"):
        counts = np.array([row["n"] for row in found[key]])
        assert counts.sum() == 200
        assert counts @ [row["coverage"] for row in found[key]] == pytest.approx(inside.sum())
    assert found["conclusion"].endswith(", consistent with the nominal 80 %")


def test_under_coverage_of_other_materials_is_reported(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 1.0}, count=200)
    worse = results.test["alignn"].assign(tc_pred=results.column("tc") + np.random.default_rng(0).normal(0, 4, 200))
    found = calibration(replace(results, test={"alignn": worse}), "alignn", 0.9)
    assert found["overall"]["coverage"] < 0.6
    assert found["conclusion"].endswith(", below the nominal 90 %")


@pytest.mark.parametrize(
    ("inside", "relation"),
    [(34, "below"), (40, "consistent with"), (55, "consistent with"), (60, "above")],
)
def test_the_conclusion_knows_that_validation_is_a_sample_too(tmp_path: Path, inside: int, relation: str) -> None:
    """40 of 60 inside is too few for 80 % if only the test set were chance; with 60 validation materials it is not."""
    results = make_results(tmp_path, {"alignn": 3.0}, count=60)
    val = results.val["alignn"].assign(tc_pred=results.truth["val"]["tc"] + np.arange(1, 61))  # radius 49 K
    residual_K = np.where(np.arange(60) < inside, 10, 200)
    test = results.test["alignn"].assign(tc_pred=results.column("tc") + residual_K)
    found = calibration(replace(results, test={"alignn": test}, val={"alignn": val}), "alignn", 0.8)
    assert found["overall"]["coverage"] == inside / 60
    assert found["conclusion"].endswith(f", {relation} the nominal 80 %")


def test_exact_bounds_of_the_share(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 1.0}, count=60)
    far_off = results.test["alignn"].assign(tc_pred=results.column("tc") + 500)
    overall = calibration(replace(results, test={"alignn": far_off}), "alignn", 0.9)["overall"]
    assert overall["coverage"] == 0
    # Clopper-Pearson for 0 of n: 1 - (alpha / 2) ** (1 / n)
    assert overall["coverage_interval"] == pytest.approx([0, 1 - 0.025 ** (1 / 60)])


def test_the_curve_rises_with_nominal_coverage_and_ends_where_validation_is_too_small(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 3.0}, count=200)
    shares = coverage_curve(results, "alignn", [0.2, 0.5, 0.9, 0.999])
    assert shares[:3] == sorted(shares[:3]) and np.isnan(shares[3])
    assert shares[:3] == pytest.approx([0.2, 0.5, 0.9], abs=0.12)


def test_without_validation_predictions_there_are_no_intervals(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 1.0})
    assert calibration(replace(results, val={}), "alignn", 0.9) == {}


def test_exact_bounds_where_all_are_inside(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 1.0}, count=60)
    exact = results.test["alignn"].assign(tc_pred=results.column("tc"))
    overall = calibration(replace(results, test={"alignn": exact}), "alignn", 0.9)["overall"]
    assert overall["coverage"] == 1
    # Clopper-Pearson for n of n: (alpha / 2) ** (1 / n)
    assert overall["coverage_interval"] == pytest.approx([0.025 ** (1 / 60), 1])


def test_groups_without_test_materials_are_left_out(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 3.0}, count=60)
    cold = results.truth["test"].assign(tc=3.0)
    test = {"alignn": results.test["alignn"].assign(tc=3.0)}
    found = calibration(replace(results, truth={**results.truth, "test": cold}, test=test), "alignn", 0.9)
    assert [row["group"] for row in found["by_range"]] == ["(0, 5] K"]


def test_too_few_validation_materials_give_no_intervals(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 3.0}, count=60)
    few = {"alignn": results.val["alignn"][:5]}
    assert calibration(replace(results, val=few), "alignn", 0.9) == {}
    assert all_intervals(replace(results, val=few), {"models": {"alignn": {"calibration": {}}}}) is None


def test_rejection_by_hand() -> None:
    rejected, mae_K = rejection_curve(np.array([4.0, 1.0, 3.0, 2.0]), np.array([9.0, 1.0, 5.0, 3.0]))
    assert rejected == pytest.approx([0, 0.25, 0.5, 0.75])
    assert mae_K == pytest.approx([10 / 4, 6 / 3, 3 / 2, 1.0]), "the widest intervals go first"
    turned = rejection_curve(np.array([4.0, 1.0, 3.0, 2.0]), np.array([1.0, 9.0, 3.0, 5.0]))[1]
    assert turned == pytest.approx([10 / 4, 9 / 3, 7 / 2, 4.0]), "widths that say the opposite make it worse"


def test_rejection_of_equal_widths_does_not_depend_on_the_order() -> None:
    error_K, width_K = np.array([4.0, 0.0, 7.0, 1.0]), np.array([5.0, 5.0, 9.0, 1.0])
    expected = [12 / 4, 5 / 3, (1 + 2) / 2, 1.0]
    for order in ([0, 1, 2, 3], [1, 0, 3, 2], [3, 2, 1, 0]):
        assert rejection_curve(error_K[order], width_K[order])[1] == pytest.approx(expected)


def test_coverage_by_predicted_tc_by_hand() -> None:
    table = pd.DataFrame({"tc_pred": [0.5, 1.0, 4.9, 50.0], "tc": [0.0, 3.0, 9.0, 60.0]})
    found = coverage_by_prediction(table.assign(tc_lower=0.0, tc_upper=[2.0, 4.0, 8.0, 70.0]))
    assert [(row["group"], row["n"], row["coverage"], row["mean_width_K"]) for row in found] == [
        ("below 1 K", 1, 1.0, 2.0),
        ("1–5 K", 2, 0.5, 6.0),
        ("over 40 K", 1, 1.0, 70.0),
    ]

"""Distances to the training compositions, errors by them, and the map of compositions, by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comparison.novelty import distance_bins, distances, error_by_distance, principal_components
from tests.comparison.made import make_results


def test_distance_is_the_part_of_the_atoms_to_exchange(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 2.0}, count=2)
    results.splits["train"]["formula"] = ["Nb3Sn", "MgB2"]
    results.truth["test"]["formula"] = ["Nb3Ge", "MgB2"]
    assert distances(results) == pytest.approx([0.25, 0.0])


def test_bins_have_lower_edges_inside_and_few_materials_none() -> None:
    distance = np.array([0.0] * 5 + [0.005] * 6 + [0.019] * 2 + [0.3] * 7 + [0.1] * 4)
    found = {name: int(members.sum()) for name, members in distance_bins(distance)}
    assert found == {"0–0.5": 5, "0.5–2": 8, "over 30": 7}, "four between 5 and 15 % are too few"


def test_errors_by_distance_by_hand(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 2.0, "pair": 3.0}, count=12)
    results.splits["train"]["formula"] = "MgB2"
    results.truth["test"]["formula"] = ["MgB2"] * 6 + ["PbO"] * 6
    results = replace(results, training_median_K=1.0)
    table = error_by_distance(results, ["alignn", "pair"], level=0.95).set_index(["bin", "model"])
    error_K = np.abs(results.test["pair"]["tc_pred"].to_numpy() - results.column("tc"))
    assert list(table.index) == [("0–0.5", "alignn"), ("0–0.5", "pair"), ("over 30", "alignn"), ("over 30", "pair")]
    far = table.loc[("over 30", "pair")]
    assert far["mae_K"] == pytest.approx(error_K[6:].mean()) and far["n"] == 6
    assert far["median_mae_K"] == pytest.approx(np.abs(results.column("tc")[6:] - 1.0).mean())
    assert error_K[6:].min() <= far["low_K"] < far["mae_K"] < far["high_K"] <= error_K[6:].max()


def test_principal_components_find_the_axes_of_a_known_cloud() -> None:
    random = np.random.default_rng(0)
    hidden = random.normal(size=(500, 2)) * [3.0, 1.0]
    # two features of the first hidden variable, one of the second, one that is constant
    known = np.stack([hidden[:, 0], 5 * hidden[:, 0] + 7, hidden[:, 1], np.full(500, 2.0)], axis=1)
    places, variance = principal_components(known, known)
    assert variance == pytest.approx([2 / 3, 1 / 3], abs=0.03)
    assert abs(np.corrcoef(places[:, 0], hidden[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(places[:, 1], hidden[:, 1])[0, 1]) > 0.99
    assert places.mean(axis=0) == pytest.approx([0, 0], abs=1e-9)


def test_other_materials_do_not_move_the_map() -> None:
    random = np.random.default_rng(1)
    known, wanted = random.normal(size=(50, 4)), random.normal(size=(9, 4))
    assert principal_components(known, wanted[:3])[0] == pytest.approx(principal_components(known, wanted)[0][:3])

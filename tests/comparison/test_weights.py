"""Which models an ensemble trusts: fitted by chemical system, on all structures of the validation compositions."""

from pathlib import Path

import numpy as np
import pytest

from comparison.ensemble import validation_rows, with_ensembles
from comparison.gather import gather
from comparison.weights import Validation, _folds, fit_equal, fit_grouped, fit_ungrouped, fit_weights
from tests.comparison.made import make_further, make_model, make_splits

SYSTEMS, IN_SYSTEM = 30, 4


def rows_of(*error_K: np.ndarray) -> Validation:
    """One structure of each of 120 materials in 30 systems, and the errors (K) of models on them."""
    n = SYSTEMS * IN_SYSTEM
    tc_K = np.random.default_rng(99).lognormal(2, 1, n)
    system = np.repeat([f"s{number:02d}" for number in range(SYSTEMS)], IN_SYSTEM)
    return Validation(np.stack([tc_K + error for error in error_K], axis=1), tc_K, system, np.arange(n))


def errors(seed: int, sd_K: float = 3.0) -> np.ndarray:
    """Errors of which half are of the whole system."""
    random = np.random.default_rng(seed)
    of_system = np.repeat(random.normal(0, sd_K, SYSTEMS), IN_SYSTEM)
    return of_system + random.normal(0, sd_K, SYSTEMS * IN_SYSTEM)


def test_two_equally_good_noisy_models_both_get_weight() -> None:
    weights = np.array([fit_grouped(rows_of(errors(2 * seed), errors(2 * seed + 1)), 1)[0] for seed in range(10)])
    assert weights.min() > 0.15 and weights.sum(axis=1) == pytest.approx(np.ones(10))
    assert weights[:, 0].mean() == pytest.approx(0.5, abs=0.1)


def test_the_mean_over_folds_varies_less_than_one_fit_where_models_are_alike() -> None:
    shared = [errors(100 + seed) for seed in range(20)]
    alike = [rows_of(e + errors(200 + k, 0.3), e + errors(300 + k, 0.3)) for k, e in enumerate(shared)]
    grouped, single = (np.array([fit(rows, 1)[0][0] for rows in alike]) for fit in (fit_grouped, fit_ungrouped))
    assert np.abs(grouped - 0.5).mean() < np.abs(single - 0.5).mean()


def test_a_chemical_system_is_on_one_side_only_and_every_material_is_predicted_without_its_system() -> None:
    rows = rows_of(errors(1), errors(2))
    held_out = []
    for known, unseen in _folds(rows, 1):
        assert not set(rows.system[known]) & set(rows.system[unseen])
        held_out += unseen.tolist()
    assert sorted(held_out) == list(range(len(rows)))
    before = fit_grouped(rows, 1)[1]
    system = rows.system == "s03"
    other_way = np.where(rows.pred_K.mean(axis=1) > rows.tc_K, 50.0, -50.0)  # every residual of it changes its sign
    moved = Validation(rows.pred_K, rows.tc_K + system * other_way, rows.system, rows.material)
    after = fit_grouped(moved, 1)[1]
    assert np.array_equal(before[system], after[system])
    assert not np.array_equal(before, after)


def test_one_chemical_system_is_divided_by_material() -> None:
    rows = rows_of(errors(1), errors(2))
    alone = Validation(rows.pred_K, rows.tc_K, np.full(len(rows), "Nb-Sn"), rows.material)
    weights, val_K = fit_grouped(alone, 1)
    assert weights.sum() == pytest.approx(1) and np.isfinite(val_K).all()


def test_a_composition_counts_once_however_many_structures_it_has() -> None:
    rows = rows_of(errors(1), errors(2))
    tripled = np.concatenate([np.arange(len(rows)), np.repeat(np.arange(40), 2)])
    more = Validation(rows.pred_K[tripled], rows.tc_K[tripled], rows.system[tripled], rows.material[tripled])
    assert fit_grouped(more, 1)[0] == pytest.approx(fit_grouped(rows, 1)[0], abs=1e-6)
    assert fit_weights(more.pred_K, more.tc_K) != pytest.approx(fit_weights(rows.pred_K, rows.tc_K), abs=1e-6)


def test_a_model_without_a_hundredth_is_left_out() -> None:
    weights, _ = fit_grouped(rows_of(errors(1), errors(2), errors(3, 300.0)), 1)
    assert weights[2] == 0 and weights.sum() == pytest.approx(1)


def test_the_plain_mean_stays_beside_it() -> None:
    rows = rows_of(errors(1), errors(2, 30.0))
    weights, val_K = fit_equal(rows, 1)
    assert weights.tolist() == [0.5, 0.5] and val_K.tolist() == pytest.approx(rows.pred_K.mean(axis=1).tolist())


def test_a_model_good_only_on_chosen_structures_loses_weight_when_others_count(tmp_path: Path) -> None:
    splits = make_splits(tmp_path / "splits", count=120)
    for number, (name, noise_K, others_K) in enumerate([("fickle", 1.0, 8.0), ("steady", 2.0, 2.0)]):
        make_model(tmp_path, name, splits, noise_K, number)
        make_further(tmp_path, name, splits, others_K, 10 + number)
    results = gather(tmp_path, tmp_path / "splits")
    with_others = with_ensembles(results, ["ensemble"], 1).ensembles["ensemble"]
    (tmp_path / "steady_val_other_structures_predictions.csv").unlink()
    without = with_ensembles(gather(tmp_path, tmp_path / "splits"), ["ensemble"], 1)
    chosen_only = without.ensembles["ensemble"]
    assert without.notes[-1].endswith("chosen structures alone: no predictions of other ones by steady.")
    assert (with_others["other_structures"], chosen_only["other_structures"]) == (240, 0)
    assert chosen_only["weights"]["fickle"] > 0.6
    assert with_others["weights"]["fickle"] < chosen_only["weights"]["fickle"] - 0.3


def test_other_structures_are_rows_of_their_own_composition(tmp_path: Path) -> None:
    splits = make_splits(tmp_path / "splits", count=20)
    for number, name in enumerate("ab"):
        make_model(tmp_path, name, splits, 1.0, number)
        make_further(tmp_path, name, splits, 1.0, number)
    results = gather(tmp_path, tmp_path / "splits")
    rows = validation_rows(results, ["a", "b"])
    assert (len(rows), len(rows.tc_K)) == (20, 60)
    val = results.truth["val"]
    assert rows.tc_K.tolist() == val["tc"].to_numpy()[rows.material].tolist()
    assert rows.system.tolist() == val["chemical_system"].to_numpy()[rows.material].tolist()
    assert np.bincount(rows.material).tolist() == [3] * 20

"""The pair, extra labels and predictions out of fold: nothing learned from what is held out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baselines.models import Fit, Predictor
from baselines.pair import fit_pair, grouped_folds, out_of_fold
from baselines.run import run_pair, write_pair
from tc_common.chemistry import composition_features
from tc_common.composition import chemical_system, formula_distance, fractions, nearest_distance, parse_formula
from tc_common.labels import ExtraLabels, with_labels
from tc_common.predictions import read_predictions
from tests.baselines.made import make_splits


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    made = make_splits(tmp_path_factory.mktemp("splits"))
    return {name: with_systems(table) for name, table in made.items()}


def with_systems(table: pd.DataFrame) -> pd.DataFrame:
    systems = [chemical_system(fractions(parse_formula(formula))) for formula in table["formula"]]
    return table.assign(chemical_system=systems)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> ExtraLabels:
    more = make_splits(tmp_path_factory.mktemp("labels"), counts=(300, 1, 1), seed=7)["train"]
    table = with_systems(more).rename(columns={"material_id": "name"})
    return ExtraLabels(table[["name", "formula", "tc", "chemical_system"]], 0.02, "chemical-system")


@pytest.fixture(scope="module")
def outcome(splits: dict[str, pd.DataFrame], labels: ExtraLabels) -> dict:
    return run_pair(splits, 1) | run_pair(splits, 1, labels)


def test_the_pair_is_the_plain_mean_of_its_two(splits: dict[str, pd.DataFrame]) -> None:
    features = composition_features(splits["train"]["formula"].tolist(), "physics")
    predictors = fit_pair(features, splits["train"]["tc"].to_numpy(), 0)
    wanted = composition_features(splits["test"]["formula"].tolist(), "physics")
    trees, boosting, pair = (predictors[name](wanted)[0] for name in ("pair_trees", "pair_boosting", "pair"))
    assert pair == pytest.approx((trees + boosting) / 2)
    assert not np.allclose(trees, boosting, atol=0.1)
    assert (np.stack([trees, boosting]) >= 0).all()


def test_the_pair_learns_and_labels_help_where_materials_are_few(
    splits: dict[str, pd.DataFrame], labels: ExtraLabels, outcome: dict
) -> None:
    assert outcome["pair"]["metrics"]["skill"] > 0.7
    few = {**splits, "train": splits["train"].iloc[:25]}
    mae_K = [
        run_pair(few, 1, given)[name]["metrics"]["mae_K"]
        for given, name in ((None, "pair"), (labels, "pair_with_labels"))
    ]
    assert mae_K[1] < 0.7 * mae_K[0]


def test_every_model_is_a_row_of_its_own(outcome: dict) -> None:
    known = {"pair_trees", "pair_boosting", "pair"}
    trees = {"extra_trees", "extra_trees_median"}
    assert set(outcome) == known | {f"{name}_with_labels" for name in known | trees}


def test_the_exclusion_is_in_the_metrics_of_what_learned_from_labels(outcome: dict, tmp_path: Path) -> None:
    write_pair(tmp_path, outcome)
    for name in ("pair", "pair_with_labels", "composition_with_labels"):
        metrics = json.loads((tmp_path / f"{name}_metrics.json").read_text(encoding="utf-8"))
        assert metrics["model"] == name and metrics["n_train"] == 160
        assert (metrics.get("extra_labels"), metrics.get("extra_labels_exclude")) == (
            (300, 0.02) if "labels" in name else (None, None)
        )
        assert len(read_predictions(tmp_path / f"{name}_predictions.csv")) == 40
    assert (tmp_path / "baselines/pair_trees_with_labels_predictions.csv").exists()


def test_the_same_seed_gives_the_same_predictions(splits: dict[str, pd.DataFrame], outcome: dict) -> None:
    again, other = run_pair(splits, 1), run_pair(splits, 2)
    for name in ("pair", "pair_boosting"):
        assert np.array_equal(again[name]["test"]["tc_pred"], outcome[name]["test"]["tc_pred"])
        assert not np.array_equal(other[name]["test"]["tc_pred"], outcome[name]["test"]["tc_pred"])


def test_shuffled_labels_teach_nothing(splits: dict[str, pd.DataFrame], labels: ExtraLabels) -> None:
    random = np.random.default_rng(3)
    shuffled = {name: table.assign(tc=random.permutation(table["tc"])) for name, table in splits.items()}
    noise = labels.table.assign(tc=random.permutation(labels.table["tc"]))
    for name, entry in run_pair(shuffled, 1, ExtraLabels(noise, 0.02, "chemical-system")).items():
        assert entry["metrics"]["skill"] <= 0.02, name
    train = shuffled["train"]
    for kind in ("grouped", "random"):
        error = np.abs(out_of_fold(train, 1, kind=kind) - train["tc"]).mean()
        assert 1 - error / np.abs(train["tc"].median() - train["tc"]).mean() <= 0.02


def test_folds_hold_out_whole_systems_and_predict_every_row_once(splits: dict[str, pd.DataFrame]) -> None:
    systems = splits["train"]["chemical_system"]
    seen = []
    for known, unseen in grouped_folds(systems, 1):
        assert not set(systems.iloc[known]) & set(systems.iloc[unseen])
        assert sorted([*known, *unseen]) == list(range(len(systems)))
        seen += list(unseen)
    assert sorted(seen) == list(range(len(systems)))
    first, again, other = ([u.tolist() for _, u in grouped_folds(systems, seed)] for seed in (1, 1, 2))
    assert first == again != other


def test_random_folds_know_other_compositions_of_a_system_from_training_too(splits: dict[str, pd.DataFrame]) -> None:
    train = splits["train"]
    learned: list[np.ndarray] = []
    predicted = out_of_fold(train, 1, None, spy(learned, []), kind="random")
    systems = train["chemical_system"]
    for number, rows in enumerate(learned, start=1):
        held_out = predicted == number
        assert len(rows) == (~held_out).sum() and held_out.sum() == len(train) / 5
        shared = {*systems[held_out]} & {*systems[~held_out]}
        assert len(shared) > 0.7 * systems[held_out].nunique(), "grouped folds share none"


def spy(learned: list[np.ndarray], asked: list[np.ndarray]) -> Fit:
    """A learner that remembers the compositions it was given."""

    def fit(features: np.ndarray, tc_K: np.ndarray, seed: int) -> dict[str, Predictor]:
        learned.append(features)

        def predict(wanted: np.ndarray) -> tuple[np.ndarray, None]:
            asked.append(wanted)
            return np.full(len(wanted), float(len(asked))), None

        return {"pair": predict}

    return fit


@pytest.mark.parametrize("kind", ["grouped", "random"])
def test_a_fold_never_sees_its_own_rows_nor_labels_near_them(
    splits: dict[str, pd.DataFrame], labels: ExtraLabels, kind: Any
) -> None:
    train = splits["train"]
    learned: list[np.ndarray] = []
    asked: list[np.ndarray] = []
    predicted = out_of_fold(train, 1, labels, spy(learned, asked), kind=kind)
    assert np.isfinite(predicted).all() and set(predicted) == {1.0, 2.0, 3.0, 4.0, 5.0}
    everything = with_labels(train, labels)
    for number, features in enumerate(learned, start=1):
        own = train[predicted == number]
        systems = {*own["chemical_system"]}
        rows = composition_features(everything["formula"].tolist(), "physics")
        used = everything[[(np.abs(features - row).max(axis=1) < 1e-9).any() for row in rows]]
        assert len(used) >= len(features) > 100
        seen = systems & {chemical_system(fractions(parse_formula(f))) for f in used["formula"]}
        assert bool(seen) == (kind == "random"), "only random folds know other compositions of a system"
        assert not {*own["formula"]} & {*used["formula"]}
        assert nearest_distance(used["formula"].iloc[-50:].tolist(), own["formula"].tolist()).min() > 0.02


def test_labels_away_from_materials_are_those_of_brute_force(
    splits: dict[str, pd.DataFrame], labels: ExtraLabels
) -> None:
    some = splits["test"].iloc[:7]
    shares = [fractions(parse_formula(formula)) for formula in some["formula"]]
    systems = set(some["chemical_system"])
    expected = [
        row.formula
        for row in labels.table.itertuples()
        if row.chemical_system not in systems
        and min(formula_distance(fractions(parse_formula(str(row.formula))), each) for each in shares) > 0.02
    ]
    away = labels.away_from(some)
    assert away.table["formula"].tolist() == expected and 0 < len(expected) < 300
    assert (away.exclude, away.split) == (0.02, "chemical-system")
    near = ExtraLabels(labels.table.assign(chemical_system="none"), 0.3, "stratified").away_from(some)
    assert 0 < len(near.table) < 300, "without a shared system the distance alone decides"

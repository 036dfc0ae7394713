"""The baselines learn what there is to learn, and nothing where there is nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from baselines.models import fit_extra_trees, fit_nearest_composition
from baselines.run import CANDIDATES, best_candidate, run_baselines, write_baselines
from tc_common.chemistry import composition_features
from tc_common.predictions import read_predictions
from tc_common.results import METRICS_KEYS
from tc_common.splits import splits_sha256
from tests.baselines.made import make_splits


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    return make_splits(tmp_path_factory.mktemp("splits"))


@pytest.fixture(scope="module")
def outcome(splits: dict[str, pd.DataFrame]) -> dict:
    return run_baselines(splits, seed=1)


def test_skills_are_in_the_expected_order(outcome: dict) -> None:
    skill = {name: entry["metrics"]["skill"] for name, entry in outcome.items()}
    assert list(skill) == ["median", "nearest_composition", "extra_trees", "extra_trees_median", "gradient_boosting"]
    assert skill["median"] == 0 and outcome["median"]["metrics"]["r2"] <= 0
    assert min(skill[name] for name in CANDIDATES) > 0.6
    assert skill["nearest_composition"] > 0.4


def test_shuffled_labels_teach_nothing(splits: dict[str, pd.DataFrame]) -> None:
    random = np.random.default_rng(3)
    shuffled = {name: table.assign(tc=random.permutation(table["tc"])) for name, table in splits.items()}
    for name, entry in run_baselines(shuffled, seed=1).items():
        assert entry["metrics"]["skill"] <= 0.02, name


def test_the_nearest_composition_is_the_one_with_fewest_atoms_to_exchange() -> None:
    known = composition_features(["NbTi", "Nb3Sn", "Nb3Ge", "MgB2"])
    predict = fit_nearest_composition(known, np.array([9.0, 18.0, 23.0, 39.0]), 0)["nearest_composition"]
    asked = composition_features(["Nb0.52Ti0.48", "Nb3Sn0.9Ge0.1", "Mg0.9Al0.1B2", "Nb3Al"])
    values, std = predict(asked)
    assert values == pytest.approx([9, 18, 39, (18 + 23) / 2]), "two at the same distance are averaged"
    assert std is None
    # 0.3 of the atoms to exchange against 0.4, although the largest single difference is 0.3 against 0.2
    known = composition_features(["Nb0.7Zr0.3", "Nb0.2Ti0.2Zr0.2Hf0.2Ta0.2"])
    predict = fit_nearest_composition(known, np.array([1.0, 2.0]), 0)["nearest_composition"]
    assert predict(composition_features(["Nb0.4Ti0.3Zr0.3"]))[0] == 1


def test_the_same_seed_gives_the_same_bytes(splits: dict[str, pd.DataFrame], outcome: dict, tmp_path: Path) -> None:
    again = run_baselines(splits, seed=1)
    for folder, found in (("one", outcome), ("two", again)):
        write_baselines(tmp_path / folder, found)
    written = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.csv"))
    assert len(written) == 12
    for path in written:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path
    other = run_baselines(splits, seed=2)["extra_trees"]["test"]["tc_pred"]
    assert not np.array_equal(other, outcome["extra_trees"]["test"]["tc_pred"])


def test_the_better_candidate_by_validation_is_the_composition_model(outcome: dict, tmp_path: Path) -> None:
    best = best_candidate(outcome)
    errors = {name: outcome[name]["metrics"]["val_mae_K"] for name in CANDIDATES}
    assert best == min(errors, key=lambda name: errors[name])
    reversed_roles = {
        name: {**entry, "metrics": {**entry["metrics"], "val_mae_K": -entry["metrics"]["val_mae_K"]}}
        for name, entry in outcome.items()
    }
    assert best_candidate(reversed_roles) != best
    write_baselines(tmp_path, outcome)
    written = read_predictions(tmp_path / "composition_predictions.csv")
    assert np.allclose(written["tc_pred"], outcome[best]["test"]["tc_pred"])


def test_files_hold_what_the_contract_asks_for(splits: dict[str, pd.DataFrame], outcome: dict, tmp_path: Path) -> None:
    write_baselines(tmp_path, outcome)
    test = read_predictions(tmp_path / "composition_predictions.csv")
    assert test["material_id"].to_list() == splits["test"]["material_id"].to_list()
    assert (test["tc_lower"] <= test["tc_pred"]).all() and (test["tc_pred"] <= test["tc_upper"]).all()
    assert len(read_predictions(tmp_path / "composition_val_predictions.csv")) == len(splits["val"])
    metrics = outcome["extra_trees"]["metrics"]
    assert metrics["splits_sha256"] == splits_sha256(splits)
    assert list(metrics)[: len(METRICS_KEYS)] == list(METRICS_KEYS)
    assert [key for key in METRICS_KEYS if metrics[key] is None] == ["parameters"], "trees have none"
    assert metrics["seeds"] == [1] and metrics["n_train"] == len(splits["train"])


def test_votes_are_training_labels_and_their_median_lies_on_or_between_two(splits: dict[str, pd.DataFrame]) -> None:
    features = composition_features(splits["train"]["formula"].tolist())
    tc_K = splits["train"]["tc"].to_numpy()
    predictors = fit_extra_trees(features, tc_K, 0)
    for predict in predictors.values():
        assert np.allclose(predict(features)[0], tc_K), "grown to single materials"
    wanted = composition_features(splits["test"]["formula"].tolist())
    mean, std = predictors["extra_trees"](wanted)
    median, same_std = predictors["extra_trees_median"](wanted)
    assert std is not None and same_std is not None
    between = (tc_K[:, None] + tc_K) / 2
    assert all(np.isclose(between, value).any() for value in median)
    assert not all(np.isclose(between, value, rtol=1e-9).any() for value in mean)
    assert (np.abs(mean - median) <= std + 1e-9).all(), "mean and median are within one SD of each other"
    assert np.array_equal(std, same_std)


def test_trees_know_how_sure_they_are(outcome: dict) -> None:
    test = outcome["extra_trees"]["test"]
    error = (test["tc_pred"] - test["tc"]).abs()
    unsure = test["tc_std"] > test["tc_std"].median()
    assert error[unsure].mean() > error[~unsure].mean()

"""Priors: every material once, training ones out of fold, the rest by a pair fitted on what they may know."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baselines import pair, prior
from baselines.models import Predictor
from baselines.prior import PriorConfig, main, priors
from tc_common.errors import UserError
from tc_common.files import sha256
from tc_common.further import further_materials
from tc_common.labels import ExtraLabels
from tc_common.prior import read_prior
from tc_common.splits import read_other_structures, read_splits, splits_sha256, write_splits
from tests.baselines.made import make_splits


def write_data(folder: Path, split: str = "stratified") -> dict[str, pd.DataFrame]:
    """Split files with one more structure of every fifth material, and their report."""
    made = make_splits(folder)
    systems = {name: table.assign(chemical_system=table["formula"].str.replace(r"[\d.]", "", regex=True))
               for name, table in made.items()}  # fmt: skip
    others = [table.iloc[::5].assign(split=name, material_id="o-" + table["material_id"].iloc[::5])
              for name, table in systems.items()]  # fmt: skip
    write_splits(folder, systems, pd.concat(others))
    splits = read_splits(folder)
    divisions = {"split": {"splits_sha256": splits_sha256(splits)}}
    (folder / "report.json").write_text(json.dumps({"divisions": divisions, "config": {"split": split}}))
    return splits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prior")
    write_data(folder)
    return folder


@pytest.fixture(scope="module")
def written(folder: Path) -> pd.DataFrame:
    main(PriorConfig(data_dir=folder, out=folder / "prior.csv"))
    return pd.read_csv(folder / "prior.csv").set_index("material_id")


def test_every_material_of_every_test_has_one_prior(folder: Path, written: pd.DataFrame) -> None:
    splits = read_splits(folder)
    further = further_materials(folder, splits)
    wanted = pd.concat([*splits.values(), read_other_structures(folder, splits), *further.values()])["material_id"]
    assert sorted(written.index) == sorted(wanted.unique())
    assert (written["prior_K"] >= 0).all() and written["learned"].sum() == further["literature"]["known"].sum()


def test_priors_are_good_and_other_structures_have_that_of_their_composition(
    folder: Path, written: pd.DataFrame
) -> None:
    splits = read_splits(folder)
    others = read_other_structures(folder, splits)
    assert len(others) == 48
    own, chosen = (written.loc[others[name], "prior_K"].to_numpy() for name in ("material_id", "chosen"))
    assert own == pytest.approx(chosen)
    for name, table in splits.items():
        error_K = np.abs(written.loc[table["material_id"], "prior_K"].to_numpy() - table["tc"]).mean()
        assert 0.1 < error_K < 0.6, f"{name}: noise is 0.24 K; less would be its own label"


def test_the_file_is_read_back_with_its_report(folder: Path, written: pd.DataFrame) -> None:
    read = read_prior(folder / "prior.csv", folder)
    assert read.prior_K == pytest.approx(written["prior_K"].to_dict())
    assert read.facts == {"prior_sha256": sha256(folder / "prior.csv"), "prior_folds": "random"}
    report = json.loads((folder / "prior.json").read_text())
    train = read_splits(folder)["train"]
    error_K = np.abs(written.loc[train["material_id"], "prior_K"].to_numpy() - train["tc"])
    assert report["mae_K"]["train"] == pytest.approx(error_K.mean())


@pytest.mark.parametrize(
    ("split", "flag", "folds"),
    [
        ("stratified", "auto", "random"),
        ("chemical-system", "auto", "grouped"),
        ("parent", "auto", "grouped"),
        ("stratified", "grouped", "grouped"),
        ("chemical-system", "random", "random"),
    ],
)
def test_folds_are_as_the_splits_unless_a_flag_says_otherwise(
    tmp_path: Path, split: str, flag: Any, folds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(tmp_path, split)
    asked: list[str] = []
    median = {"pair": lambda wanted: (np.full(len(wanted), 5.0), None)}
    monkeypatch.setattr(prior, "fit_pair", lambda *given: median)

    def remembered(train: pd.DataFrame, *given: Any, kind: str) -> np.ndarray:
        asked.append(kind)
        return np.full(len(train), 5.0)

    monkeypatch.setattr(prior, "out_of_fold", remembered)
    main(PriorConfig(data_dir=tmp_path, out=tmp_path / "prior.csv", folds=flag))
    assert asked == [folds] == [json.loads((tmp_path / "prior.json").read_text())["prior_folds"]]


@pytest.mark.parametrize("kind", ["random", "grouped"])
def test_no_prior_comes_from_a_pair_that_was_fitted_on_its_own_composition(
    folder: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learner predicts 1 K where it was fitted on the composition, else 0 K."""

    def fit(features: np.ndarray, tc_K: np.ndarray, seed: int) -> dict[str, Predictor]:
        known = {row.tobytes() for row in features}
        return {"pair": lambda wanted: (np.array([float(row.tobytes() in known) for row in wanted]), None)}

    monkeypatch.setattr(prior, "fit_pair", fit)
    monkeypatch.setattr(prior, "out_of_fold", partial(pair.out_of_fold, fit=fit))
    splits = read_splits(folder)
    sample = pd.read_csv("data/sample/sample.csv")[["formula", "tc"]].assign(chemical_system="-")
    labels = ExtraLabels(sample, 0.02, "stratified")
    table = priors(folder, splits, labels, kind, 0)
    seen = table["prior_K"] == 1
    assert seen.any() and (table["learned"] == seen).all(), "only crystals from the literature, which say so"
    assert not seen[table["material_id"].isin(pd.concat([*splits.values()])["material_id"])].any()


def test_the_same_seed_gives_the_same_bytes(folder: Path, written: pd.DataFrame, tmp_path: Path) -> None:
    main(PriorConfig(data_dir=folder, out=tmp_path / "again.csv"))
    assert (tmp_path / "again.csv").read_bytes() == (folder / "prior.csv").read_bytes()


def test_an_input_is_never_written_over(folder: Path) -> None:
    before = (folder / "train.csv").read_bytes()
    with pytest.raises(UserError, match="would be written over"):
        main(PriorConfig(data_dir=folder, out=folder / "train.csv"))
    assert (folder / "train.csv").read_bytes() == before


def test_splits_without_a_report_need_the_flag(tmp_path: Path) -> None:
    make_splits(tmp_path)
    with pytest.raises(UserError, match=r"no report\.json of these splits"):
        main(PriorConfig(data_dir=tmp_path, out=tmp_path / "prior.csv"))


@pytest.mark.parametrize("changes", [{"seed": -1}, {"out": Path("prior.txt")}])
def test_impossible_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="--"):
        PriorConfig(**changes)

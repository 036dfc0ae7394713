"""Which materials the further tests hold, what each row says of them, and how they are written."""

import logging
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tc_common.errors import UserError
from tc_common.files import read_csv
from tc_common.further import FURTHER_TESTS, ROOT, further_materials
from tc_common.labels import ExtraLabels
from tc_common.predictions import is_model_name
from tc_common.results import further_path, write_further
from tc_common.splits import OTHER_STRUCTURES, read_splits, write_splits
from tests.tc_common.made_further import COMPOUNDS, write_further_splits

LABELS = ExtraLabels(pd.DataFrame({"formula": ["Nb0.96Ti0.04N1"], "tc": [17.0]}), exclude=0.02, split="stratified")


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, pd.DataFrame]:
    return write_further_splits(tmp_path / "p")


def test_other_structures_belong_to_held_out_compositions_and_name_the_chosen_one(
    tmp_path: Path, splits: dict[str, pd.DataFrame]
) -> None:
    tables = further_materials(tmp_path / "p", splits)
    assert set(tables) == set(FURTHER_TESTS)
    for test, split in (("val_other_structures", "val"), ("other_structures", "test")):
        assert len(tables[test]) == 2 * len(COMPOUNDS[split])
        assert set(tables[test]["chosen"]) == set(splits[split]["material_id"])
        measured = splits[split].set_index("material_id")["tc"]
        assert tables[test]["tc"].tolist() == measured[tables[test]["chosen"]].tolist()
        assert not set(tables[test]["material_id"]) & set(splits["train"]["material_id"])


def test_the_literature_is_at_ambient_pressure_and_says_where_each_composition_is(
    tmp_path: Path, splits: dict[str, pd.DataFrame]
) -> None:
    literature = further_materials(tmp_path / "p", splits)["literature"].set_index("material_id")
    sample = pd.read_csv(ROOT / "data/sample/sample.csv").set_index("material_id")
    assert len(literature) == 280 and (sample.loc[literature.index, "pressure_GPa"] == 0).all()
    assert all(Path(cif).is_absolute() and Path(cif).exists() for cif in literature["cif"])
    for split, compounds in COMPOUNDS.items():
        named = [name for name in literature.index if name.split("-")[0] in compounds]
        assert set(literature.loc[named, "split"]) == {split}
        assert set(literature.loc[named, "known"]) == {split == "train"}
    assert (literature["split"] == "none").sum() > 260
    assert (literature["family"] == sample.loc[literature.index, "family"]).all()


@pytest.mark.parametrize(("formula", "split"), [("Mg1B2.005", "train"), ("Mg1B2.2", "none")])
def test_compositions_within_half_a_percent_are_one(
    tmp_path: Path, splits: dict[str, pd.DataFrame], formula: str, split: str
) -> None:
    train = splits["train"].replace({"formula": {"Mg1B2": formula}})
    assert formula in set(train["formula"])
    literature = further_materials(tmp_path / "p", splits | {"train": train})["literature"].set_index("material_id")
    assert literature.loc["MgB2-AlB2", "split"] == split


@pytest.mark.parametrize(("exclude", "known"), [(0.03, True), (0.01, False)])
def test_a_composition_within_the_labels_exclusion_is_known(
    tmp_path: Path, splits: dict[str, pd.DataFrame], exclude: float, known: bool
) -> None:
    labels = replace(LABELS, exclude=exclude)  # 2 % of the atoms from NbN, a test composition
    literature = further_materials(tmp_path / "p", splits, labels=labels)["literature"].set_index("material_id")
    row = literature[literature.index.str.startswith("NbN-")].iloc[0]
    assert (bool(row["known"]), row["split"]) == (known, "test")


def test_data_without_other_structures_or_made_of_the_sample_lose_that_test_with_one_line(
    tmp_path: Path, splits: dict[str, pd.DataFrame], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "p" / OTHER_STRUCTURES).unlink()
    assert set(further_materials(tmp_path / "p", splits)) == {"literature"}
    assert "other_structures.csv is missing: no predictions of other structures" in caplog.text
    train = splits["train"].replace({"material_id": {"m-MgB2": "MgB2-AlB2"}})
    assert further_materials(tmp_path / "p", splits | {"train": train}) == {}
    assert "the split files were made of the literature sample" in caplog.text


def test_a_limit_draws_from_the_literature_too(tmp_path: Path, splits: dict[str, pd.DataFrame]) -> None:
    limited = read_splits(tmp_path / "p", 1)
    tables = further_materials(tmp_path / "p", limited, 1)
    assert len(tables["literature"]) == 1
    assert set(tables["other_structures"]["chosen"]) == set(limited["test"]["material_id"])


def test_a_structure_of_another_split_is_refused(tmp_path: Path, splits: dict[str, pd.DataFrame]) -> None:
    others = pd.read_csv(tmp_path / "p" / OTHER_STRUCTURES, keep_default_na=False)
    write_splits(tmp_path / "p", splits, others.assign(split="train"))
    with pytest.raises(UserError, match="contradicts the split files"):
        further_materials(tmp_path / "p", splits)


def test_predictions_are_written_with_their_facts_and_stale_ones_removed(
    tmp_path: Path, splits: dict[str, pd.DataFrame]
) -> None:
    tables = further_materials(tmp_path / "p", splits)
    write_further(tmp_path, "alignn", {test: table.assign(tc_pred=1.0) for test, table in tables.items()})
    expected = {"other_structures": ("chosen",), "literature": ("known", "split", "family")}
    for test, facts in expected.items():
        written = read_csv(further_path(tmp_path, "alignn", test), ("tc_pred",), "")
        assert list(written) == ["material_id", "formula", "tc", "tc_pred", *facts]
        assert written["material_id"].tolist() == sorted(tables[test]["material_id"])
    write_further(tmp_path, "alignn", {"literature": tables["literature"].assign(tc_pred=1.0)})
    assert [path.name for path in tmp_path.glob("*.csv")] == ["alignn_literature_predictions.csv"]


@pytest.mark.parametrize("ending", ["_val", "_literature", "_other_structures", "_val_other_structures"])
def test_no_model_has_the_name_of_a_further_file(ending: str) -> None:
    assert is_model_name("alignn_literatures") and not is_model_name(f"alignn{ending}")

"""Further tests of the baselines: one prediction a composition, whatever the structure."""

import sys
from pathlib import Path

import pandas as pd
import pytest

import baselines.__main__ as baselines_command
from baselines.run import run_pair
from tc_common.cli import run
from tc_common.further import further_materials
from tc_common.labels import ExtraLabels
from tc_common.results import further_path
from tests.tc_common.made_further import write_further_splits

LABELS = ExtraLabels(
    pd.DataFrame({"name": ["x"], "formula": ["Nb1N1"], "tc": [16.0], "chemical_system": ["N-Nb"]}), 0.02, "stratified"
)


def test_the_command_writes_the_further_tests_of_the_models_of_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_further_splits(tmp_path / "p")
    arguments = ["baselines", "--pair", "--data-dir", str(tmp_path / "p"), "--results-dir", str(tmp_path / "r")]
    monkeypatch.setattr(sys, "argv", arguments)
    run(baselines_command.main)
    for name in ("composition", "pair"):
        others = pd.read_csv(further_path(tmp_path / "r", name, "other_structures"))
        test = pd.read_csv(tmp_path / "r" / f"{name}_predictions.csv").set_index("material_id")
        assert len(others) == 6
        assert others["tc_pred"].tolist() == pytest.approx(test.loc[others["chosen"], "tc_pred"].tolist())
        assert len(pd.read_csv(further_path(tmp_path / "r", name, "literature"))) == 280
    assert not list((tmp_path / "r" / "baselines").glob("*literature*"))


def test_what_labels_hold_is_known_to_the_models_fitted_on_them_alone(tmp_path: Path) -> None:
    splits = write_further_splits(tmp_path / "p")
    known = {}
    for labels in (None, LABELS):
        further = further_materials(tmp_path / "p", splits, labels=labels)
        for name, entry in run_pair(splits, 1, labels, further).items():
            table = entry["further"]["literature"]
            known[name] = int(table["known"].sum())
            assert {"tc_std", "tc_pred", "family"} <= set(table) or "boosting" in name
    assert known["pair_with_labels"] == known["pair"] + 1

"""From a shipped ensemble to a student that predicts: the whole command on a tiny study."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from prediction import load_predictor, student
from prediction.distil import DistilConfig, main
from tc_common.composition import nearest_distance
from tc_common.errors import UserError
from tests.prediction.conftest import ShippedStudy

pytestmark = pytest.mark.slow


def test_a_student_is_taught_refused_and_shipped(
    shipped: ShippedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = shutil.copytree(shipped.models, tmp_path / "models")
    config = DistilConfig(
        data_dir=shipped.folder / "p", teacher_dir=models, out=models, work=tmp_path / "work", copies=1, epochs=1,
        hidden=8, workers=1,
    )  # fmt: skip
    monkeypatch.setattr(student, "MOST_ABOVE_TEACHER", -0.9)
    with pytest.raises(UserError, match="above the ensemble's"):
        main(config)
    assert not list(models.glob("student*"))

    crystals = pq.read_table(tmp_path / "work/crystals.parquet").to_pandas()
    assert (crystals["kind"] == "original").sum() <= len(shipped.splits["train"]) < len(crystals) + 1
    taught = pd.read_csv(tmp_path / "work/data/train.csv")
    held_out = [*shipped.splits["val"]["formula"], *shipped.splits["test"]["formula"]]
    assert nearest_distance(taught["formula"].tolist(), held_out).min() > 0.005
    labels = pd.concat(pq.read_table(path).to_pandas() for path in (tmp_path / "work/labels/shards").glob("*"))
    assert taught["tc"].tolist() == pytest.approx(labels.dropna(subset="tc_K").sort_values("name")["tc_K"].tolist())

    monkeypatch.setattr(student, "MOST_ABOVE_TEACHER", 1e3)
    main(config)  # what is there is used again
    card = json.loads((models / "student.json").read_text())
    assert card["origin"] == "random" and card["teacher"]["test_mae_K"] > 0
    said = load_predictor(models, "student").predict(shipped.cif("test"))
    assert said.model == "student" and said.tc_K >= 0 and said.upper_K is not None and said.upper_K >= said.tc_K

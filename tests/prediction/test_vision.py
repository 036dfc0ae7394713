"""A vision model behind the same command: shipped, or named by its checkpoint."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from prediction.stream import combine, rows_of

from dinov3_pipeline.model import load_model
from prediction.load import load_predictor
from prediction.models import VisionModel, predict_materials
from prediction.ship import main
from tc_common.errors import UserError
from tc_common.files import write_json
from tests.dinov3_pipeline.networks import save_whole
from tests.prediction.conftest import ShippedStudy
from tests.prediction.made import add_model, compare


@pytest.fixture(scope="module")
def with_vision(shipped: ShippedStudy, tmp_path_factory: pytest.TempPathFactory) -> ShippedStudy:
    """The study with the predictions of a tiny vision model, not shipped yet."""
    folder = tmp_path_factory.mktemp("vision") / "s"
    shutil.copytree(shipped.folder, folder)
    save_whole(folder / "m/dino_best.pth")
    model, tables = VisionModel("dinov3", load_model(folder / "m/dino_best.pth")), {}
    for split in ("val", "test"):
        table = shipped.splits[split][["material_id", "formula", "tc"]].reset_index(drop=True)
        tables[split] = table.join(combine([predict_materials(model, shipped.splits[split])]))
    add_model(folder / "r", "dinov3", shipped.splits, tables)
    write_json(folder / "r/dinov3_config.json", {"init": "random", "tune": "full"})
    compare(folder)
    return ShippedStudy(folder, folder / "models", shipped.splits)


def test_a_shipped_vision_model_predicts_with_intervals(with_vision: ShippedStudy) -> None:
    folder = with_vision.folder
    main(replace(with_vision.config(folder / "new"), dinov3=folder / "m/dino_best.pth"))
    cifs = [Path(cif) for cif in with_vision.splits["test"]["cif"][:3]]
    model = load_model(folder / "m/dino_best.pth")
    ids = with_vision.splits["test"]["material_id"]
    assert [cif.stem for cif in cifs] == ids[:3].tolist(), "names seed the views"
    for row, cif in zip(rows_of(load_predictor(folder / "new", "dinov3", "cpu"), cifs), cifs, strict=True):
        assert row.tc_K == pytest.approx(max(model.predict(cif), 0), abs=0.02)
        assert row.tc_lower_K is not None and row.tc_upper_K is not None and row.tc_lower_K < row.tc_upper_K
        assert row.graph_percentile is None and row.composition_percentile is not None
    assert "| vision |" in (folder / "new/README.md").read_text()


def test_a_checkpoint_of_ones_own_has_intervals_with_its_validation_predictions(with_vision: ShippedStudy) -> None:
    folder, cif = with_vision.folder, with_vision.cif("test")
    bare = load_predictor(with_vision.models, "dinov3", "cpu", folder / "m/dino_best.pth")
    validated = load_predictor(
        with_vision.models, "dinov3", "cpu", folder / "m/dino_best.pth", folder / "r/dinov3_val_predictions.csv"
    )
    (without,), (within,) = rows_of(bare, [cif]), rows_of(validated, [cif])
    assert without.tc_K == within.tc_K and without.tc_lower_K is None
    study = pd.read_csv(folder / "r/dinov3_predictions.csv")
    assert within.tc_K == pytest.approx(max(study["tc_pred"].iloc[0], 0), abs=1e-3) and within.tc_lower_K is not None


def test_a_missing_checkpoint_is_a_users_mistake(with_vision: ShippedStudy, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing; train first"):
        load_predictor(with_vision.models, "dinov3", "cpu", tmp_path / "none.pth")

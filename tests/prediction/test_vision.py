"""A vision model behind the same command: shipped, or named by its checkpoint."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dinov3_pipeline.model import load_model
from prediction import Prediction, load_predictor
from prediction.models import VisionModel, combine, predict_materials
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
    predictor = load_predictor(folder / "new", "dinov3")
    for each, cif in zip(predictor.predict_many(cifs), cifs, strict=True):
        assert isinstance(each, Prediction) and each.tc_K == pytest.approx(model.predict(cif), abs=0.02)
        assert each.lower_K is not None and each.upper_K is not None and each.lower_K < each.upper_K
        assert "structure" not in {caution.kind for caution in each.cautions}, "distances are the graph network's"
    assert "| vision |" in (folder / "new/README.md").read_text()
    explained = predictor.explain_views(cifs[0])
    assert explained.gradients is not None and explained.site_K is not None
    parts = explained.site_K.sum(), explained.bonds_K, explained.background_K, explained.gap_K, explained.reference_K
    assert sum(part for part in parts if part is not None) == pytest.approx(explained.tc_K, abs=1e-6)
    assert explained.attention.sum(axis=(1, 2)) == pytest.approx(1, abs=1e-4)
    assert explained.images.shape[:3] == explained.attention.shape and len(explained.views) == len(explained.images)
    whole = predictor.explain(cifs[0])
    assert whole.site_K == pytest.approx(explained.site_K) and whole.tc_K == pytest.approx(explained.tc_K)
    assert predictor.explain_views(cifs[0], attention_only=True).to_dict()["site_K"] is None


def test_a_checkpoint_of_ones_own_has_intervals_with_its_validation_predictions(with_vision: ShippedStudy) -> None:
    folder, cif = with_vision.folder, with_vision.cif("test")
    own = folder / "m/dino_best.pth"
    bare = load_predictor(with_vision.models, checkpoint=own)
    validated = load_predictor(
        with_vision.models, checkpoint=own, val_predictions=folder / "r/dinov3_val_predictions.csv"
    )
    without, within = bare.predict(cif), validated.predict(cif)
    assert bare.members == ("dinov3:dino_best.pth",)
    assert without.tc_K == within.tc_K and without.lower_K is None
    study = pd.read_csv(folder / "r/dinov3_predictions.csv")
    assert within.tc_K == pytest.approx(max(study["tc_pred"].iloc[0], 0), abs=1e-3) and within.lower_K is not None


def test_a_missing_checkpoint_is_a_users_mistake(with_vision: ShippedStudy, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing; train first"):
        load_predictor(with_vision.models, checkpoint=tmp_path / "none.pth")
    (tmp_path / "other.safetensors").write_bytes(b"")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match="neither the graph network's nor the vision network's"):
        load_predictor(with_vision.models, checkpoint=tmp_path / "other.safetensors")

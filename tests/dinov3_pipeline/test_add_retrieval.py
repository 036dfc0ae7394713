"""Retrieval over what the vision network's head reads: fitted, written, loaded, shipped, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dinov3_pipeline.add_retrieval import RetrievalConfig, Views, main
from dinov3_pipeline.model import load_model, write_shipped
from dinov3_pipeline.train import main as train
from tc_common.checkpoints import load_checkpoint, save_checkpoint
from tc_common.errors import UserError
from tc_common.files import sha256, write_json
from tc_common.lock import lock_folder
from tc_common.splits import write_splits
from tests.dinov3_pipeline.conftest import Rendered
from tests.dinov3_pipeline.test_palette import config as train_config


def config(rendered: Rendered, folder: Path, **changes: Any) -> RetrievalConfig:
    return RetrievalConfig(
        **{
            "checkpoint": folder / "m/dino_best.pth",
            "data_dir": rendered.data_dir,
            "images_dir": rendered.images_dir,
            "cache_dir": folder / "c",
            "models_dir": folder / "m",
            "results_dir": folder / "r",
            "device": "cpu",
            **changes,
        }
    )


@pytest.fixture(scope="module")
def trained(rendered: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network with a palette, trained for one epoch, then given its retrieval."""
    folder = tmp_path_factory.mktemp("retrieval")
    train(train_config(rendered, folder, epochs=1, head_features="continuous"))
    main(config(rendered, folder))
    return folder


def test_means_over_views_are_those_of_each_material() -> None:
    rows = pd.DataFrame({"material_id": list("aabb"), "tc": [1.0, 1.0, 5.0, 5.0], "tc_pred": [2.0, 4.0, 6.0, 7.0]})
    seen = Views(rows, torch.arange(8.0).reshape(4, 2))
    means = seen.per_material()
    assert means.features.tolist() == [[1.0, 2.0], [5.0, 6.0]]
    assert means.network_K.tolist() == [3.0, 6.5] and means.tc_K.tolist() == [1.0, 5.0]
    assert len(seen.per_view().tc_K) == 4


def test_the_checkpoint_predicts_what_was_written(trained: Path, rendered: Rendered) -> None:
    table = pd.read_csv(trained / "r/dinov3_neighbours_predictions.csv")
    model = load_model(trained / "m/dinov3_neighbours_best.pth")
    assert model.retrieval is not None and len(model.retrieval.tc_K) == 16
    assert len(model.retrieval.mean) == model.head_width
    cifs = rendered.splits["test"].set_index("material_id").loc[table["material_id"], "cif"]
    assert [model.predict(cif) for cif in cifs] == pytest.approx(table["tc_pred"].tolist(), abs=0.02)
    assert load_model(trained / "m/dino_best.pth").retrieval is None


def test_the_mixing_weight_is_used(trained: Path, rendered: Rendered) -> None:
    model, cif = load_model(trained / "m/dinov3_neighbours_best.pth"), rendered.splits["test"]["cif"][0]
    assert model.retrieval is not None
    model.retrieval.mixing_weight.fill_(0.0)
    assert model.predict(cif) == pytest.approx(load_model(trained / "m/dino_best.pth").predict(cif), abs=1e-4)
    model.retrieval.mixing_weight.fill_(1.0)
    retrieved_K = model.predict_views(cif).numpy()
    known_K = rendered.splits["train"]["tc"].to_numpy(np.float32)
    assert np.abs(retrieved_K[:, None] - known_K).min(1).max() < 1e-3, "medians are measured temperatures"


def test_the_shipped_form_keeps_branches_and_retrieval(trained: Path, rendered: Rendered, tmp_path: Path) -> None:
    path, cif = tmp_path / "v.safetensors", rendered.splits["test"]["cif"][0]
    facts = write_shipped(trained / "m/dinov3_neighbours_best.pth", path)
    write_json(path.with_suffix(".json"), {**facts, "sha256": sha256(path)})
    model, again = load_model(trained / "m/dinov3_neighbours_best.pth"), load_model(path)
    assert again.reads == ["palette", "continuous"] and again.retrieval is not None
    assert again.predict(cif) == pytest.approx(model.predict(cif), abs=0.1)


@pytest.mark.parametrize("broken", ["retrieval.tc_K", "retrieval.bandwidth", "palette_branch.phases"])
def test_an_incomplete_state_is_refused(trained: Path, tmp_path: Path, broken: str) -> None:
    content = load_checkpoint(trained / "m/dinov3_neighbours_best.pth")
    del content["model_state_dict"][broken]
    save_checkpoint(tmp_path / "a.pth", content)
    with pytest.raises(UserError, match=r"a\.pth") as refused:
        load_model(tmp_path / "a.pth")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("setting", "value"), [("palette", "x"), ("head_features", "magic"), ("head_features", 3)])
def test_an_edited_setting_is_refused(trained: Path, tmp_path: Path, setting: str, value: Any) -> None:
    content = load_checkpoint(trained / "m/dino_best.pth")
    save_checkpoint(tmp_path / "a.pth", {**content, "config": {**content["config"], setting: value}})
    with pytest.raises(UserError, match=rf"a\.pth is no checkpoint of the vision model: .*{setting}"):
        load_model(tmp_path / "a.pth")


def test_results_that_another_run_writes_are_refused(trained: Path, rendered: Rendered, tmp_path: Path) -> None:
    with lock_folder(tmp_path, name="dinov3_neighbours"), pytest.raises(UserError, match="--results-dir or --name"):
        main(config(rendered, trained, results_dir=tmp_path))
    assert not [*tmp_path.glob("*.csv")]


def test_a_training_is_not_overwritten_and_other_splits_are_refused(
    trained: Path, rendered: Rendered, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "dinov3_neighbours_best.pth", load_checkpoint(trained / "m/dino_best.pth"))
    with pytest.raises(UserError, match="holds a training"):
        main(config(rendered, trained, models_dir=tmp_path))
    write_splits(tmp_path / "p", {**rendered.splits, "train": rendered.splits["train"].head(15)})
    with pytest.raises(UserError, match="trained on other splits"):
        main(config(rendered, trained, data_dir=tmp_path / "p"))
    with pytest.raises(ValueError, match="--name must be"):
        config(rendered, trained, name="../x")

"""Further tests of the vision pipeline: their images are rendered in memory, with the options of the training's."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dinov3_pipeline.dataset import FeatureDataset
from dinov3_pipeline.images import RenderedImages
from dinov3_pipeline.render.options import RenderOptions
from dinov3_pipeline.train import VisionConfig, further_dataset, prepare
from dinov3_pipeline.train import main as train
from render_images import RenderConfig
from render_images import main as render
from tc_common.further import FURTHER_TESTS, further_materials
from tc_common.results import further_path
from tc_common.splits import read_splits
from tests.dinov3_pipeline.networks import SIZE, TINY
from tests.tc_common.made_further import write_further_splits


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data `p` and their images `i`."""
    folder = tmp_path_factory.mktemp("further")
    write_further_splits(folder / "p", factors=(1.05,))
    render(RenderConfig(data_dir=folder / "p", out=folder / "i", workers=1, image_size=64, bonds="none", limit=1))
    return folder


def config(data: Path, folder: Path, **changes: object) -> VisionConfig:
    settings: dict[str, object] = {
        "data_dir": data / "p", "images_dir": data / "i", "cache_dir": folder / "c", "models_dir": folder / "m",
        "results_dir": folder / "r", "backbone": TINY, "image_size": SIZE, "init": "random", "device": "cpu",
        "epochs": 1, "limit": 1, "structures": "one",
    }  # fmt: skip
    return VisionConfig(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("tune", ["full", "head"])
def test_a_training_predicts_the_further_tests(data: Path, tmp_path: Path, tune: str) -> None:
    train(config(data, tmp_path, tune=tune))
    for test in FURTHER_TESTS:
        assert len(pd.read_csv(further_path(tmp_path / "r", "dinov3", test))) == 1
    chosen = pd.read_csv(further_path(tmp_path / "r", "dinov3", "other_structures"))["chosen"]
    assert chosen.tolist() == read_splits(data / "p", 1)["test"]["material_id"].tolist()


def test_the_options_are_those_of_the_training_and_features_of_two_tests_are_kept_apart(
    data: Path, tmp_path: Path
) -> None:
    settings = config(data, tmp_path, tune="head")
    task = prepare(settings)
    tables = further_materials(data / "p", task.splits, 1)
    features = [further_dataset(settings, task.model, tables[test]) for test in ("other_structures", "literature")]  # type: ignore[arg-type]
    assert all(isinstance(dataset, FeatureDataset) for dataset in features)
    assert not np.array_equal(features[0].features, features[1].features)  # type: ignore[attr-defined]
    images = further_dataset(config(data, tmp_path, tune="full"), task.model, tables["literature"])  # type: ignore[arg-type]
    options = RenderOptions(image_size=64, bonds="none")
    expected = RenderedImages(tables["literature"], SIZE, options).image(0, 0)
    assert np.array_equal(images.images.image(0, 0), expected)  # type: ignore[attr-defined]

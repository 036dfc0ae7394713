"""Extra structures in the graph trainer: trained on, said in every file, retrieved from, refused with a prior."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data.dope import DopeConfig
from data.dope import main as dope
from dinov3_pipeline.pretrain import PretrainConfig as VisionPretrainConfig
from gat_pipeline.add_retrieval import RetrievalConfig
from gat_pipeline.add_retrieval import main as add_retrieval
from gat_pipeline.model import load_model
from gat_pipeline.pretrain import PretrainConfig as GraphPretrainConfig
from gat_pipeline.train import GraphTrainConfig, prepare
from gat_pipeline.train import main as train
from tc_common.cli import parse
from tc_common.errors import UserError
from tests.tc_common.made_extra import write_extra_structures
from tests.tc_common.made_further import write_further_splits


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Split files in `p`, with extra structures; a network trained on them in `m`."""
    folder = tmp_path_factory.mktemp("extra")
    write_further_splits(folder / "p")
    write_extra_structures(folder / "p")
    train(config(folder))
    return folder


def config(data: Path, **changes: Any) -> GraphTrainConfig:
    sizes = {"init": "random", "hidden": 8, "alignn_layers": 1, "gcn_layers": 1, "batch_size": 3, "epochs": 1}
    places = {"data_dir": data / "p", "cache_dir": data / "c", "models_dir": data / "m", "results_dir": data / "m"}
    flags = {"head_features": "physics", "extra_structures": True, "device": "cpu", "precision": "fp32"}
    return GraphTrainConfig(**{**sizes, **places, **flags, **changes})


def test_they_are_samples_of_the_training(data: Path, tmp_path: Path) -> None:
    task = prepare(config(data, models_dir=tmp_path), ("train", "val"))
    plain = prepare(config(data, models_dir=tmp_path, extra_structures=False), ("train", "val"))
    assert [len(each.datasets["train"]) for each in (task, plain)] == [7, 4]
    assert len(task.datasets["val"]) == len(plain.datasets["val"]) == 2
    assert sorted(index for batch in task.batches(0) for index in batch) == [*range(7)]
    assert task.facts == {"extra_structures": 3, "extra_labels_exclude": 0.01} and plain.facts == {}
    assert task.structures_sha256 != plain.structures_sha256


def test_files_say_so_and_which_crystals_are_known(data: Path) -> None:
    metrics = json.loads((data / "m/alignn_metrics.json").read_text())
    assert (metrics["extra_structures"], metrics["extra_labels_exclude"]) == (3, 0.01)
    known = pd.read_csv(data / "m/alignn_literature_predictions.csv").set_index("formula")["known"]
    assert known["Al1"] and known["Mg1B2"] and not known["Nb1N1"]


def test_retrieval_remembers_them(data: Path) -> None:
    add_retrieval(
        RetrievalConfig(checkpoint=data / "m/alignn_best.pth", data_dir=data / "p", cache_dir=data / "c",
                        models_dir=data / "n", results_dir=data / "n", device="cpu")
    )  # fmt: skip
    model = load_model(data / "n/alignn_neighbours_best.pth")
    assert model.retrieval is not None and len(model.retrieval.tc_K) == 7
    assert json.loads((data / "n/alignn_neighbours_metrics.json").read_text())["extra_structures"] == 3
    known = pd.read_csv(data / "n/alignn_neighbours_literature_predictions.csv").set_index("formula")["known"]
    assert known["Al1"] and not known["Nb1N1"]


def test_retrieval_from_other_structures_than_those_learned_is_refused(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "p", tmp_path / "p")
    dope(DopeConfig(data_dir=tmp_path / "p", farthest=0.2))
    settings = RetrievalConfig(
        checkpoint=data / "m/alignn_best.pth", data_dir=tmp_path / "p", cache_dir=data / "c", models_dir=tmp_path,
        results_dir=tmp_path, device="cpu",
    )  # fmt: skip
    with pytest.raises(UserError, match="other structures than the network was trained on; make it as it was"):
        add_retrieval(settings)


@pytest.mark.parametrize("settings", [GraphPretrainConfig, VisionPretrainConfig])
def test_pre_training_has_no_such_flag(settings: Any) -> None:
    with pytest.raises(UserError, match="extra-structures"):
        parse(settings, prog="pretrain", description="", args=["--extra-structures"])


def test_what_cannot_be_is_one_line(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--prior has none of the extra structures"):
        config(data, prior=Path("prior.csv"))
    write_further_splits(tmp_path / "p")
    with pytest.raises(UserError, match=r"extra_structures\.csv is missing; make it with: python -m data\.dope"):
        prepare(config(data, data_dir=tmp_path / "p", models_dir=tmp_path))

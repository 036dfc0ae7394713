"""Further tests of the graph pipeline: trainer, retrieval, zero-shot and a checkpoint alone predict the same files."""

from pathlib import Path

import pandas as pd
import pytest

from gat_pipeline.add_retrieval import RetrievalConfig
from gat_pipeline.add_retrieval import main as add_retrieval
from gat_pipeline.evaluate import EvaluationConfig, main
from gat_pipeline.evaluate_pretrained import ZeroShotConfig
from gat_pipeline.evaluate_pretrained import main as evaluate_pretrained
from gat_pipeline.model import load_model
from gat_pipeline.train import GraphTrainConfig
from gat_pipeline.train import main as train
from tc_common.errors import UserError
from tc_common.further import FURTHER_TESTS
from tc_common.results import further_path
from tc_common.splits import read_other_structures, read_splits
from tests.tc_common.made_further import write_further_splits


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data `p`, and checkpoint `m` and results `r` of a small training."""
    folder = tmp_path_factory.mktemp("further")
    write_further_splits(folder / "p")
    train(
        GraphTrainConfig(
            hidden=8, alignn_layers=1, gcn_layers=1, batch_size=3, init="random", epochs=1, device="cpu",
            precision="fp32", limit=3, data_dir=folder / "p", cache_dir=folder / "c", models_dir=folder / "m",
            results_dir=folder / "r",
        )
    )  # fmt: skip
    return folder


def config(folder: Path, results: Path, **changes: object) -> EvaluationConfig:
    settings = {"checkpoint": folder / "m/alignn_best.pth", "data_dir": folder / "p", "cache_dir": folder / "c"}
    return EvaluationConfig(**{**settings, "results_dir": results, "device": "cpu", "limit": 3, **changes})  # type: ignore[arg-type]


def test_a_training_and_its_checkpoint_write_the_same_predictions(trained: Path, tmp_path: Path) -> None:
    main(config(trained, tmp_path))
    for test in FURTHER_TESTS:
        first, again = (pd.read_csv(further_path(folder, "alignn", test)) for folder in (trained / "r", tmp_path))
        assert len(first) and list(first) == list(again)
        assert first["tc_pred"].tolist() == pytest.approx(again["tc_pred"].tolist(), abs=1e-3)


def test_predictions_are_those_of_the_other_structures_own_files(trained: Path) -> None:
    cif_of = read_other_structures(trained / "p", read_splits(trained / "p")).set_index("material_id")["cif"]
    model = load_model(trained / "m/alignn_best.pth")
    written = pd.read_csv(further_path(trained / "r", "alignn", "other_structures"))
    alone = [model.predict(cif_of[material_id]) for material_id in written["material_id"]]
    assert written["tc_pred"].tolist() == pytest.approx(alone, abs=1e-3)
    by_chosen = written.groupby("chosen")["tc_pred"].nunique()
    assert (by_chosen == 2).any(), "two structures of a compound are two predictions"


def test_retrieval_and_zero_shot_write_them_too(trained: Path, tmp_path: Path) -> None:
    common = {"data_dir": trained / "p", "cache_dir": trained / "c", "results_dir": tmp_path, "device": "cpu"}
    add_retrieval(
        RetrievalConfig(checkpoint=trained / "m/alignn_best.pth", models_dir=tmp_path, limit=3, **common)  # type: ignore[arg-type]
    )
    evaluate_pretrained(ZeroShotConfig(limit=1, **common))  # type: ignore[arg-type]
    for name, count in (("alignn_neighbours", 6), ("pretrained_alignn", 2)):
        assert len(pd.read_csv(further_path(tmp_path, name, "other_structures"))) == count
        assert set(pd.read_csv(further_path(tmp_path, name, "literature"))) >= {"known", "split", "family"}


def test_a_checkpoint_of_other_splits_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="was trained on other splits"):
        main(config(trained, tmp_path, limit=2))
    assert not list(tmp_path.iterdir())

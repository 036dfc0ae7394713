"""Extra labels in the graph trainer: the branch learns from them, files say so, other exclusions are refused."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from gat_pipeline.evaluate import EvaluationConfig
from gat_pipeline.evaluate import main as evaluate
from gat_pipeline.pretrain import PretrainConfig
from gat_pipeline.train import GraphTrainConfig, facts_of, prepare
from gat_pipeline.train import main as train
from tc_common.errors import UserError
from tc_common.files import sha256
from tc_common.labels import ExtraLabels
from tc_common.prior import Prior
from tc_common.splits import read_splits, splits_sha256
from tests.tc_common.made_further import write_further_splits

ROWS = ("name,formula,tc,chemical_system", "Nb4Ge1,Nb4Ge,18.0,Ge-Nb", "Al1,Al,1.2,Al", "Re1,Re,1.7,Re")
LABELS = "\n".join(ROWS) + "\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Split files in `p`, with extra labels."""
    folder = tmp_path_factory.mktemp("labels")
    write_further_splits(folder / "p")
    path = folder / "p/extra_labels.csv"
    path.write_text(LABELS, encoding="utf-8")
    facts = {"labels_sha256": sha256(path), "splits_sha256": splits_sha256(read_splits(folder / "p"))}
    path.with_suffix(".json").write_text(json.dumps({**facts, "exclude": 0.01, "split": "stratified"}))
    return folder


def config(data: Path, folder: Path, **changes: Any) -> GraphTrainConfig:
    sizes = {"init": "random", "hidden": 8, "alignn_layers": 1, "gcn_layers": 1, "batch_size": 3, "epochs": 1}
    places = {"data_dir": data / "p", "cache_dir": data / "c", "models_dir": folder, "results_dir": folder}
    labels = {"extra_labels": data / "p/extra_labels.csv", "branch_epochs": 2, "head_features": "physics"}
    return GraphTrainConfig(**{**sizes, **places, **labels, "device": "cpu", "precision": "fp32", **changes})


def branch(settings: GraphTrainConfig) -> dict[str, torch.Tensor]:
    found = prepare(settings, ("train",)).model.composition_branch
    assert isinstance(found, torch.nn.Module)
    return found.state_dict()


def test_the_branch_learns_before_the_network_and_the_same_way_every_time(data: Path, tmp_path: Path) -> None:
    first, again = (branch(config(data, tmp_path)) for _ in range(2))
    plain = branch(config(data, tmp_path, extra_labels=None))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.allclose(first["layers.0.weight"], plain["layers.0.weight"], atol=1e-4)
    assert not torch.equal(first["mean"], plain["mean"]), "its input is standardised by the labels too"


def test_files_say_what_was_learned_and_which_crystals_are_known(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path))
    metrics = json.loads((tmp_path / "alignn_metrics.json").read_text())
    assert (metrics["extra_labels"], metrics["extra_labels_exclude"]) == (3, 0.01)
    known = pd.read_csv(tmp_path / "alignn_literature_predictions.csv").set_index("formula")["known"]
    assert known["Al1"] and known["Mg1B2"] and not known["Nb1N1"] and not known.all()
    evaluate(
        EvaluationConfig(checkpoint=tmp_path / "alignn_best.pth", data_dir=data / "p", cache_dir=data / "c",
                         results_dir=tmp_path / "again", device="cpu")
    )  # fmt: skip
    again = pd.read_csv(tmp_path / "again/alignn_literature_predictions.csv").set_index("formula")["known"]
    assert again.equals(known)


def test_a_prior_of_another_exclusion_is_refused() -> None:
    labels = ExtraLabels(pd.DataFrame({"formula": ["Al"]}), 0.05, "stratified")
    facts = {"prior_sha256": "x", "prior_folds": "random"}
    given = {"extra_labels": 7, "extra_labels_exclude": 0.05}
    assert facts_of(Prior(Path("p.csv"), {}, frozenset(), facts | given), labels)["extra_labels"] == 1
    for other in ({"extra_labels": 7, "extra_labels_exclude": 0.01}, {}):
        with pytest.raises(UserError, match=r"p\.csv was made with --exclude"):
            facts_of(Prior(Path("p.csv"), {}, frozenset(), facts | other), labels)


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        (GraphTrainConfig, {"extra_labels": Path("x.csv")}, "add --head-features"),
        (GraphTrainConfig, {"branch_epochs": 0}, "--branch-epochs must be at least 1"),
        (PretrainConfig, {"prior": Path("x.csv")}, "those of JARVIS"),
        (PretrainConfig, {"extra_labels": Path("x.csv"), "head_features": "physics"}, "those of JARVIS"),
    ],
)
def test_settings_without_effect_are_refused(settings: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)

"""The pair's prediction as an input of the network: what it corrects, what it refuses, and that files agree."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from gat_pipeline.add_retrieval import RetrievalConfig
from gat_pipeline.add_retrieval import main as add_retrieval
from gat_pipeline.dataset import GraphDataset, collator, join
from gat_pipeline.evaluate import EvaluationConfig
from gat_pipeline.evaluate import main as evaluate
from gat_pipeline.inference import infer, predict_all
from gat_pipeline.model import AlignnTc, architecture_metadata, create_alignn_model, load_model, write_weights
from gat_pipeline.network import NetworkShape
from gat_pipeline.train import GraphTrainConfig
from gat_pipeline.train import main as train
from tc_common.errors import UserError
from tc_common.files import sha256
from tc_common.prior import read_prior
from tc_common.splits import read_other_structures, read_splits, splits_sha256
from tc_common.targets import TargetTransform
from tests.gat_pipeline.crystals import sample_graphs, settle
from tests.tc_common.made_further import write_further_splits

SHAPE = NetworkShape(hidden=16, alignn_layers=1, gcn_layers=1)
PRIOR_K = np.array([0.0, 1.2, 9.0, 39.0, 92.0, 130.0])


def settled(**choices: Any) -> AlignnTc:
    target = TargetTransform("sqrt", torch.tensor([0.0, 5.0, 20.0, 90.0]))
    model = create_alignn_model(shape=SHAPE, reads_prior=True, target=target, seed=1, **choices)
    settle(model, join(sample_graphs(), None, model.feature_kind, np.linspace(0, 90, len(sample_graphs()))))
    return model.eval()


@pytest.mark.parametrize("head_features", ["none", "physics"])
@torch.no_grad()
def test_before_it_learns_the_network_predicts_the_prior_itself(head_features: Any) -> None:
    model = settled(head_features=head_features)
    tc_K, features = infer(model, sample_graphs()[:6], prior_K=PRIOR_K)
    assert tc_K == pytest.approx(PRIOR_K, abs=1e-4)
    assert features[:, -1].tolist() == pytest.approx(model.target.encode(torch.tensor(PRIOR_K).float()).tolist())


@torch.no_grad()
def test_a_learned_correction_is_added_in_the_targets_space_and_depends_on_the_crystal() -> None:
    model = settled()
    model.head[-1].weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))  # type: ignore[index]
    graphs = sample_graphs()[:6]
    tc_K, features = infer(model, graphs, prior_K=PRIOR_K)
    correction = model.head(features).squeeze(1)
    expected = model.target.decode(model.target.encode(torch.tensor(PRIOR_K).float()) + correction)
    assert tc_K == pytest.approx(expected.tolist(), abs=1e-3)
    assert len(set(correction.round(decimals=3).tolist())) == 6


def test_gradients_reach_the_backbone_once_the_last_layer_has_moved() -> None:
    model = settled().train()
    batch = join(sample_graphs()[:6], prior_K=PRIOR_K)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (model.target.encode(model(batch)) - 1.0).abs().mean().backward()
        optimizer.step()
    assert model.backbone.atom_embedding.layer[0].weight.grad.abs().max() > 0  # type: ignore[union-attr, index]


def test_a_batch_without_the_prior_is_refused() -> None:
    with pytest.raises(UserError, match=r"missing here; give --prior FILE"):
        settled()(join(sample_graphs()[:2]))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Split files with other structures, in `p`, and priors that are 1 K too high."""
    folder = tmp_path_factory.mktemp("prior")
    splits = write_further_splits(folder / "p")
    others = read_other_structures(folder / "p", splits)
    sample = pd.read_csv("data/sample/sample.csv")
    tables = [*splits.values(), others, sample[["material_id", "formula", "tc"]]]
    table = pd.concat([each[["material_id", "formula", "tc"]] for each in tables], ignore_index=True)
    table = table.assign(prior_K=table.pop("tc") + 1.0, learned=table["material_id"] == "Al-Cu")
    write_prior(folder, table)
    return folder


def write_prior(folder: Path, table: pd.DataFrame, **other: object) -> Path:
    path = folder / "prior.csv"
    table.to_csv(path, index=False)
    facts: dict[str, object] = {
        "prior_sha256": sha256(path),
        "splits_sha256": splits_sha256(read_splits(folder / "p")),
    }
    facts |= {"prior_folds": "random", "extra_labels": 12, "extra_labels_exclude": 0.01}
    path.with_suffix(".json").write_text(json.dumps({**facts, **other}), encoding="utf-8")
    return path


def places(data: Path, folder: Path) -> dict[str, Any]:
    return {"data_dir": data / "p", "cache_dir": data / "c", "results_dir": folder, "device": "cpu"}


def config(data: Path, folder: Path, **changes: Any) -> GraphTrainConfig:
    sizes = {"init": "random", "hidden": 8, "alignn_layers": 1, "gcn_layers": 1, "batch_size": 3, "epochs": 1}
    common = {"models_dir": folder, "prior": data / "prior.csv", "precision": "fp32", "target": "sqrt"}
    return GraphTrainConfig(**{**places(data, folder), **sizes, **common, **changes})


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(config(data, folder))
    return folder


def test_a_dataset_gives_each_drawn_structure_its_prior(data: Path) -> None:
    splits, prior = read_splits(data / "p"), read_prior(data / "prior.csv", data / "p")
    dataset = GraphDataset(splits["train"], settled().options, data / "c", prior=prior)
    batch = collator(dataset.options)([dataset[index] for index in range(len(dataset))])
    assert batch["prior_K"].tolist() == pytest.approx((splits["train"]["tc"] + 1).tolist())
    assert batch["prior_K"].dtype == torch.float32 and "prior_K" not in collator(dataset.options)(
        [GraphDataset(splits["train"], dataset.options, data / "c")[0]]
    )


def test_metrics_and_checkpoint_say_which_prior_and_which_exclusion(data: Path, trained: Path) -> None:
    metrics = json.loads((trained / "alignn_metrics.json").read_text())
    expected = {"prior_sha256": sha256(data / "prior.csv"), "prior_folds": "random", "extra_labels_exclude": 0.01}
    assert {name: metrics[name] for name in expected} == expected
    content = torch.load(trained / "alignn_best.pth", weights_only=True)
    assert {name: content["identity"][name] for name in expected} == expected


def test_a_checkpoint_and_its_retrieval_predict_with_their_prior(data: Path, trained: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"checkpoint": trained / "alignn_best.pth", "prior": data / "prior.csv"}
    evaluate(EvaluationConfig(**places(data, tmp_path), **more))
    for test in ("other_structures", "literature"):
        first, again = (pd.read_csv(each / f"alignn_{test}_predictions.csv") for each in (trained, tmp_path))
        assert first["tc_pred"].tolist() == pytest.approx(again["tc_pred"].tolist(), abs=1e-3)
        assert (first["tc_pred"] - first["tc"] - 1.0).abs().median() < 3.0, "one epoch is a small correction"
    assert first.set_index("material_id")["known"]["Al-Cu"] and not first["known"].all()
    add_retrieval(RetrievalConfig(**places(data, tmp_path), **more, models_dir=tmp_path))
    metrics = json.loads((tmp_path / "alignn_neighbours_metrics.json").read_text())
    assert metrics["prior_sha256"] == sha256(data / "prior.csv")
    model, splits = load_model(tmp_path / "alignn_neighbours_best.pth"), read_splits(data / "p")
    dataset = GraphDataset(splits["test"], model.options, prior=read_prior(data / "prior.csv", data / "p"))
    written = pd.read_csv(tmp_path / "alignn_neighbours_predictions.csv")
    assert predict_all(model, dataset) == pytest.approx(written["tc_pred"].to_numpy(), abs=1e-3)


def test_shipped_weights_read_the_prior_too(trained: Path, tmp_path: Path) -> None:
    model = load_model(trained / "alignn_best.pth")
    write_weights(tmp_path / "m.safetensors", model)
    card = {**architecture_metadata(model), "training": {}}
    (tmp_path / "m.json").write_text(json.dumps(card), encoding="utf-8")
    shipped = load_model(tmp_path / "m.safetensors")
    assert shipped.reads_prior
    cif = next(Path("data/sample/cifs").glob("MgB2*.cif"))
    assert shipped.predict(cif, 39.0) == pytest.approx(model.predict(cif, 39.0), abs=0.05)
    assert abs(shipped.predict(cif, 39.0) - shipped.predict(cif, 9.0)) > 10
    with pytest.raises(UserError, match="missing here"):
        shipped.predict(cif)


def test_a_wrong_or_missing_prior_is_refused_in_one_line(data: Path, trained: Path, tmp_path: Path) -> None:
    def refused(message: str, **changes: Any) -> None:
        settings = {**places(data, tmp_path), "checkpoint": trained / "alignn_best.pth", **changes}
        with pytest.raises(UserError, match=message) as caught:
            evaluate(EvaluationConfig(**settings))
        assert "\n" not in str(caught.value)

    refused("needs its prior; give --prior")
    table = pd.read_csv(data / "prior.csv")
    (tmp_path / "p").symlink_to(data / "p")
    refused("another prior", prior=write_prior(tmp_path, table.assign(prior_K=3.0)))
    plain = tmp_path / "plain"
    train(config(data, plain, prior=None))
    refused("reads no prior; take away --prior", prior=data / "prior.csv", checkpoint=plain / "alignn_best.pth")


def test_a_resumed_run_needs_the_same_prior(data: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "p").symlink_to(data / "p")
    other = write_prior(tmp_path, pd.read_csv(data / "prior.csv").assign(prior_K=3.0))
    with pytest.raises(UserError, match="prior_sha256"):
        train(config(data, trained, prior=other))


@pytest.mark.parametrize(
    ("change", "other", "message"),
    [
        ({"prior_K": "warm"}, {}, "no temperature in kelvin"),
        ({"prior_K": -1.0}, {}, "no temperature in kelvin"),
        ({"material_id": "twice"}, {}, "listed twice"),
        ({}, {"splits_sha256": "x"}, "made for other splits than"),
        ({}, {"prior_sha256": "x"}, "is not the file that"),
        ({}, {"prior_folds": None}, ""),
    ],
)
def test_a_prior_that_cannot_be_trusted_is_refused(
    data: Path, tmp_path: Path, change: dict[str, Any], other: dict[str, Any], message: str
) -> None:
    (tmp_path / "p").symlink_to(data / "p")
    path = write_prior(tmp_path, pd.read_csv(data / "prior.csv").assign(**change), **other)
    if not message:
        path.with_suffix(".json").unlink()
        message = "the report of prior.csv, cannot be read"
    with pytest.raises(UserError, match=message) as caught:
        read_prior(path, tmp_path / "p")
    assert "\n" not in str(caught.value)


def test_a_material_without_a_prior_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "p").symlink_to(data / "p")
    path = write_prior(tmp_path, pd.read_csv(data / "prior.csv").query("material_id != 'm-MgB2'"))
    with pytest.raises(UserError, match=r"no prior of m-MgB2 \(1 missing\)"):
        train(config(data, tmp_path, prior=path))

"""Training by the real command line, and what the study asks of it: two rates, unfreezing, learning at all."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from gat_pipeline.dataset import GraphDataset, bounded_micro_batches, collator
from gat_pipeline.graphs import GraphOptions
from gat_pipeline.inference import predict_all
from gat_pipeline.model import create_alignn_model, load_model
from gat_pipeline.network import NetworkShape
from gat_pipeline.train import GraphTrainConfig, build_model, optimizer_of, task_of, unfreezer
from tests.gat_pipeline.crystals import ROOT
from tests.gat_pipeline.tables import split_table, write_small_splits

TINY = (
    "--init",
    "random",
    "--hidden",
    "16",
    "--alignn-layers",
    "1",
    "--gcn-layers",
    "1",
    "--batch-size",
    "4",
    "--device",
    "cpu",
)


def command(*flags: object, module: str = "gat_pipeline.train") -> "subprocess.CompletedProcess[str]":
    arguments = [sys.executable, "-m", module, *map(str, flags)]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def folders(path: Path) -> tuple[object, ...]:
    return (
        "--data-dir", path / "p", "--models-dir", path / "m", "--results-dir", path / "r", "--cache-dir", path / "c",
    )  # fmt: skip


def test_end_to_end_and_on_from_where_it_stopped(tmp_path: Path) -> None:
    splits = write_small_splits(tmp_path / "p")
    first = command(*folders(tmp_path), *TINY, "--epochs", 2)
    assert first.returncode == 0, first.stderr
    again = command(*folders(tmp_path), *TINY, "--epochs", 3)
    assert again.returncode == 0, again.stderr
    assert "epoch 3/3" in again.stderr and "epoch 2/3" not in again.stderr
    assert len(pd.read_csv(tmp_path / "r" / "alignn_history.csv")) == 3
    predictions = pd.read_csv(tmp_path / "r" / "alignn_predictions.csv")
    assert predictions["material_id"].tolist() == sorted(splits["test"]["material_id"])
    metrics = json.loads((tmp_path / "r" / "alignn_metrics.json").read_text(encoding="utf-8"))
    assert metrics["model"] == "alignn" and metrics["init"] == "random" and metrics["n"] == len(predictions)
    model = load_model(tmp_path / "m" / "alignn_best.pth")
    alone = [
        model.predict(cif) for cif in splits["test"].set_index("material_id").loc[predictions["material_id"], "cif"]
    ]
    assert alone == pytest.approx(predictions["tc_pred"].tolist(), rel=0.05, abs=0.2), (
        "trained in bf16, predicted in fp32"
    )


@pytest.mark.slow
def test_the_original_engine_trains_and_its_checkpoint_runs_on_ours(tmp_path: Path) -> None:
    pytest.importorskip("dgl")
    splits = write_small_splits(tmp_path / "p")
    result = command(*folders(tmp_path), *TINY, "--epochs", 2, "--engine", "dgl", "--precision", "fp32")
    assert result.returncode == 0, result.stderr
    model = load_model(tmp_path / "m" / "alignn_best.pth")
    cif_of = splits["test"].set_index("material_id")["cif"]
    for row in pd.read_csv(tmp_path / "r" / "alignn_predictions.csv").itertuples():
        assert model.predict(cif_of[row.material_id]) == pytest.approx(row.tc_pred, abs=1e-3)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--no-such-flag", "1"), "no-such-flag"),
        (("--lr-head", "0"), "learning rates must be > 0"),
        (("--batch-size", "1"), "--batch-size must be at least 2"),
        (("--init", "random", "--unfreeze-every", "2"), "--unfreeze-every needs pretrained weights"),
        (("--graph.neighbours", "0"), "neighbours"),
        (("--graph.mixture-channels",), "mixture-channels"),
        (("--plateau-patience", "5"), "plateau-patience"),
        (("--data-dir", "no/such/folder"), "no/such/folder"),
    ],
)
def test_mistakes_are_one_line(flags: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    from gat_pipeline.train import main
    from tc_common.cli import parse
    from tc_common.errors import UserError

    with pytest.raises(UserError) as mistake:
        main(parse(GraphTrainConfig, prog="train", description="", args=["--models-dir", str(tmp_path / "m"), *flags]))
    assert expected in str(mistake.value)
    assert not (tmp_path / "m").exists()


def test_an_unreadable_cif_stops_before_training(tmp_path: Path) -> None:
    splits = write_small_splits(tmp_path / "p")
    bad = tmp_path / "bad.cif"
    bad.write_text("data_nothing\n", encoding="utf-8")
    table = splits["val"].assign(cif=str(bad))
    table.to_csv(tmp_path / "p" / "val.csv", index=False)
    result = command(*folders(tmp_path), *TINY, "--epochs", 1)
    assert result.returncode == 2 and "bad.cif" in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "m" / "alignn_last.pth").exists()


def config(**changes: Any) -> GraphTrainConfig:
    return GraphTrainConfig(hidden=16, alignn_layers=2, gcn_layers=2, device="cpu", **changes)


def test_backbone_and_head_have_their_own_rates() -> None:
    model = create_alignn_model(shape=NetworkShape(hidden=16, alignn_layers=1, gcn_layers=1))
    rates = {
        id(p): group["lr"]
        for group in optimizer_of(config(), model, pretrained=True).param_groups
        for p in group["params"]
    }
    assert {rates[id(p)] for p in model.backbone.parameters()} == {1e-5}
    assert {rates[id(p)] for p in model.head.parameters()} == {1e-3}
    assert len(rates) == len(list(model.parameters()))
    from_scratch = optimizer_of(config(), model, pretrained=False).param_groups
    assert {group["lr"] for group in from_scratch} == {1e-3}
    decays = {p.ndim > 1: group["weight_decay"] for group in from_scratch for p in group["params"]}
    assert decays == {True: 1e-2, False: 0.0}


def test_blocks_are_unfrozen_from_the_head_down() -> None:
    model = create_alignn_model(shape=NetworkShape(hidden=16, alignn_layers=2, gcn_layers=2))
    learns_at_the_end = [p.requires_grad for p in model.parameters()]
    free = unfreezer(model, every=3)
    seen = []
    for epoch in (0, 2, 3, 6, 12, 100):
        free(epoch)
        seen.append([any(p.requires_grad for p in block.parameters()) for block in model.blocks()])
    assert [sum(blocks) for blocks in seen] == [0, 0, 1, 2, 4, 7]
    assert seen[2][0] and not seen[2][1], "the block next to the head learns first"
    assert [p.requires_grad for p in model.parameters()] == learns_at_the_end
    assert all(p.requires_grad for p in model.head.parameters())
    unfreezer(model, every=0)(0)
    assert [p.requires_grad for p in model.parameters()] == learns_at_the_end


def test_memory_is_bounded_by_angles() -> None:
    splits = {name: split_table(10, start) for start, name in enumerate(("train", "val", "test"))}
    sets = {name: GraphDataset(table, GraphOptions()) for name, table in splits.items()}
    settings = config(init="random", angles_per_batch=int(sets["train"].angles.max()) + 1, batch_size=8)
    task = task_of(settings, build_model(settings, None, splits["train"]), None, splits, sets)
    micro_batches = [indices for batch in task.batches(0) for indices in task.micro_batches(sets["train"], batch)]
    assert sorted(index for indices in micro_batches for index in indices) == list(range(len(sets["train"])))
    assert max(sets["train"].angles[indices].sum() for indices in micro_batches) <= settings.angles_per_batch


def overfit(materials: int, below_K: float, steps: int, hidden: int) -> float:
    """MAE (K) on the training materials themselves, after so many steps or as soon as it is low enough."""
    table = split_table(materials)
    data = GraphDataset(table, GraphOptions())
    settings = GraphTrainConfig(init="random", hidden=hidden, device="cpu", schedule="constant")
    model = build_model(settings, None, table)
    optimizer = optimizer_of(settings, model, pretrained=False)
    batches = [
        collator(data.options)([data[i] for i in indices])
        for indices in bounded_micro_batches(data.angles, range(len(data)), 16, 10**9)
    ]
    for step in range(steps):
        model.train()
        loss = sum(
            (model.target.encode(model(batch)) - model.target.encode(batch["tc"])).abs().mean() for batch in batches
        )
        optimizer.zero_grad()
        torch.as_tensor(loss).backward()
        optimizer.step()
        if step % 20 == 19 and (mae_K := float(np.abs(predict_all(model.eval(), data) - data.tc_K).mean())) < below_K:
            return mae_K
    return mae_K


def test_eight_materials_are_learned_by_heart() -> None:
    table = split_table(8)
    spread_K = float((table["tc"] - table["tc"].median()).abs().mean())
    assert overfit(8, below_K=0.1 * spread_K, steps=200, hidden=32) < 0.1 * spread_K


@pytest.mark.slow
def test_sixteen_materials_are_learned_to_half_a_kelvin() -> None:
    assert overfit(16, below_K=0.5, steps=1500, hidden=256) < 0.5

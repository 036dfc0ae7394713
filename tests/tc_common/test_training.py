"""The loop: what a step computes, when a run ends, and what stops it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tc_common.devices import Placement
from tc_common.predictions import average_samples
from tc_common.runs import fit, run_training
from tc_common.signals import StopRequest
from tc_common.task import Task, chunked, shuffled_batches
from tc_common.training import Trainer, TrainingError
from tests.tc_common.runs import after_step, checkpoint, files, run_interrupted
from tests.tc_common.toy import ToyConfig, ToyDataset, ToyModel, collate, table, toy_config, toy_task

CPU = Placement(torch.device("cpu"), bf16=False)


def one_step(config: ToyConfig, task: Task) -> dict[str, torch.Tensor]:
    """Weights after the first batch of the first epoch."""
    trainer = Trainer(task, config, CPU, StopRequest())
    share = trainer._share(task.batches(0)[0])
    trainer._step(
        share, iter([collate([task.datasets["train"][i] for i in indices]) for indices in share.micro_batches]), 10
    )
    return {name: weight.clone() for name, weight in task.model.state_dict().items()}


def gradients(config: ToyConfig, micro_batches: list[list[int]]) -> list[torch.Tensor]:
    """Gradient of one batch cut into `micro_batches`, caught before the optimiser moves."""
    task = toy_task(config)
    caught: list[torch.Tensor] = []
    task.optimizer.register_step_pre_hook(
        lambda *_: caught.extend(p.grad.clone() for p in task.model.parameters() if p.grad is not None)
    )
    task.micro_batches = lambda dataset, indices: micro_batches
    task.batches = lambda epoch: [[index for indices in micro_batches for index in indices]]
    one_step(config, task)
    return caught


def test_uneven_micro_batches_add_up_to_the_gradient_of_the_batch(tmp_path: Path) -> None:
    config = toy_config(tmp_path, dropout=0.0, grad_clip=0)
    whole = gradients(config, [[3, 8, 1, 9, 30]])
    cut = gradients(config, [[3], [8, 1, 9], [30]])
    for one, other in zip(whole, cut, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(whole[0], gradients(config, [[3, 8, 1, 9, 31]])[0], rtol=1e-3)


def test_the_gradient_is_clipped_to_its_norm(tmp_path: Path) -> None:
    free = gradients(toy_config(tmp_path, dropout=0.0, grad_clip=0), [[0, 39]])
    clipped = gradients(toy_config(tmp_path, dropout=0.0, grad_clip=0.01), [[0, 39]])
    norm = math.sqrt(sum(float(g.square().sum()) for g in free))
    assert norm > 0.02
    for before, after in zip(free, clipped, strict=True):
        assert torch.allclose(after, before * 0.01 / norm, rtol=1e-4)


def test_every_sample_is_seen_once_an_epoch_in_an_order_of_its_own() -> None:
    batches = shuffled_batches(samples=23, size=4, seed=1)
    first, second = batches(0), batches(1)
    assert [len(batch) for batch in first] == [4, 4, 4, 4, 4, 3]
    assert sorted(index for batch in first for index in batch) == list(range(23))
    assert first == shuffled_batches(23, 4, seed=1)(0)
    assert first != second and first != shuffled_batches(23, 4, seed=2)(0)
    assert chunked(3)(ToyDataset(table("val")), [5, 6, 7, 8]) == [[5, 6, 7], [8]]


def test_it_learns(tmp_path: Path) -> None:
    config = toy_config(tmp_path, epochs=30, patience=30, dropout=0.0)
    metrics = run_training(toy_task(config), config)
    assert metrics["val_mae_K"] < 5  # 15 after three epochs
    assert metrics["epochs"] == 30
    predictions = pd.read_csv(config.results_dir / "toy_predictions.csv")
    assert metrics["mae_K"] == pytest.approx((predictions["tc"] - predictions["tc_pred"]).abs().mean())


def test_reported_weights_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    config = toy_config(tmp_path, epochs=8, learning_rate=0.3, schedule="constant")
    task = toy_task(config)
    metrics = run_training(task, config)
    maes = [row["val_mae_K"] for row in checkpoint(config)["history"]]
    best = checkpoint(config, "best")
    assert int(np.argmin(maes)) + 1 == best["epoch"] < 8
    assert metrics["val_mae_K"] == pytest.approx(min(maes))
    written = pd.read_csv(config.results_dir / "toy_val_predictions.csv")
    assert (written["tc"] - written["tc_pred"]).abs().mean() == pytest.approx(min(maes), rel=1e-5)


def test_a_training_without_test_materials_ends_with_its_best_weights_and_scores_nothing(tmp_path: Path) -> None:
    config = toy_config(tmp_path, epochs=8, learning_rate=0.3, schedule="constant")
    task = toy_task(config)
    task.splits = {name: rows for name, rows in task.splits.items() if name != "test"}
    task.datasets = {name: rows for name, rows in task.datasets.items() if name != "test"}
    progress = fit(task, config)
    best = checkpoint(config, "best")
    assert best["epoch"] < progress.epoch == 8 and progress.best_val_mae == best["val_mae"]
    for name, weight in task.model.state_dict().items():
        assert torch.equal(weight, best["model_state_dict"][name])
    assert {path.name for path in config.results_dir.glob("[!.]*.*")} == {"toy_config.json", "toy_history.csv"}


def test_training_stops_when_validation_no_longer_improves(tmp_path: Path) -> None:
    config = toy_config(tmp_path, epochs=40, learning_rate=0.0, patience=3, schedule="constant")
    run_training(toy_task(config), config)
    last = checkpoint(config)
    assert (last["epoch"], last["patience_counter"]) == (4, 3)


def test_samples_of_a_material_are_averaged() -> None:
    rows = pd.DataFrame({"material_id": ["b", "a", "b"], "tc": [5.0, 1.0, 5.0], "tc_pred": [4.0, 2.0, 8.0]})
    averaged = average_samples(rows)
    assert averaged["material_id"].tolist() == ["a", "b"]
    assert averaged["tc_pred"].tolist() == [2.0, 6.0]
    assert averaged["tc_std"].tolist() == [0.0, 2.0]
    assert "tc_std" not in average_samples(rows.head(2))
    rows.loc[2, "tc_pred"] = math.nan
    assert np.isnan(average_samples(rows)["tc_pred"]).tolist() == [False, True]


class Poisoned(ToyDataset):
    """One sample of material m7 is not a number."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = super().__getitem__(index)
        return {**item, "x": item["x"] * math.nan} if index == 15 else item


def expect_stop(task: Task, config: ToyConfig) -> str:
    """Message of the run's end; its checkpoints stay as they were."""
    before = files(config.models_dir)
    with pytest.raises(TrainingError) as error:
        run_training(task, config)
    assert {name: files(config.models_dir)[name] for name in before} == before
    return str(error.value)


@pytest.fixture
def begun(tmp_path: Path) -> ToyConfig:
    """A run stopped in its second epoch."""
    config = toy_config(tmp_path)
    run_interrupted(toy_task, config, after_step(11))
    return config


def step_with(task: Task, material: str, epoch: int, sample: int) -> int:
    """Number (from 1) of the step of an epoch that computes a sample."""
    return next(number for number, batch in enumerate(task.batches(epoch), 1) if sample in batch)


def test_a_loss_that_is_not_finite_stops_the_run(begun: ToyConfig) -> None:
    task = toy_task(begun)
    task.datasets = {**task.datasets, "train": Poisoned(table("train"))}
    message = expect_stop(task, begun)
    assert f"epoch 2, step {step_with(task, 'm7', 1, 15)}: loss is nan with materials" in message
    assert "m7" in message and "--lr" in message


def test_a_gradient_that_is_not_finite_stops_the_run(begun: ToyConfig) -> None:
    task = toy_task(begun)
    next(task.model.parameters()).register_hook(lambda gradient: gradient * math.inf)
    assert "epoch 2, step 2: gradient is" in expect_stop(task, begun)


def test_a_parameter_that_is_not_finite_stops_the_run(begun: ToyConfig) -> None:
    task = toy_task(begun)

    def spoil(*_: Any) -> None:
        with torch.no_grad():
            next(task.model.parameters()).fill_(math.inf)

    task.optimizer.register_step_post_hook(spoil)
    assert "epoch 2, step 2: parameter is" in expect_stop(task, begun)


def test_a_validation_error_that_is_not_finite_stops_the_run(begun: ToyConfig) -> None:
    task = toy_task(begun)
    task.datasets = {**task.datasets, "val": Poisoned(table("train"))}
    message = expect_stop(task, begun)
    assert "epoch 2: validation MAE is nan" in message and "m7" in message


class Greedy(ToyModel):
    """Asks for more memory than any computer has."""

    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        return super().forward(batch) + torch.empty(1 << 50).sum()


def test_exhausted_memory_is_one_line_that_says_what_to_do(begun: ToyConfig) -> None:
    message = expect_stop(toy_task(begun, Greedy(begun)), begun)
    assert "epoch 2, step 2: out of memory; halve --batch-size (4) and double --grad-accumulation (1)" in message


def test_a_defect_is_no_shortage(begun: ToyConfig) -> None:
    task = toy_task(begun)
    task.model.register_forward_hook(lambda *_: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        run_training(task, begun)

"""A run that was stopped and started again ends with the very bits of one that was not."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tc_common import task
from tc_common.checkpoints import load_checkpoint, save_checkpoint
from tc_common.errors import UserError
from tc_common.runs import run_training
from tc_common.task import Task
from tests.tc_common.runs import after_step, at_forward, checkpoint, differences, files, run_interrupted
from tests.tc_common.toy import ToyConfig, toy_config, toy_task

STEPS_PER_EPOCH = 10  # 40 samples in batches of 4
VALIDATION_BATCHES = 3  # 12 samples in batches of 4

POINTS: dict[str, Callable[[Task], None]] = {
    "first step": after_step(1),
    "early in an epoch": after_step(4),
    "in the middle of the second epoch": after_step(15),
    "one step before the end of an epoch": after_step(19),
    "last step of an epoch": after_step(20),
    "while validating": at_forward(STEPS_PER_EPOCH + 2),
    "at the end of a validation": at_forward(STEPS_PER_EPOCH + VALIDATION_BATCHES),
    "last step of all": after_step(30),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> ToyConfig:
    config = toy_config(tmp_path_factory.mktemp("undisturbed"))
    run_training(toy_task(config), config)
    return config


@pytest.mark.parametrize("point", POINTS)
def test_resumed_run_is_bit_identical(point: str, undisturbed: ToyConfig, tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    run_interrupted(toy_task, config, POINTS[point])
    run_training(toy_task(config), config)
    for kind in ("last", "best"):
        assert differences(checkpoint(undisturbed, kind), checkpoint(config, kind)) == []
    for name in ("toy_history.csv", "toy_predictions.csv", "toy_val_predictions.csv"):
        assert (config.results_dir / name).read_bytes() == (undisturbed.results_dir / name).read_bytes()


def test_a_run_stopped_many_times_is_bit_identical(undisturbed: ToyConfig, tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    for _ in range(9):
        run_interrupted(toy_task, config, after_step(3))
    run_training(toy_task(config), config)
    assert differences(checkpoint(undisturbed), checkpoint(config)) == []


@pytest.mark.parametrize("schedule", ["plateau", "onecycle", "constant"])
def test_resume_is_exact_under_every_schedule(schedule: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "PLATEAU_PATIENCE", 0)
    # a rate that overshoots: the validation error rises, and the plateau schedule halves the rate
    changes = {"epochs": 6, "schedule": schedule, "learning_rate": 1.0}
    whole, halved = toy_config(tmp_path / "whole", **changes), toy_config(tmp_path / "halved", **changes)
    run_training(toy_task(whole), whole)
    rates = [row["lr"] for row in checkpoint(whole)["history"]]
    dropped = next((epoch for epoch, rate in enumerate(rates) if rate < rates[0]), 3)
    assert schedule != "plateau" or rates[dropped] == 0.5
    run_interrupted(toy_task, halved, after_step(STEPS_PER_EPOCH * dropped + 3))
    run_training(toy_task(halved), halved)
    assert differences(checkpoint(whole), checkpoint(halved)) == []


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_stopping_inside_a_batch_goes_back_to_its_beginning(batch: int, tmp_path: Path) -> None:
    changes = {"batch_size": 2, "grad_accumulation": 3}
    whole, halved = toy_config(tmp_path / "whole", **changes), toy_config(tmp_path / "halved", **changes)
    run_training(toy_task(whole), whole)
    run_interrupted(toy_task, halved, at_forward(6 + batch))
    finished = checkpoint(halved)["step"]
    assert finished == (3 if batch == 3 else 2)
    run_training(toy_task(halved), halved)
    assert differences(checkpoint(whole), checkpoint(halved)) == []


def test_the_comparison_sees_another_random_state(undisturbed: ToyConfig, tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    run_interrupted(toy_task, config, after_step(15))
    path = config.models_dir / "toy_last.pth"
    content = load_checkpoint(path)
    content["rng_state"][0]["torch"] = torch.Generator().manual_seed(7).get_state()
    save_checkpoint(path, content)
    run_training(toy_task(config), config)
    found = differences(checkpoint(undisturbed), checkpoint(config))
    assert "/model_state_dict/layers.0.weight" in found
    assert "/rng_state/0/torch" in found


def test_a_finished_run_is_only_reported_again(undisturbed: ToyConfig) -> None:
    before = files(undisturbed.models_dir)
    run_training(toy_task(undisturbed), undisturbed)
    assert files(undisturbed.models_dir) == before


def test_interrupt_from_the_keyboard_leaves_with_130(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    run_interrupted(toy_task, config, after_step(2, by=signal.SIGINT), status=130)
    assert checkpoint(config)["step"] == 2


def test_the_number_of_workers_changes_nothing(undisturbed: ToyConfig, tmp_path: Path) -> None:
    config = toy_config(tmp_path, num_workers=2)
    run_interrupted(toy_task, config, after_step(13))
    run_training(toy_task(config), config)
    assert differences(checkpoint(undisturbed), checkpoint(config)) == []


def refused(config: ToyConfig, make_task: Callable[[ToyConfig], Task] = toy_task) -> str:
    """The refusal to continue under `config`; no file changes."""
    before = files(config.models_dir)
    with pytest.raises(UserError) as error:
        run_training(make_task(config), config)
    assert files(config.models_dir) == before
    return str(error.value)


def test_another_run_is_refused_and_its_differences_are_named(tmp_path: Path) -> None:
    run_interrupted(toy_task, toy_config(tmp_path), after_step(4))
    assert "seed 42 -> 43" in refused(toy_config(tmp_path, seed=43))
    assert "loss l1 -> mse" in refused(toy_config(tmp_path, loss="mse"))
    assert "epochs 3 -> 4" in refused(toy_config(tmp_path, epochs=4))
    assert "effective_batch 4 -> 8" in refused(toy_config(tmp_path, grad_accumulation=2))


def test_other_data_are_refused(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    run_interrupted(toy_task, config, after_step(4))

    def with_another_tc(config: ToyConfig) -> Task:
        task = toy_task(config)
        task.splits["train"].loc[3, "tc"] += 1e-6
        return task

    def with_other_samples(config: ToyConfig) -> Task:
        task = toy_task(config)
        task.fingerprint = "other"
        return task

    assert "splits_sha256" in refused(config, with_another_tc)
    assert "samples toy -> other" in refused(config, with_other_samples)


def test_force_continues_and_never_starts_afresh(undisturbed: ToyConfig, tmp_path: Path) -> None:
    run_interrupted(toy_task, toy_config(tmp_path), after_step(14))
    forced = toy_config(tmp_path, loss="mse", resume="force")
    run_training(toy_task(forced), forced)
    history = checkpoint(forced)["history"]
    assert history[0] == checkpoint(undisturbed)["history"][0]
    assert history[1] != checkpoint(undisturbed)["history"][1]
    fresh = toy_config(tmp_path, resume="never")
    run_training(toy_task(fresh), fresh)
    assert differences(checkpoint(undisturbed), checkpoint(fresh)) == []


def test_never_makes_the_folder_its_own_at_once(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    run_training(toy_task(config), config)
    run_interrupted(toy_task, toy_config(tmp_path, resume="never"), after_step(2))
    # were the old run's checkpoint still there, its continuation would be at the end already
    assert (checkpoint(config)["epoch"], checkpoint(config)["step"]) == (0, 2)


def test_a_forced_run_that_crashed_at_once_goes_on_without_force(tmp_path: Path) -> None:
    run_interrupted(toy_task, toy_config(tmp_path), after_step(14))
    forced = toy_config(tmp_path, loss="mse", resume="force")
    task = toy_task(forced)
    task.model.register_forward_hook(lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        run_training(task, forced)
    plain = toy_config(tmp_path, loss="mse")
    run_training(toy_task(plain), plain)
    assert [row["epoch"] for row in checkpoint(plain)["history"]] == [1, 2, 3]


def test_a_checkpoint_elsewhere_is_continued_with_its_best(undisturbed: ToyConfig, tmp_path: Path) -> None:
    there, here = toy_config(tmp_path / "there"), tmp_path / "here"
    run_interrupted(toy_task, there, after_step(24))
    config = toy_config(here, resume=str(there.models_dir / "toy_last.pth"))
    run_training(toy_task(config), config)
    for kind in ("last", "best"):
        assert differences(checkpoint(undisturbed, kind), checkpoint(config, kind)) == []


def test_halved_batches_and_doubled_accumulation_end_alike(tmp_path: Path) -> None:
    whole, halved = toy_config(tmp_path / "whole", dropout=0.0), toy_config(tmp_path / "halved", dropout=0.0)
    run_training(toy_task(whole), whole)
    run_interrupted(toy_task, halved, after_step(7))
    smaller = toy_config(tmp_path / "halved", batch_size=2, grad_accumulation=2, dropout=0.0)
    run_training(toy_task(smaller), smaller)
    ours, theirs = checkpoint(smaller)["model_state_dict"], checkpoint(whole)["model_state_dict"]
    worst = max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
    assert worst < 1e-5

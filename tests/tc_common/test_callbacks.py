"""Callbacks: TensorBoard, the status file, the console."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from tc_common import callbacks as callbacks
from tc_common.callbacks import Callback, ConsoleCallback, HeartbeatCallback, Step, TensorBoardCallback
from tc_common.cli import log, set_up_log
from tc_common.errors import UserError
from tc_common.lock import lock_folder, read_status
from tc_common.runs import run_training
from tests.tc_common.runs import after_step, checkpoint, run_interrupted
from tests.tc_common.toy import ToyConfig, toy_config, toy_task


def scalars(config: ToyConfig, name: str) -> dict[int, float]:
    """Values of a TensorBoard scalar by optimiser step."""
    events = EventAccumulator(str(config.results_dir / "tensorboard" / "toy"))
    events.Reload()
    found = events.Scalars(name)
    assert len({event.step for event in found}) == len(found), "a step is there twice"
    return {event.step: event.value for event in found}


def test_tensorboard_shows_one_curve_though_the_run_was_resumed(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    run_interrupted(toy_task, config, after_step(14))
    run_training(toy_task(config), config)
    assert sorted(scalars(config, "train/loss_this_epoch")) == list(range(1, 31))
    history = checkpoint(config)["history"]
    for name in ("train_loss", "val_loss", "val_mae_K"):
        expected = {10 * row["epoch"]: pytest.approx(row[name], rel=1e-6) for row in history}
        assert scalars(config, f"epoch/{name}") == expected
    assert scalars(config, "train/learning_rate")[30] < scalars(config, "train/learning_rate")[1]


def test_a_fresh_start_hides_the_old_curve(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    run_training(toy_task(config), config)
    fresh = toy_config(tmp_path, resume="never", epochs=1)
    run_training(toy_task(fresh), fresh)
    assert sorted(scalars(config, "epoch/val_mae_K")) == [10]


def test_a_disk_that_is_full_is_one_line(tmp_path: Path) -> None:
    shown = TensorBoardCallback(tmp_path / "t", steps_done=0)
    shown.stream.close()
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(UserError, match="cannot write .*/t: No space left on device"),
    ):
        shown.records = RecordWriter(full)
        shown.end_epoch({"train_loss": 1.0, "val_loss": 1.0, "val_mae_K": 1.0}, best_val_mae_K=1.0)
    with pytest.raises(UserError, match="cannot write /proc/t"):
        TensorBoardCallback(Path("/proc/t"), steps_done=0)
    with suppress(OSError):  # what it could not write is still in its buffer
        shown.stream.close()


def step(number: int, **changes: Any) -> Step:
    facts = {"epoch": 1, "step": number, "steps": 10, "total": number, "loss": 0.5, "gradient_norm": 1.0}
    return Step(**{**facts, "learning_rate": 0.1, "samples": 4, "seconds": 0.25, **changes})


def test_the_status_holds_the_last_step_and_the_mean_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "SECONDS_BETWEEN_HEARTBEATS", 0.0)
    with lock_folder(tmp_path) as held:
        heartbeat = HeartbeatCallback(held, {"epochs": 7})
        heartbeat.take_step(step(1))
        monkeypatch.setattr(callbacks, "SECONDS_BETWEEN_HEARTBEATS", 1e9)
        heartbeat.take_step(step(2, seconds=0.5))
        assert read_status(tmp_path)["total"] == 1
        monkeypatch.setattr(callbacks, "SECONDS_BETWEEN_HEARTBEATS", 0.0)
        heartbeat.take_step(step(3, seconds=1.0))
        status = read_status(tmp_path)
    assert (status["epoch"], status["epochs"], status["step"], status["steps"], status["total"]) == (1, 7, 3, 10, 3)
    assert status["seconds_per_step"] == 0.75
    assert {"pid", "host", "start", "time", "phase"} <= set(status)


def test_the_status_says_when_it_validates(tmp_path: Path) -> None:
    with lock_folder(tmp_path) as held:
        heartbeat = HeartbeatCallback(held, {"epochs": 7})
        heartbeat.begin_validation()
        assert read_status(tmp_path)["phase"] == "validation"
        heartbeat.end_epoch({"val_mae_K": 3.0}, best_val_mae_K=2.0)
        assert read_status(tmp_path)["best_val_mae_K"] == 2.0


def test_elsewhere_than_on_a_terminal_lines_are_plain_and_few(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_log(None)
    console: Callback = ConsoleCallback(epochs=2)
    console.begin_epoch(1, 0, 10)
    console.take_step(step(1))
    monkeypatch.setattr(callbacks, "SECONDS_BETWEEN_LINES", 0.0)
    console.take_step(step(2))
    console.end_epoch({"epoch": 1, "train_loss": 0.5, "val_loss": 0.25, "val_mae_K": 3.0}, best_val_mae_K=2.0)
    log.handlers.clear()
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "epoch 1/2  step 2/10  train loss 0.5000"
    assert said[1].startswith("epoch 1/2  train loss 0.5000  val loss 0.2500  val MAE 3.000 K  best 2.000 K")
    assert len(said) == 2

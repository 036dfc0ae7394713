"""More or fewer epochs than a run began with: the schedule is rebuilt for the new length, and the run says so."""

import logging
from pathlib import Path
from typing import Any

import pytest

from tc_common.cli import log
from tc_common.errors import UserError
from tc_common.runs import run_training
from tests.tc_common.runs import after_step, checkpoint, run_interrupted
from tests.tc_common.toy import ToyConfig, toy_config, toy_task


def rates(config: ToyConfig) -> list[float]:
    """Learning rate at the end of every epoch."""
    return [row["lr"] for row in checkpoint(config)["history"]]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_a_finished_run_goes_on_along_the_schedule_of_the_new_length(
    schedule: Any, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    changes = {"schedule": schedule, "patience": 99}
    finished, longer = toy_config(tmp_path, **changes), toy_config(tmp_path, epochs=6, resume="force", **changes)
    whole = toy_config(tmp_path / "whole", epochs=6, **changes)
    run_training(toy_task(finished), finished)
    before = rates(finished)
    run_training(toy_task(longer), longer)
    run_training(toy_task(whole), whole)
    assert rates(longer)[:3] == before
    assert rates(longer)[3:] == pytest.approx(rates(whole)[3:], rel=1e-9, abs=1e-12)
    assert sorted(rates(longer)[3:], reverse=True) == rates(longer)[3:], "it never climbs again"
    assert f"the {schedule} schedule is rebuilt for 6 epochs" in said.text


@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_a_prolonged_run_that_is_stopped_goes_on_without_force(schedule: Any, tmp_path: Path) -> None:
    changes = {"schedule": schedule, "patience": 99}
    finished, longer = toy_config(tmp_path, **changes), toy_config(tmp_path, epochs=6, resume="force", **changes)
    run_training(toy_task(finished), finished)
    run_interrupted(toy_task, longer, after_step(14))
    again = toy_config(tmp_path, epochs=6, **changes)
    run_training(toy_task(again), again)
    whole = toy_config(tmp_path / "whole", epochs=6, **changes)
    run_training(toy_task(whole), whole)
    assert rates(again)[3:] == pytest.approx(rates(whole)[3:], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("schedule", ["plateau", "constant"])
def test_schedules_without_an_end_go_on_without_force(
    schedule: Any, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    changes = {"schedule": schedule, "patience": 99}
    finished, longer = toy_config(tmp_path, **changes), toy_config(tmp_path, epochs=5, **changes)
    run_training(toy_task(finished), finished)
    run_training(toy_task(longer), longer)
    assert rates(longer) == [0.02] * 5 and "rebuilt" not in said.text


@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_fewer_epochs_than_were_trained_end_at_once(schedule: Any, tmp_path: Path) -> None:
    finished = toy_config(tmp_path, schedule=schedule)
    run_training(toy_task(finished), finished)
    before = rates(finished)
    shorter = toy_config(tmp_path, schedule=schedule, epochs=2, resume="force")
    run_training(toy_task(shorter), shorter)
    assert rates(shorter) == before


def test_another_kind_of_schedule_is_refused(tmp_path: Path) -> None:
    run_interrupted(toy_task, toy_config(tmp_path), after_step(4))
    other = toy_config(tmp_path, schedule="onecycle", resume="force")
    with pytest.raises(UserError, match=r"toy_last\.pth cannot be continued by this run: .* lacks max_lr"):
        run_training(toy_task(other), other)

"""Learning rates over a run."""

import math
from typing import Any

import pytest
import torch

from tc_common.task import PLATEAU_PATIENCE, Schedule, ScheduleKind


def rates(kind: ScheduleKind, epochs: int, maes_K: list[float] | None = None) -> list[float]:
    """Learning rate of every step, ten steps an epoch."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule, seen = Schedule(kind, optimizer, 10 * epochs), []
    for epoch in range(epochs):
        for _ in range(10):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.after_step()
        schedule.after_epoch(maes_K[epoch] if maes_K else 1.0)
    return seen


def test_cosine_falls_from_one_to_nothing() -> None:
    expected = [(1 + math.cos(math.pi * step / 30)) / 2 for step in range(30)]
    assert rates("cosine", 3) == pytest.approx(expected)


def test_one_cycle_rises_then_falls() -> None:
    seen = rates("onecycle", 3)
    assert seen[0] == pytest.approx(1 / 25)
    top = seen.index(max(seen))
    assert max(seen) == pytest.approx(1.0, rel=0.01) and top == pytest.approx(9, abs=1)
    assert seen[: top + 1] == sorted(seen[: top + 1]) and seen[top:] == sorted(seen[top:], reverse=True)


def test_plateau_halves_after_its_patience() -> None:
    stalled = PLATEAU_PATIENCE + 1
    seen = rates("plateau", 3 + stalled, maes_K=[5.0, 4.0, *[4.5] * stalled, 3.0])
    assert seen[::10] == [1.0] * (2 + stalled) + [0.5]


def test_constant_is_constant() -> None:
    assert set(rates("constant", 2)) == {1.0}


@pytest.mark.parametrize("kind", ["cosine", "onecycle", "plateau", "constant"])
def test_a_schedule_goes_on_where_it_was_saved(kind: Any) -> None:
    def drive(schedule: Schedule, optimizer: torch.optim.Optimizer, epochs: range) -> list[float]:
        seen = []
        for epoch in epochs:
            optimizer.step()
            schedule.after_step()
            schedule.after_epoch(3.0 + epoch)
            seen.append(optimizer.param_groups[0]["lr"])
        return seen

    def fresh() -> tuple[Schedule, torch.optim.Optimizer]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        return Schedule(kind, optimizer, 20), optimizer

    whole = drive(*fresh(), range(20))
    first, second = fresh(), fresh()
    half = drive(*first, range(9))
    second[1].load_state_dict(first[1].state_dict())
    second[0].load_state_dict(first[0].state_dict())
    assert half + drive(*second, range(9, 20)) == whole

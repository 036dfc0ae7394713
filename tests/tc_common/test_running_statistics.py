"""Running statistics of batch normalisation: what several processes join is what one process has."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tc_common.devices import Placement
from tc_common.running_statistics import RunningStatistics


@dataclass(frozen=True)
class Together(Placement):
    """One of several processes that are played one after the other; all of them write to one list."""

    sent: list[Tensor] = field(default_factory=list)

    def gather_vectors(self, vector: Tensor) -> list[Tensor]:
        if len(self.sent) < self.world:
            self.sent.append(vector)
        return self.sent


def layers() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.3))


def batches(number: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(number)
    return [torch.randn(5, 3, generator=generator) * (1 + k) + k for k in range(number)]


def played(parts: list[list[Tensor]], counted: list[bool], frozen: bool = False) -> list[Any]:
    """The model of each process after a step in which it took its part; first all send, then all receive."""
    sent: list[Tensor] = []
    models, steps = [], []
    for rank, part in enumerate(parts):
        model = layers().train()
        model[2].train(not frozen)
        statistics = RunningStatistics(model, Together(torch.device("cpu"), False, rank, len(parts), sent))
        statistics.begin_step()
        for batch in part:
            model(batch)
        models.append(model)
        steps.append(statistics)
        number = torch.tensor([float(len(part) if counted[rank] else 0)])
        sent.append(torch.cat([*statistics._values(), number]))
    for rank, statistics in enumerate(steps):
        statistics.join(len(parts[rank]), counted[rank])
    return models


@pytest.mark.parametrize("cut", [(1, 1), (2, 3), (1, 2, 4)])
def test_joined_statistics_are_those_of_one_process(cut: tuple[int, ...]) -> None:
    every = batches(sum(cut))
    one = layers().train()
    for batch in every:
        one(batch)
    starts = [sum(cut[:k]) for k in range(len(cut))]
    parts = [every[start : start + number] for start, number in zip(starts, cut, strict=True)]
    for model in played(parts, [True] * len(cut)):
        for name, value in one.named_buffers():
            assert torch.allclose(dict(model.named_buffers())[name], value, atol=1e-5), name
    assert not torch.allclose(one[0].running_mean, batches(1)[0].mean(0) * 0.1, atol=0.1), "nothing to tell apart"


def test_what_a_process_takes_to_keep_in_step_does_not_count() -> None:
    first, stray = batches(2)
    one = layers().train()
    one(first)
    for model in played([[first], [stray]], [True, False]):
        for name, value in one.named_buffers():
            assert torch.allclose(dict(model.named_buffers())[name], value, atol=1e-6), name


def test_frozen_layers_keep_their_statistics() -> None:
    first, second = batches(2)
    for model in played([[first], [second]], [True, True], frozen=True):
        assert torch.equal(model[2].running_mean, torch.zeros(4)) and int(model[2].num_batches_tracked) == 0
        assert int(model[0].num_batches_tracked) == 2

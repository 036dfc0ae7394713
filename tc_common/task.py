"""What one pipeline brings to the training loop.

Legend: B samples in a batch.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd
from torch import nn
from torch.optim import Optimizer

from tc_common.schedules import ScheduleKind

Batch: TypeAlias = dict[str, Any]


class MaterialDataset(Protocol):
    """Samples of materials; any randomness of sample i comes from (seed, epoch, i) alone."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...

    def set_epoch(self, epoch: int) -> None: ...


@dataclass(kw_only=True)
class Task:
    """All that one pipeline brings to the loop."""

    name: str
    """Model name in `results/<name>_*.csv`."""
    stem: str
    """Checkpoints are `models/<stem>_last.pth` and `models/<stem>_best.pth`."""
    model: nn.Module
    """Maps a batch to kelvin (B,) and holds its `target` transform."""
    optimizer: Optimizer
    datasets: Mapping[str, MaterialDataset]
    """`train`, `val`, `test`."""
    splits: dict[str, pd.DataFrame]
    """The rows behind the datasets (`tc_common.splits`)."""
    collate: Callable[[list[Any]], Batch]
    schedule: ScheduleKind
    init: str
    """Origin of the weights: `pretrained:…`, `file:…` or `random`."""
    fingerprint: str
    """Identifies what the samples were made with (render options, graph options)."""
    groups: Callable[[int], list[list[int]]]
    """Training indices of every optimiser step of an epoch, a pure function of the epoch."""
    micro_batches: Callable[[MaterialDataset, Sequence[int]], list[list[int]]]
    """Cuts indices into pieces that fit the memory."""
    frozen: Collection[str] = ()
    """Names in `model.state_dict()` that never change and that `init` brings back: checkpoints hold their sha256
    instead of them. Leave it empty where the weights cannot be had again (`--init random`)."""
    before_epoch: Callable[[int], None] = lambda epoch: None
    """Called with the number (from 0) of an epoch that begins or is resumed, for unfreezing and the like."""


def shuffled_groups(samples: int, size: int, seed: int) -> Callable[[int], list[list[int]]]:
    """Groups of `size` in an order that depends on (seed, epoch) only; the last one may be smaller."""

    def groups(epoch: int) -> list[list[int]]:
        order = np.random.default_rng((seed, epoch)).permutation(samples)
        return [order[start : start + size].tolist() for start in range(0, samples, size)]

    return groups


def chunked(size: int) -> Callable[[MaterialDataset, Sequence[int]], list[list[int]]]:
    """Micro-batches of at most `size` samples."""
    return lambda dataset, indices: [list(indices[at : at + size]) for at in range(0, len(indices), size)]

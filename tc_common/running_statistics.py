"""Batch normalisation in a training by several processes, as one process would have it.

A process normalises each micro-batch by its own mean and variance, so several processes must take the very
micro-batches that one would take (`Trainer._share`). The running statistics that validation reads are then joined
after each step: one process updates r to (1 - m) r + m s with the statistics s of one micro-batch after the other, m
being the momentum; here process k starts from the same r, takes n of them and ends at r_k, and what it added,
r_k - (1 - m)^n r, enters the same recurrence in the order of the ranks.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tc_common.devices import Placement


class RunningStatistics:
    """Those of all batch normalisations of a model, on one process of several."""

    def __init__(self, model: nn.Module, placement: Placement) -> None:
        layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
        self.layers = [layer for layer in layers if layer.track_running_stats]
        self.placement = placement

    @torch.no_grad()
    def begin_step(self) -> None:
        """Remember what every process has before it takes its micro-batches."""
        if self.placement.world > 1 and self.layers:
            self.before = torch.cat(self._values())

    @torch.no_grad()
    def join(self, taken: int, counted: bool) -> None:
        """Give every process what one would have after the micro-batches of all; this one took so many.

        Args:
            counted: whether they are part of the batch (a process without a part takes one to keep in step).
        """
        if self.placement.world == 1 or not self.layers:
            return
        number = self.before.new_tensor([taken if counted else 0])
        kept, joined, total = 1 - self._momenta(), self.before, 0
        for vector in self.placement.gather_vectors(torch.cat([*self._values(), number])):
            decay, total = kept ** vector[-1], total + int(vector[-1])
            joined = decay * joined + vector[:-1] - decay * self.before if vector[-1] else joined
        for values, new in zip(self._values(), joined.split([len(values) for values in self._values()]), strict=True):
            values.copy_(new)
        for layer in self._learning():
            assert layer.num_batches_tracked is not None
            layer.num_batches_tracked += total - taken

    def _learning(self) -> list[_BatchNorm]:
        """Layers that normalise by the batch; frozen ones keep their statistics."""
        return [layer for layer in self.layers if layer.training]

    def _values(self) -> list[Tensor]:
        found = [buffer for layer in self._learning() for buffer in (layer.running_mean, layer.running_var)]
        return [buffer for buffer in found if buffer is not None]

    def _momenta(self) -> Tensor:
        """The momentum of each value."""
        momenta = [layer.momentum for layer in self._learning() for _ in range(2 * layer.num_features)]
        assert None not in momenta, "a cumulative average has no momentum"
        return self.before.new_tensor(momenta)

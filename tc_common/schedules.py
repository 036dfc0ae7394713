"""Learning-rate schedules behind one small face: some move every step, one looks at the validation error."""

from typing import Any, Literal, TypeAlias

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

ScheduleKind: TypeAlias = Literal["cosine", "plateau", "onecycle", "constant"]


class Schedule:
    """A torch scheduler that knows when to move.

    Args:
        steps: optimiser steps of the whole training (cosine and one-cycle end there).
        plateau_patience: epochs without a better validation MAE before the rates are halved.
    """

    def __init__(self, kind: ScheduleKind, optimizer: Optimizer, steps: int, plateau_patience: int = 5) -> None:
        self.scheduler: Any
        if kind == "cosine":
            self.scheduler = CosineAnnealingLR(optimizer, T_max=steps)
        elif kind == "onecycle":
            # torch counts the construction as the first of its steps
            rates = [group["lr"] for group in optimizer.param_groups]
            self.scheduler = OneCycleLR(optimizer, max_lr=rates, total_steps=steps + 1)
        elif kind == "plateau":
            self.scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=plateau_patience)
        else:
            self.scheduler = ConstantLR(optimizer, factor=1.0)

    def after_step(self) -> None:
        """Move the schedules that follow the optimiser step by step."""
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()

    def after_epoch(self, val_mae_K: float) -> None:
        """Move the schedule that follows the validation MAE (K)."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(val_mae_K)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers only."""
        return self.scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.scheduler.load_state_dict(state)

"""The books of a training."""

import math
from dataclasses import dataclass, field


@dataclass
class Progress:
    """How far a training has come; a checkpoint stores it, a resumed run starts from it."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Optimiser steps done in the epoch that runs now."""
    total_steps: int = 0
    """Optimiser steps since the training began."""
    loss_sum: float = 0.0
    """Sum over this epoch's steps of their loss."""
    val_loss: float = math.inf
    val_mae: float = math.inf
    """Kelvin."""
    best_val_loss: float = math.inf
    best_val_mae: float = math.inf
    """Kelvin."""
    patience_counter: int = 0
    """Epochs since the validation MAE was best."""
    train_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def take_step(self, loss: float, seconds: float) -> None:
        """Book an optimiser step."""
        self.loss_sum += loss
        self.train_seconds += seconds
        self.step, self.total_steps = self.step + 1, self.total_steps + 1

    def end_epoch(self, val_loss: float, val_mae_K: float, learning_rate: float) -> bool:
        """Book an epoch; returns whether its validation MAE is the best so far."""
        improved = val_mae_K < self.best_val_mae
        self.val_loss, self.val_mae = val_loss, val_mae_K
        self.best_val_loss = min(val_loss, self.best_val_loss)
        self.best_val_mae = min(val_mae_K, self.best_val_mae)
        self.patience_counter = 0 if improved else self.patience_counter + 1
        means = {"train_loss": self.loss_sum / self.step, "val_loss": val_loss, "val_mae_K": val_mae_K}
        self.history.append({"epoch": self.epoch + 1, **means, "lr": learning_rate})
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0
        return improved

"""Who is told how a training goes: the terminal, TensorBoard, and a note for whoever watches from outside."""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from tc_common.lock import Owner
from tc_common.logs import log

SECONDS_BETWEEN_LINES = 60.0
SECONDS_BETWEEN_NOTES = 2.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimiser step that was taken."""

    epoch: int
    """From 1."""
    step: int
    """From 1, in this epoch."""
    steps: int
    """Steps of this epoch."""
    total: int
    """Steps since the training began."""
    loss: float
    """Mean loss of this epoch's steps so far."""
    gradient_norm: float
    """Before clipping."""
    learning_rate: float
    """Of the last parameter group (the head)."""
    samples: int
    seconds: float


class Listener:
    """Is told what happens; does nothing with it."""

    def begin_epoch(self, epoch: int, step: int, steps: int) -> None:
        """Epoch `epoch` (from 1) begins, or goes on after `step` of its `steps`."""

    def take_step(self, step: Step) -> None:
        """An optimiser step was taken."""

    def begin_validation(self) -> None:
        """The epoch's steps are done."""

    def end_epoch(self, row: dict[str, float], best_val_mae_K: float) -> None:
        """An epoch was validated; `row` is its line of the history."""

    def close(self) -> None:
        """Nothing more will come."""


class Console(Listener):
    """A bar on a terminal, a line now and then elsewhere, and a line per epoch on both."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.started = self.told_at = time.monotonic()
        self.bar: tqdm[Any] | None = None

    def begin_epoch(self, epoch: int, step: int, steps: int) -> None:
        title = f"epoch {epoch}/{self.epochs}"
        self.bar = tqdm(desc=title, total=steps, initial=step, leave=False, disable=None)

    def take_step(self, step: Step) -> None:
        assert self.bar is not None
        self.bar.set_postfix(loss=f"{step.loss:.4f}", refresh=False)
        self.bar.update()
        if self.bar.disable and time.monotonic() - self.told_at > SECONDS_BETWEEN_LINES:
            self.told_at = time.monotonic()
            log.info(f"epoch {step.epoch}/{self.epochs}  step {step.step}/{step.steps}  train loss {step.loss:.4f}")

    def end_epoch(self, row: dict[str, float], best_val_mae_K: float) -> None:
        self.close()
        losses = f"train loss {row['train_loss']:.4f}  val loss {row['val_loss']:.4f}"
        errors = f"val MAE {row['val_mae_K']:.3f} K  best {best_val_mae_K:.3f} K"
        log.info(f"epoch {row['epoch']}/{self.epochs}  {losses}  {errors}  {time.monotonic() - self.started:.0f} s")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class Scalars(Listener):
    """TensorBoard scalars: losses, errors (K), learning rate and gradient norm over optimiser steps.

    Args:
        steps_done: by a run that is resumed; TensorBoard drops what it wrote beyond its checkpoint before.
    """

    def __init__(self, folder: Path, steps_done: int) -> None:
        self.writer = SummaryWriter(str(folder), purge_step=steps_done + 1)
        self.total = steps_done

    def take_step(self, step: Step) -> None:
        self.total = step.total
        self._add("train/loss_this_epoch", step.loss)
        self._add("train/gradient_norm", step.gradient_norm)
        self._add("train/learning_rate", step.learning_rate)
        self._add("train/samples_per_second", step.samples / max(step.seconds, 1e-9))

    def end_epoch(self, row: dict[str, float], best_val_mae_K: float) -> None:
        for name in ("train_loss", "val_loss", "val_mae_K"):
            self._add(f"epoch/{name}", row[name])
        self._add("epoch/best_val_mae_K", best_val_mae_K)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()

    def _add(self, name: str, value: float) -> None:
        self.writer.add_scalar(name, value, self.total)


class Heartbeat(Listener):
    """Renews the owner's note every other second with the last step: `python monitor_and_optimize.py` reads it.

    Args:
        facts: what the note says besides.
    """

    def __init__(self, owner: Owner, facts: dict[str, Any]) -> None:
        self.owner, self.facts = owner, dict(facts)
        self.told_at = -math.inf
        self.steps, self.seconds = 0, 0.0

    def take_step(self, step: Step) -> None:
        self.steps, self.seconds = self.steps + 1, self.seconds + step.seconds
        self.facts |= asdict(step)
        if time.monotonic() - self.told_at > SECONDS_BETWEEN_NOTES:
            self._tell(phase="training", seconds_per_step=self.seconds / self.steps)
            self.steps, self.seconds = 0, 0.0

    def begin_validation(self) -> None:
        self._tell(phase="validation")

    def end_epoch(self, row: dict[str, float], best_val_mae_K: float) -> None:
        self._tell(phase="training", val_mae_K=row["val_mae_K"], best_val_mae_K=best_val_mae_K)

    def _tell(self, **facts: Any) -> None:
        self.told_at = time.monotonic()
        self.facts |= facts
        self.owner.tell(time=time.time(), **self.facts)

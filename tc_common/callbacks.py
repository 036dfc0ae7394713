"""Training callbacks: console, TensorBoard, and a heartbeat in the status file for the monitor."""

import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tc_common.cli import log
from tc_common.errors import UserError
from tc_common.lock import FolderLock

SECONDS_BETWEEN_LINES = 60.0
SECONDS_BETWEEN_HEARTBEATS = 2.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """A finished optimiser step."""

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


class Callback:
    """Base class: methods that the loop calls, which do nothing."""

    def begin_epoch(self, epoch: int, step: int, steps: int) -> None:
        """Epoch `epoch` (from 1) begins, or is resumed after `step` of its `steps`."""

    def take_step(self, step: Step) -> None:
        """An optimiser step is finished."""

    def begin_validation(self) -> None:
        """The epoch's steps are finished; validation begins."""

    def end_epoch(self, row: dict[str, float], best_val_mae_K: float) -> None:
        """An epoch is validated; `row` is its row of the history."""

    def close(self) -> None:
        """The run ends."""


class ConsoleCallback(Callback):
    """A progress bar on a terminal, a line every minute elsewhere, and a line per epoch on both."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.started = self.printed_at = time.monotonic()
        self.bar: tqdm[Any] | None = None

    def begin_epoch(self, epoch: int, step: int, steps: int) -> None:
        title = f"epoch {epoch}/{self.epochs}"
        self.bar = tqdm(desc=title, total=steps, initial=step, leave=False, disable=None)

    def take_step(self, step: Step) -> None:
        assert self.bar is not None
        self.bar.set_postfix(loss=f"{step.loss:.4f}", refresh=False)
        self.bar.update()
        if self.bar.disable and time.monotonic() - self.printed_at > SECONDS_BETWEEN_LINES:
            self.printed_at = time.monotonic()
            log.info(f"epoch {step.epoch}/{self.epochs}  step {step.step}/{step.steps}  train loss {step.loss:.4f}")

    def end_epoch(self, row: dict[str, float], best_val_mae_K: float) -> None:
        self.close()
        losses = f"train loss {row['train_loss']:.4f}  val loss {row['val_loss']:.4f}"
        errors = f"val MAE {row['val_mae_K']:.3f} K  best {best_val_mae_K:.3f} K"
        counted = f"  {row['unaugmented']:.0f} samples not augmented" if row.get("unaugmented") else ""
        seconds = time.monotonic() - self.started
        log.info(f"epoch {row['epoch']}/{self.epochs}  {losses}  {errors}  {seconds:.0f} s{counted}")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class TensorBoardCallback(Callback):
    """TensorBoard scalars: losses, errors (K), learning rate and gradient norm over optimiser steps.

    torch's SummaryWriter is not used: its thread does not go with forked loaders, and hides a full disk.

    Args:
        steps_done: optimiser steps of a resumed run; TensorBoard drops what was written beyond them.

    Raises:
        UserError: the folder cannot be written, or the disk is full (so does every method).
    """

    def __init__(self, folder: Path, steps_done: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # of the extra `study`
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.folder, self.total = folder, steps_done
        name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        with self._named_errors():
            folder.mkdir(parents=True, exist_ok=True)
            self.stream = (folder / name).open("wb")
        self.records = RecordWriter(self.stream)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=steps_done + 1, session_log=SessionLog(status=SessionLog.START)))

    def take_step(self, step: Step) -> None:
        self.total = step.total
        self._add(
            {
                "train/loss_this_epoch": step.loss,
                "train/gradient_norm": step.gradient_norm,
                "train/learning_rate": step.learning_rate,
                "train/samples_per_second": step.samples / max(step.seconds, 1e-9),
            }
        )

    def end_epoch(self, row: dict[str, float], best_val_mae_K: float) -> None:
        shown = {f"epoch/{name}": row[name] for name in ("train_loss", "val_loss", "val_mae_K")}
        self._add({**shown, "epoch/best_val_mae_K": best_val_mae_K})
        with self._named_errors():
            self.stream.flush()

    def close(self) -> None:
        with self._named_errors():
            self.stream.close()

    def _add(self, values: dict[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._write(Event(step=self.total, wall_time=time.time(), summary=summary))

    def _write(self, event: Any) -> None:
        with self._named_errors():
            self.records.write(event.SerializeToString())

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot write {self.folder}: {error.strerror}; free space or pick another --results-dir"
            ) from error


class HeartbeatCallback(Callback):
    """Writes the last step to the lock's status file every other second: `python monitor_and_optimize.py` reads it.

    Args:
        metadata: further entries of the status.
    """

    def __init__(self, lock: FolderLock, metadata: dict[str, Any]) -> None:
        self.lock, self.status = lock, dict(metadata)
        self.written_at = -math.inf
        self.steps, self.seconds = 0, 0.0

    def take_step(self, step: Step) -> None:
        self.steps, self.seconds = self.steps + 1, self.seconds + step.seconds
        self.status |= asdict(step)
        if time.monotonic() - self.written_at > SECONDS_BETWEEN_HEARTBEATS:
            self._write(phase="training", seconds_per_step=self.seconds / self.steps)
            self.steps, self.seconds = 0, 0.0

    def begin_validation(self) -> None:
        self._write(phase="validation")

    def end_epoch(self, row: dict[str, float], best_val_mae_K: float) -> None:
        self._write(phase="training", val_mae_K=row["val_mae_K"], best_val_mae_K=best_val_mae_K)

    def _write(self, **metadata: Any) -> None:
        self.written_at = time.monotonic()
        self.status |= metadata
        self.lock.write_status(time=time.time(), **self.status)

"""The one training loop: a model maps a batch to kelvins, a batch carries `tc` and `material_id`.

An epoch is a list of groups; one group is one optimiser step, cut into micro-batches that fit the memory. Because
a group, not a micro-batch, is the unit, halving `--batch-size` and doubling `--grad-accumulation` changes nothing but
the memory, and a checkpoint's position (epoch, step) means the same in both. Several processes share every group.

Legend: B samples in a batch.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from tc_common.callbacks import Callback, Step
from tc_common.checkpoints import frozen_identity, load_weights, random_state, restore_random_state, seed_everything
from tc_common.config import TrainConfig
from tc_common.devices import Placement, to_device
from tc_common.errors import UserError, is_out_of_memory
from tc_common.inference import predict_materials
from tc_common.logs import log
from tc_common.schedules import Schedule
from tc_common.signals import Stopped, StopRequest, ignore_signals_in_worker
from tc_common.targets import TargetTransform
from tc_common.task import Batch, Task

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": nn.functional.mse_loss,
    "l1": nn.functional.l1_loss,
    "huber": nn.functional.huber_loss,
}


class TrainingError(UserError):
    """The run cannot go on: a number is no longer finite, or the memory is exhausted."""


@dataclass(frozen=True)
class LocalShare:
    """What one process computes of a group: its micro-batches, and what each of its samples weighs."""

    pieces: list[list[int]]
    weight: float


class Trainer:
    """Runs the epochs of one task on one device (or on one process of several)."""

    def __init__(self, task: Task, config: TrainConfig, placement: Placement, wish: StopRequest) -> None:
        self.task, self.config, self.placement, self.wish = task, config, placement, wish
        self.model = task.model.to(placement.device)
        self.target = cast(TargetTransform, task.model.target)
        self.forward: nn.Module = self.model
        self.criterion = LOSSES[config.loss]
        self.progress = Progress()
        self.callbacks: list[Callback] = []
        self.frozen = frozen_identity(self.model, task.frozen)
        self.saved_at = time.monotonic()
        steps = sum(len(task.groups(epoch)) for epoch in range(config.epochs))
        self.schedule = Schedule(task.schedule, task.optimizer, steps, config.plateau_patience)
        seed_everything(config.seed + placement.rank)

    def fit(self, save: Callable[[str], None]) -> None:
        """Train until the last epoch, or until the validation MAE has not improved for `patience` epochs.

        Args:
            save: called by every process with "best" when the validation MAE improved, with "last" whenever progress
                is worth keeping; "best" goes first, so that a kill in between loses neither.

        Raises:
            TrainingError: a loss, gradient or parameter is not finite, or the memory is exhausted; nothing is saved
                after it.
            Stopped: SIGINT or SIGTERM came (130, 143); everything is saved.
        """
        try:
            while self.progress.epoch < self.config.epochs and self.progress.patience_counter < self.config.patience:
                self._train_epoch(save)
                self._validate(save)
        except Stopped:
            save("last")
            log.error(f"stopped by signal {self.wish.number}; the same command goes on from here")
            raise
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"epoch {self.progress.epoch + 1}, step {self.progress.step + 1}: out of memory; halve --batch-size "
                f"({self.config.batch_size}) and double --grad-accumulation ({self.config.grad_accumulation}), which "
                "leaves the optimiser's steps as they are, and start again: the run goes on from its last checkpoint"
            ) from error

    def _train_epoch(self, save: Callable[[str], None]) -> None:
        progress, dataset = self.progress, self.task.datasets["train"]
        self.task.before_epoch(progress.epoch)
        self.forward = self._across_processes()
        dataset.set_epoch(progress.epoch)
        self.model.train()
        shares = [self._share(group) for group in self.task.groups(progress.epoch)]
        to_do = shares[progress.step :]
        for callback in self.callbacks:
            callback.begin_epoch(progress.epoch + 1, progress.step, len(shares))
        pieces = [piece for share in to_do for piece in share.pieces]
        with closing(self._load("train", pieces)) as batches:
            for share in to_do:
                self._step(share, batches, len(shares))
                self._check_stop(save)

    def _across_processes(self) -> nn.Module:
        """The model, wrapped anew every epoch (what is trainable may change from one to the next)."""
        if self.placement.world == 1:
            return self.model
        return DistributedDataParallel(self.model)

    def _share(self, group: list[int]) -> LocalShare:
        """This process's part of a group; one that gets no sample takes the first, at weight 0, to keep in step."""
        mine = group[self.placement.rank :: self.placement.world]
        # the processes' gradients are averaged, so each carries `world` times its part of the mean over the group
        weight = self.placement.world / len(group) if mine else 0.0
        return LocalShare(self.task.micro_batches(self.task.datasets["train"], mine or group[:1]), weight)

    def _step(self, share: LocalShare, batches: Iterator[Batch], steps: int) -> None:
        """One optimiser step, and its entry in the books."""
        started, progress = time.monotonic(), self.progress
        loss, ids = self._accumulate(share, batches)
        norm = self._update(ids)
        seconds = time.monotonic() - started
        progress.take_step(sum(self.placement.gather(loss)) / self.placement.world, seconds)
        step = Step(
            epoch=progress.epoch + 1,
            step=progress.step,
            steps=steps,
            total=progress.total_steps,
            loss=progress.loss_sum / progress.step,
            gradient_norm=norm,
            learning_rate=self._learning_rate(),
            samples=sum(map(len, share.pieces)),
            seconds=seconds,
        )
        for callback in self.callbacks:
            callback.take_step(step)

    def _accumulate(self, share: LocalShare, batches: Iterator[Batch]) -> tuple[float, list[str]]:
        """Add up the gradients of a group; returns this process's part of the loss and the material ids."""
        total, ids, undo = 0.0, [], self._undo() if len(share.pieces) > 1 else None
        for number in range(len(share.pieces)):
            if self.wish.number and undo and self.placement.world == 1:
                undo()
                raise Stopped(self.wish.number)
            batch = to_device(next(batches), self.placement.device)
            ids += batch["material_id"]
            with self._synchronised(last=number == len(share.pieces) - 1):
                with self.placement.autocast():
                    loss = self._loss(batch) * len(batch["tc"]) * share.weight
                self._require_finite("loss", loss, ids)
                loss.backward()
            total += loss.item()
        return total, ids

    def _undo(self) -> Callable[[], None]:
        """How to go back to the last finished step: a group may take minutes, a stopped run must leave in seconds."""
        state = random_state()
        buffers = [buffer.clone() for buffer in self.model.buffers()]

        def undo() -> None:
            restore_random_state(state)
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
            self.task.optimizer.zero_grad(set_to_none=True)

        return undo

    def _loss(self, batch: Batch) -> Tensor:
        return self.criterion(self.target.encode(self.forward(batch)), self.target.encode(batch["tc"]))

    def _update(self, ids: list[str]) -> float:
        """Move the parameters; returns the gradient's norm before clipping."""
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.config.grad_clip or math.inf)
        self._require_finite("gradient", norm, ids)
        self.task.optimizer.step()
        self.task.optimizer.zero_grad(set_to_none=True)
        self._require_finite("parameter", nn.utils.get_total_norm(parameters), ids)
        self.schedule.after_step()
        return float(norm)

    def _synchronised(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients travel between processes once a step, with the last micro-batch."""
        if last or not isinstance(self.forward, DistributedDataParallel):
            return nullcontext()
        return self.forward.no_sync()

    def _require_finite(self, what: str, value: Tensor, ids: list[str]) -> None:
        if not torch.isfinite(value).all():
            where = f"epoch {self.progress.epoch + 1}, step {self.progress.step + 1}"
            named = ", ".join(dict.fromkeys(ids))
            raise TrainingError(
                f"{where}: {what} is {value.item()} with materials {named}; try a lower --lr or --grad-clip"
            )

    def _check_stop(self, save: Callable[[str], None]) -> None:
        """Between two steps: leave if any process was asked to, save if it is time."""
        minutes = (time.monotonic() - self.saved_at) / 60
        signal_number, due = self.placement.largest(self.wish.number, minutes > self.config.save_every_minutes)
        if signal_number:
            self.wish.number = int(signal_number)
            raise Stopped(self.wish.number)
        if due:
            save("last")
            self.saved_at = time.monotonic()

    def _validate(self, save: Callable[[str], None]) -> None:
        for callback in self.callbacks:
            callback.begin_validation()
        improved = self._close_epoch(self.predict("val"))
        if improved:
            save("best")
        save("last")
        self.saved_at = time.monotonic()

    def predict(self, split: str) -> pd.DataFrame:
        """Predictions of one split in kelvin, one row per material (see `predict_materials`)."""
        dataset = self.task.datasets[split]
        dataset.set_epoch(0)
        mine = range(self.placement.rank, len(dataset), self.placement.world)
        with closing(self._load(split, self.task.micro_batches(dataset, mine))) as batches:
            return predict_materials(self.model, batches, self.placement, self.wish)

    def _close_epoch(self, val: pd.DataFrame) -> bool:
        """Book the epoch; returns whether its validation MAE is the best so far."""
        tc, pred = torch.tensor(val[["tc", "tc_pred"]].to_numpy().T, dtype=torch.float32, device=self.placement.device)
        mae_K = float((pred - tc).abs().mean())
        loss = float(self.criterion(self.target.encode(pred), self.target.encode(tc)))
        if not math.isfinite(mae_K) or not math.isfinite(loss):
            ids = ", ".join(val["material_id"][~np.isfinite(val["tc_pred"])]) or "of large errors"
            raise TrainingError(
                f"epoch {self.progress.epoch + 1}: validation MAE is {mae_K} K, loss {loss}, materials {ids}; "
                "try a lower --lr"
            )
        improved = self.progress.end_epoch(loss, mae_K, self._learning_rate())
        self.schedule.after_epoch(mae_K)
        for callback in self.callbacks:
            callback.end_epoch(self.progress.history[-1], self.progress.best_val_mae)
        return improved

    def _learning_rate(self) -> float:
        """Of the last parameter group, the head."""
        return float(self.task.optimizer.param_groups[-1]["lr"])

    def _load(self, split: str, batches: list[list[int]]) -> Generator[Batch, None, None]:
        """The batches in order; closing it ends the loader processes, whoever still refers to it."""
        # a generator of its own: the default one would be drawn from once per loader, and a resumed run starts more
        yield from DataLoader(
            self.task.datasets[split],  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=self.task.collate,
            num_workers=self.config.num_workers,
            worker_init_fn=ignore_signals_in_worker,
            generator=torch.Generator(),
        )

    def state(self) -> dict[str, Any]:
        """Everything that changes while training, except the random states."""
        weights = self.model.state_dict()
        return {
            **asdict(self.progress),
            "model_state_dict": {name: weights[name] for name in weights if name not in set(self.frozen["names"])},
            "frozen": self.frozen,
            "optimizer_state_dict": self.task.optimizer.state_dict(),
            "scheduler_state_dict": self.schedule.state_dict(),
        }

    def load_state(self, state: dict[str, Any], path: Path) -> None:
        """Continue where `state` (read from `path`) was taken.

        Raises:
            UserError: it is the state of another model, optimiser or schedule.
        """
        load_weights(self.model, state, path)
        try:
            self.progress = Progress(**{name: state[name] for name in Progress.__dataclass_fields__})
            self.task.optimizer.load_state_dict(state["optimizer_state_dict"])
            self.schedule.load_state_dict(state["scheduler_state_dict"])
        except (KeyError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{path} cannot be continued by this run: {reason}; --resume never starts afresh"
            ) from error


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

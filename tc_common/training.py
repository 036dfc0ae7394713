"""The training loop of both pipelines: a model maps a batch to kelvins, a batch carries `tc` and `material_id`.

An epoch is a list of batches; a batch is one optimiser step, computed in micro-batches that fit the memory. Therefore
halving `--batch-size` (of a micro-batch) and doubling `--grad-accumulation` changes nothing but the memory, and a
checkpoint's position (epoch, step) means the same in both. Each of several processes computes a part of a batch; with
batch normalisation that is some of its micro-batches, so that the same settings give the same training in one process.

Legend: B samples in a batch.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from tc_common.callbacks import Callback, Step
from tc_common.checkpoints import (
    Progress,
    frozen_identity,
    load_weights,
    progress_mismatch,
    random_state,
    restore_random_state,
    seed_everything,
)
from tc_common.cli import log
from tc_common.devices import Placement, to_device
from tc_common.errors import UserError, is_out_of_memory
from tc_common.predictions import average_samples
from tc_common.running_statistics import RunningStatistics
from tc_common.signals import Stopped, StopRequest, ignore_signals_in_worker, signals_held_back
from tc_common.state_checks import mismatch, optimizer_mismatch
from tc_common.targets import TargetTransform
from tc_common.task import Batch, Schedule, Task, TrainConfig

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": nn.functional.mse_loss,
    "l1": nn.functional.l1_loss,
    "huber": nn.functional.huber_loss,
}


class TrainingError(UserError):
    """The run cannot go on: a number is no longer finite, or the memory is exhausted."""


@dataclass(frozen=True)
class LocalShare:
    """What one process computes of a batch: its micro-batches, and the weight of each of its samples."""

    micro_batches: list[list[int]]
    weight: float


class Trainer:
    """Runs the epochs of one task on one device (or on one process of several)."""

    def __init__(self, task: Task, config: TrainConfig, placement: Placement, stop: StopRequest) -> None:
        self.task, self.config, self.placement, self.stop = task, config, placement, stop
        self.model = task.model.to(placement.device)
        self.target = cast(TargetTransform, task.model.target)
        self.forward: nn.Module = self.model
        self.statistics = RunningStatistics(self.model, placement)
        self.criterion = LOSSES[config.loss]
        self.progress = Progress()
        self.callbacks: list[Callback] = []
        self.frozen = frozen_identity(self.model, task.frozen)
        self.saved_at = time.monotonic()
        steps = sum(len(task.batches(epoch)) for epoch in range(config.epochs))
        self.schedule = Schedule(task.schedule, task.optimizer, steps)
        seed_everything(config.seed + placement.rank)

    def fit(self, save: Callable[[str], None]) -> None:
        """Train until the last epoch, or until the validation MAE has not improved for `patience` epochs.

        Args:
            save: called by every process, with "best" when the validation MAE improved and then with "last", so that
                a kill in between loses neither; with "last" alone every `save_every_minutes`.

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
            log.error(f"stopped by signal {self.stop.number}; the same command resumes from here")
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
        shares = [self._share(batch) for batch in self.task.batches(progress.epoch)]
        remaining = shares[progress.step :]
        for callback in self.callbacks:
            callback.begin_epoch(progress.epoch + 1, progress.step, len(shares))
        micro_batches = [indices for share in remaining for indices in share.micro_batches]
        with closing(self._load("train", micro_batches)) as loaded:
            for share in remaining:
                self._step(share, loaded, len(shares))
                self._check_stop(save)

    def _across_processes(self) -> nn.Module:
        """The model, wrapped anew every epoch (what is trainable may change from one to the next)."""
        if self.placement.world == 1:
            return self.model
        return DistributedDataParallel(self.model, broadcast_buffers=False)  # see `RunningStatistics`

    def _share(self, batch: list[int]) -> LocalShare:
        """This process's part of a batch; one that gets no sample takes the first, at weight 0, to keep in step."""
        rank, world, cut = self.placement.rank, self.placement.world, self.task.micro_batches
        whole = cut(self.task.datasets["train"], batch) if world == 1 or self.statistics.layers else []
        if len(whole) >= world:  # the same micro-batches as in one process
            return LocalShare(whole[rank * len(whole) // world : (rank + 1) * len(whole) // world], world / len(batch))
        mine = batch[rank::world]
        # the processes' gradients are averaged, so each carries `world` times its part of the mean over the batch
        weight = world / len(batch) if mine else 0.0
        return LocalShare(cut(self.task.datasets["train"], mine or batch[:1]), weight)

    def _step(self, share: LocalShare, loaded: Iterator[Batch], steps: int) -> None:
        """One optimiser step, recorded and passed to the callbacks."""
        started, progress = time.monotonic(), self.progress
        loss, ids, unaugmented = self._accumulate(share, loaded)
        norm = self._update(ids)
        seconds = time.monotonic() - started
        losses, counts = zip(*self.placement.gather((loss, unaugmented)), strict=True)
        progress.take_step(sum(losses) / self.placement.world, seconds, sum(counts))
        step = Step(
            epoch=progress.epoch + 1,
            step=progress.step,
            steps=steps,
            total=progress.total_steps,
            loss=progress.loss_sum / progress.step,
            gradient_norm=norm,
            learning_rate=self._learning_rate(),
            samples=sum(map(len, share.micro_batches)),
            seconds=seconds,
        )
        for callback in self.callbacks:
            callback.take_step(step)

    def _accumulate(self, share: LocalShare, loaded: Iterator[Batch]) -> tuple[float, list[str], int]:
        """Add up the gradients of a batch.

        Returns:
            This process's part of the loss, the material ids, and how many of these were not augmented although asked.
        """
        count, total, unaugmented, ids = len(share.micro_batches), 0.0, 0, []
        self.statistics.begin_step()
        undo = self._undo() if count > 1 else None
        for number in range(count):
            if self.stop.number and undo and self.placement.world == 1:
                undo()
                raise Stopped(self.stop.number)
            batch = to_device(next(loaded), self.placement.device)
            ids += batch["material_id"]
            unaugmented += batch.pop("unaugmented", 0) if share.weight else 0
            with self._synchronised(last=number == count - 1):
                with self.placement.autocast():
                    loss = self._loss(batch) * len(batch["tc"]) * share.weight
                self._require_finite("loss", loss, ids)
                loss.backward()
            total += loss.item()
        self.statistics.join(count, counted=share.weight > 0)
        return total, ids, unaugmented

    def _undo(self) -> Callable[[], None]:
        """Function that returns to the last finished step (a batch may take minutes, a stop must take seconds)."""
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
        """Update the parameters; returns the gradient's norm before clipping."""
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.config.grad_clip or math.inf)
        self._require_finite("gradient", norm, ids)
        self.task.optimizer.step()
        self.task.optimizer.zero_grad(set_to_none=True)
        self._require_finite("parameter", nn.utils.get_total_norm(parameters), ids)
        self.schedule.after_step()
        return float(norm)

    def _synchronised(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients are averaged over processes once a step, with the last micro-batch."""
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
        """Between two steps: stop if any process was asked to, save if it is due."""
        minutes = (time.monotonic() - self.saved_at) / 60
        signal_number, due = self.placement.largest(self.stop.number, minutes > self.config.save_every_minutes)
        if signal_number:
            self.stop.number = int(signal_number)
            raise Stopped(self.stop.number)
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
        """Columns `material_id, tc, tc_pred` in K, by id, of one split; `tc_std` is the SD over a material's samples.

        Raises:
            Stopped: SIGINT or SIGTERM came to one of the processes.
        """
        dataset = self.task.datasets[split]
        dataset.set_epoch(0)
        mine = range(self.placement.rank, len(dataset), self.placement.world)
        self.model.eval()
        with closing(self._load(split, self.task.micro_batches(dataset, mine))) as loaded:
            rows = self._predict_samples(loaded)
        self.stop.number = int(*self.placement.largest(self.stop.number))
        if self.stop.number:
            raise Stopped(self.stop.number)
        return average_samples(pd.concat([table for part in self.placement.gather(rows) for table in part]))

    def _predict_samples(self, loaded: Iterator[Batch]) -> list[pd.DataFrame]:
        """One row per sample; the rest is left out once the run was asked to stop."""
        rows: list[pd.DataFrame] = []
        with torch.inference_mode(), self.placement.autocast():
            for batch in loaded:
                if self.stop.number:
                    break
                kelvin = self.model(to_device(batch, self.placement.device)).double().cpu()
                columns = {"material_id": batch["material_id"], "tc": batch["tc"].double(), "tc_pred": kelvin}
                rows.append(pd.DataFrame(columns))
        return rows

    def _close_epoch(self, val: pd.DataFrame) -> bool:
        """Record the epoch; returns whether its validation MAE is the best so far."""
        tc, pred = torch.tensor(val[["tc", "tc_pred"]].to_numpy().T, dtype=torch.float32, device=self.placement.device)
        mae_K = float((pred - tc).abs().mean())
        loss = float(self.criterion(self.target.encode(pred), self.target.encode(tc)))
        if not math.isfinite(mae_K) or not math.isfinite(loss):
            ids = ", ".join(val["material_id"][~np.isfinite(val["tc_pred"])]) or "of large errors"
            raise TrainingError(
                f"epoch {self.progress.epoch + 1}: validation MAE is {mae_K} K, loss {loss}, materials {ids}; "
                "try a lower --lr"
            )
        improved = self.progress.end_epoch(loss, mae_K, self._learning_rate(), self.config.augment_structure.changes)
        self.schedule.after_epoch(mae_K)
        for callback in self.callbacks:
            callback.end_epoch(self.progress.history[-1], self.progress.best_val_mae)
        return improved

    def _learning_rate(self) -> float:
        """Of the last parameter group, the head."""
        return float(self.task.optimizer.param_groups[-1]["lr"])

    def _load(self, split: str, micro_batches: list[list[int]]) -> Generator[Batch, None, None]:
        """The micro-batches in order; closing it ends the loader processes."""
        # its own generator: every loader draws once from the default one, and a resumed run starts more loaders
        loader: DataLoader[Any] = DataLoader(
            self.task.datasets[split],  # type: ignore[arg-type]
            batch_sampler=micro_batches,
            collate_fn=self.task.collate,
            num_workers=self.config.num_workers,
            worker_init_fn=ignore_signals_in_worker,
            generator=torch.Generator(),
        )
        with signals_held_back():  # here the loader processes start
            batches = iter(loader)
        yield from batches

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
        state = {"unaugmented": 0, **state}  # checkpoints of before it was counted
        said = (
            progress_mismatch(state)
            or self._step_mismatch(state["epoch"], state["step"])
            or optimizer_mismatch(state["optimizer_state_dict"], self.task.optimizer)
            or mismatch(state["scheduler_state_dict"], self.schedule.state_dict(), "scheduler_state_dict")
        )
        if said:
            raise UserError(f"{path} cannot be continued by this run: {said}; --resume never starts afresh")
        load_weights(self.model, state, path)
        self.progress = Progress(**{name: state[name] for name in Progress.__dataclass_fields__})
        self.task.optimizer.load_state_dict(state["optimizer_state_dict"])
        self._continue_schedule(state["scheduler_state_dict"])

    def _step_mismatch(self, epoch: int, step: int) -> str:
        steps = len(self.task.batches(epoch))
        return "" if step <= steps else f"step is {step}, of {steps} in an epoch"

    def _continue_schedule(self, state: dict[str, Any]) -> None:
        if self.schedule.is_as_long_as(state):
            self.schedule.load_state_dict(state)
            return
        finished = sum(len(self.task.batches(epoch)) for epoch in range(self.progress.epoch))
        self.schedule.start_at(finished + self.progress.step)
        log.info(
            f"the {self.task.schedule} schedule is rebuilt for {self.config.epochs} epochs: "
            f"the learning rate goes on at {self._learning_rate():.3g}"
        )

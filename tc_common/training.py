"""The one training loop: a model maps a batch to kelvins, a batch carries `tc` and `material_id`.

An epoch is a list of groups; one group is one optimiser step, cut into micro-batches that fit the memory. Because
a group, not a micro-batch, is the unit, halving `--batch-size` and doubling `--grad-accumulation` changes nothing but
the memory, and a checkpoint's position (epoch, step) means the same in both.

Legend: B samples in a batch.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from tc_common.config import TrainConfig
from tc_common.devices import Placement, to_device
from tc_common.errors import UserError
from tc_common.interruption import Interruption
from tc_common.logs import log
from tc_common.schedules import Schedule
from tc_common.targets import TargetTransform
from tc_common.task import Batch, Task

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": nn.functional.mse_loss,
    "l1": nn.functional.l1_loss,
    "huber": nn.functional.huber_loss,
}
SECONDS_BETWEEN_LINES = 60.0


class TrainingError(UserError):
    """The run cannot go on: a number is no longer finite."""


@dataclass
class Progress:
    """How far a training has come; a checkpoint stores it, a resumed run starts from it."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Optimiser steps done in the epoch that runs now."""
    loss_sum: float = 0.0
    """Sum over this epoch's steps of their loss."""
    val_loss: float = math.inf
    val_mae: float = math.inf
    best_val_loss: float = math.inf
    best_val_mae: float = math.inf
    patience_counter: int = 0
    """Epochs since the validation MAE was best."""
    train_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """Runs the epochs of one task on one device (or on one process of several)."""

    def __init__(self, task: Task, config: TrainConfig, placement: Placement, wish: Interruption) -> None:
        self.task, self.config, self.placement, self.wish = task, config, placement, wish
        self.model = task.model.to(placement.device)
        self.target = cast(TargetTransform, task.model.target)
        self.forward = DistributedDataParallel(self.model) if placement.world > 1 else self.model
        self.criterion = LOSSES[config.loss]
        self.progress = Progress()
        self.saved_at = self.told_at = time.monotonic()
        steps = sum(len(task.groups(epoch)) for epoch in range(config.epochs))
        self.schedule = Schedule(task.schedule, task.optimizer, steps, config.plateau_patience)
        torch.manual_seed(config.seed + placement.rank)

    def fit(self, save: Callable[[str], None]) -> None:
        """Train until the last epoch, or until the validation MAE has not improved for `patience` epochs.

        Args:
            save: called with "best" when the validation MAE improved, with "last" whenever progress is worth keeping.

        Raises:
            TrainingError: a loss, gradient or parameter is not finite; nothing is saved after it.
            SystemExit: SIGINT or SIGTERM came (130, 143), after saving.
        """
        progress = self.progress
        while progress.epoch < self.config.epochs and progress.patience_counter < self.config.patience:
            self.task.before_epoch(progress.epoch)
            self._train_epoch(save)
            val = self.predict("val")
            self._leave_if_asked(save)
            improved = self._close_epoch(val)
            if improved:
                save("best")
            save("last")

    def _train_epoch(self, save: Callable[[str], None]) -> None:
        progress, dataset = self.progress, self.task.datasets["train"]
        self.model.train()
        dataset.set_epoch(progress.epoch)
        groups = [self._share(group) for group in self.task.groups(progress.epoch)]
        batches = iter(self._loader("train", [piece for group in groups[progress.step :] for piece in group]))
        for group in self._bar(groups):
            started = time.monotonic()
            progress.loss_sum += self._step(group, batches)
            progress.step += 1
            progress.train_seconds += time.monotonic() - started
            self._leave_if_asked(save)
            self._save_in_time(save)

    def _share(self, group: list[int]) -> list[list[int]]:
        """This process's micro-batches of a group; one that gets no sample repeats the first, at weight 0."""
        mine = group[self.placement.rank :: self.placement.world] or group[:1]
        return self.task.micro_batches(self.task.datasets["train"], mine)

    def _step(self, group: list[list[int]], batches: Iterator[Batch]) -> float:
        """One optimiser step; returns the mean loss over the group's samples."""
        samples, total, ids = sum(map(len, group)), 0.0, []
        for number in range(len(group)):
            batch = to_device(next(batches), self.placement.device)
            ids += batch["material_id"]
            with self._synchronised(last=number == len(group) - 1), self.placement.autocast():
                loss = self._loss(batch) * len(batch["tc"]) / samples
            self._require_finite("loss", loss, ids)
            loss.backward()
            total += loss.item()
        self._update(ids)
        return total

    def _loss(self, batch: Batch) -> Tensor:
        return self.criterion(self.target.encode(self.forward(batch)), self.target.encode(batch["tc"]))

    def _update(self, ids: list[str]) -> None:
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.config.grad_clip or math.inf)
        self._require_finite("gradient", norm, ids)
        self.task.optimizer.step()
        self.task.optimizer.zero_grad(set_to_none=True)
        self._require_finite("parameter", nn.utils.get_total_norm(parameters), ids)
        self.schedule.after_step()

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

    def predict(self, split: str) -> pd.DataFrame:
        """Predictions of one split, one row per material, by id.

        Columns `material_id, tc, tc_pred` in K; several samples of a material (views) are averaged, and their SD
        stands in `tc_std`.
        """
        dataset = self.task.datasets[split]
        dataset.set_epoch(0)
        self.model.eval()
        mine = range(self.placement.rank, len(dataset), self.placement.world)
        rows: list[pd.DataFrame] = []
        with torch.inference_mode(), self.placement.autocast():
            for batch in self._loader(split, self.task.micro_batches(dataset, mine)):
                if self.wish.number is not None:
                    break
                kelvin = self.model(to_device(batch, self.placement.device))
                columns = {
                    "material_id": batch["material_id"],
                    "tc": batch["tc"].double(),
                    "tc_pred": kelvin.double().cpu(),
                }
                rows.append(pd.DataFrame(columns))
        return average_samples(pd.concat(self._gather(rows)))

    def _gather(self, rows: list[pd.DataFrame]) -> list[pd.DataFrame]:
        """All processes' rows, on every process."""
        if self.placement.world == 1:
            return rows
        everyone: list[Any] = [None] * self.placement.world
        torch.distributed.all_gather_object(everyone, rows)
        return [table for part in everyone for table in part]

    def _close_epoch(self, val: pd.DataFrame) -> bool:
        """Book the epoch; returns whether its validation MAE is the best so far."""
        progress = self.progress
        tc, pred = torch.tensor(val[["tc", "tc_pred"]].to_numpy().T, dtype=torch.float32, device=self.placement.device)
        progress.val_mae = float((pred - tc).abs().mean())
        progress.val_loss = float(self.criterion(self.target.encode(pred), self.target.encode(tc)))
        if not math.isfinite(progress.val_mae):
            raise TrainingError(f"epoch {progress.epoch + 1}: validation MAE is {progress.val_mae}; try a lower --lr")
        improved = progress.val_mae < progress.best_val_mae
        progress.best_val_mae = min(progress.val_mae, progress.best_val_mae)
        progress.best_val_loss = min(progress.val_loss, progress.best_val_loss)
        progress.patience_counter = 0 if improved else progress.patience_counter + 1
        self._book()
        self.schedule.after_epoch(progress.val_mae)
        return improved

    def _book(self) -> None:
        progress = self.progress
        row = {
            "epoch": progress.epoch + 1,
            "train_loss": progress.loss_sum / progress.step,
            "val_loss": progress.val_loss,
            "val_mae_K": progress.val_mae,
            "lr": self.task.optimizer.param_groups[-1]["lr"],
        }
        progress.history.append(row)
        progress.epoch, progress.step, progress.loss_sum = progress.epoch + 1, 0, 0.0
        self._tell(row)

    def _tell(self, row: dict[str, float]) -> None:
        losses = f"train loss {row['train_loss']:.4f}  val loss {row['val_loss']:.4f}"
        errors = f"val MAE {row['val_mae_K']:.3f} K  best {self.progress.best_val_mae:.3f} K"
        log.info(f"epoch {row['epoch']}/{self.config.epochs}  {losses}  {errors}  {self.progress.train_seconds:.0f} s")

    def _loader(self, split: str, batches: list[list[int]]) -> DataLoader[Any]:
        # a generator of its own: the default one would be drawn from once per loader, and a resumed run starts more
        return DataLoader(
            self.task.datasets[split],  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=self.task.collate,
            num_workers=self.config.num_workers,
            generator=torch.Generator(),
        )

    def _bar(self, groups: list[list[list[int]]]) -> Iterator[list[list[int]]]:
        """The epoch's steps still to do, with a bar on a terminal and a line now and then elsewhere."""
        title = f"epoch {self.progress.epoch + 1}/{self.config.epochs}"
        quiet = None if self.placement.is_main else True
        bar = tqdm(
            groups[self.progress.step :], title, len(groups), initial=self.progress.step, leave=False, disable=quiet
        )
        for group in bar:
            yield group
            loss = self.progress.loss_sum / self.progress.step
            bar.set_postfix(loss=f"{loss:.4f}")
            if bar.disable and time.monotonic() - self.told_at > SECONDS_BETWEEN_LINES:
                self.told_at = time.monotonic()
                log.info(f"{title}  step {self.progress.step}/{len(groups)}  train loss {loss:.4f}")

    def _save_in_time(self, save: Callable[[str], None]) -> None:
        if time.monotonic() - self.saved_at > 60 * self.config.save_every_minutes:
            save("last")
            self.saved_at = time.monotonic()

    def _leave_if_asked(self, save: Callable[[str], None]) -> None:
        if self.wish.number is None:
            return
        save("last")
        log.error(f"stopped by signal {self.wish.number}; the same command goes on from here")
        raise SystemExit(128 + self.wish.number)

    def state(self) -> dict[str, Any]:
        """Everything that changes while training, except the random states."""
        return {
            **asdict(self.progress),
            "model_state_dict": self.model.state_dict(),
            "optimizer_state_dict": self.task.optimizer.state_dict(),
            "scheduler_state_dict": self.schedule.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.progress = Progress(**{name: state[name] for name in Progress.__dataclass_fields__})
        self.model.load_state_dict(state["model_state_dict"], strict=True)
        self.task.optimizer.load_state_dict(state["optimizer_state_dict"])
        self.schedule.load_state_dict(state["scheduler_state_dict"])


def average_samples(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per material, by id: mean prediction over its samples and, where there are several, their SD (K)."""
    by_material = rows.groupby("material_id", sort=True)
    averaged = by_material.agg(tc=("tc", "first"), tc_pred=("tc_pred", "mean")).reset_index()
    if by_material.size().max() > 1:
        averaged["tc_std"] = by_material["tc_pred"].std(ddof=0).to_numpy()
    return averaged

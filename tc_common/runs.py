"""Run a training end to end: lock the folder, resume or start, train, predict with the best weights, write results."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from tc_common.callbacks import Callback, ConsoleCallback, HeartbeatCallback, TensorBoardCallback
from tc_common.checkpoints import (
    Progress,
    load_checkpoint,
    load_weights,
    random_state,
    remove_stale,
    restore_random_state,
    save_checkpoint,
)
from tc_common.cli import log
from tc_common.devices import place
from tc_common.environment import peak_rss_MB, versions
from tc_common.errors import UserError
from tc_common.files import write_csv, write_json
from tc_common.further import further_materials
from tc_common.lock import FolderLock, lock_folder
from tc_common.results import metrics_of, write_further, write_results
from tc_common.signals import graceful_shutdown
from tc_common.splits import splits_sha256
from tc_common.task import Task, TrainConfig
from tc_common.training import Trainer

# What may differ between a run and its continuation without changing its result.
FREE_SETTINGS = {
    "models_dir", "results_dir", "data_dir", "images_dir", "num_workers", "log_file", "save_every_minutes", "resume",
    "name", "batch_size", "grad_accumulation", "init", "cache_dir", "prior", "extra_labels", "further",
}  # fmt: skip


@dataclass
class Run:
    """Where a run keeps its files and how it is recognised."""

    task: Task
    config: TrainConfig
    trainer: Trainer

    def path(self, kind: str) -> Path:
        """`models/<stem>_<kind>.pth`, kind being last or best."""
        return self.config.models_dir / f"{self.task.stem}_{kind}.pth"

    def result(self, ending: str) -> Path:
        """`results/<name>_<ending>`."""
        return self.config.results_dir / f"{self.task.name}_{ending}"

    def identity(self) -> dict[str, Any]:
        """Settings and data that must agree before a checkpoint is resumed."""
        settings = {name: value for name, value in self.config.plain().items() if name not in FREE_SETTINGS}
        if self.task.schedule in ("plateau", "constant"):
            del settings["epochs"]  # these schedules do not look at the end
        effective_batch = self.config.batch_size * self.config.grad_accumulation
        digests = {"splits_sha256": splits_sha256(self.task.splits), "structures_sha256": self.task.structures_sha256}
        data = {**digests, "samples": self.task.fingerprint}
        return {**settings, "init": self.task.init, "effective_batch": effective_batch, **data, **self.task.facts}

    def begin(self) -> None:
        """Resume or start; write settings and a first checkpoint, so that an unwritable folder fails before training.

        Raises:
            UserError: see `restore`, or a folder cannot be written.
        """
        if self.trainer.placement.is_main:
            remove_stale(self.config.models_dir, self.task.stem)
            remove_stale(self.config.results_dir, self.task.name)
        if not self.restore() or self.config.resume != "auto":
            self.save("last")  # from now on the folder's checkpoint is this run's, and --resume auto continues it
        if self.trainer.placement.is_main:
            write_json(self.result("config.json"), self.config.plain())

    def save(self, kind: str) -> None:
        """Write a checkpoint and the history (every process calls, the main one writes)."""
        random_states = self.trainer.placement.gather(random_state())
        if not self.trainer.placement.is_main:
            return
        content = {
            **self.trainer.state(),
            "rng_state": random_states,
            "config": self.config.plain(),
            "identity": self.identity(),
            "learned": sorted(self.task.learned),
            "init": self.task.init,
            "versions": versions(),
        }
        save_checkpoint(self.path(kind), content)
        if kind == "last":
            self._write_history()

    def _write_history(self) -> None:
        if self.trainer.progress.history:
            write_csv(self.result("history.csv"), pd.DataFrame(self.trainer.progress.history))

    def restore(self) -> bool:
        """Resume from the checkpoint that `--resume` names; False if there is none.

        Raises:
            UserError: it belongs to other settings or data (named), or cannot be read.
        """
        wanted = self.config.resume
        path = self.path("last") if wanted in ("auto", "force", "never") else Path(wanted)
        if wanted == "never" or (wanted in ("auto", "force") and not path.exists()):
            return False
        content = load_checkpoint(path)
        if wanted != "force":
            self._refuse_other_run(path, content.get("identity", {}))
        self.trainer.load_state(content, path)
        self._adopt_best(path)
        self._restore_random_state(content["rng_state"], path)
        self._log_resumed(path, content)
        return True

    def _refuse_other_run(self, path: Path, theirs: dict[str, Any]) -> None:
        ours = self.identity()
        differing = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        if differing:
            shown = ", ".join(f"{name} {theirs.get(name)} -> {ours.get(name)}" for name in differing)
            raise UserError(
                f"{path} belongs to a run with other settings ({shown}); use those, --resume never to start afresh, "
                "--resume force to continue nevertheless, or another --models-dir"
            )

    def _adopt_best(self, last: Path) -> None:
        """Copy the best checkpoint of the resumed run; where there is none, the next epoch is the best."""
        progress, best = self.trainer.progress, last.with_name(self.path("best").name)
        if not best.exists():
            progress.best_val_mae = progress.best_val_loss = math.inf
        elif self.trainer.placement.is_main and best.resolve() != self.path("best").resolve():
            save_checkpoint(self.path("best"), load_checkpoint(best))

    def _restore_random_state(self, states: Any, path: Path) -> None:
        placement = self.trainer.placement
        if not isinstance(states, list) or not states:
            raise UserError(f"{path} cannot be continued: rng_state is no list of random states")
        if len(states) == placement.world:
            try:
                restore_random_state(states[placement.rank])
            except UserError as error:
                raise UserError(f"{path} cannot be continued: {error}") from error
        else:
            log.info(f"saved by {len(states)} processes, continued by {placement.world}: dropout will differ")

    def _log_resumed(self, path: Path, content: dict[str, Any]) -> None:
        progress, now = self.trainer.progress, versions()
        inside = f" and {progress.step} steps" if progress.step else ""
        log.info(f"resumed {path} after epoch {progress.epoch}{inside}")
        then = content.get("versions", {})
        changed = [f"{name} {then.get(name)} -> {now.get(name)}" for name in now if now[name] != then.get(name)]
        if changed:
            log.info(f"started with other releases ({', '.join(changed)}): numbers may differ in their last digits")

    def load_best(self) -> None:
        """Give the model the weights of the best epoch."""
        load_weights(self.task.model, load_checkpoint(self.path("best")), self.path("best"))

    def report(self) -> dict[str, Any]:
        """Predict validation and test materials and write every result file."""
        predicted = {"val": self._predict("val")}
        started = time.monotonic()
        predicted["test"] = self._predict("test")
        known = self._known_metrics((time.monotonic() - started) / len(predicted["test"]))
        metrics = metrics_of(self.task.name, self.task.splits, predicted, known)
        if self.trainer.placement.is_main:
            write_results(self.config.results_dir, self.task.name, predicted, metrics)
            self._write_history()
        self._report_further()
        return metrics

    def _report_further(self) -> None:
        """Predict and write the further tests, where the pipeline can make datasets of them.

        With --no-further files of an earlier training are removed: they are not this one's.
        """
        if self.task.further is None or not self.config.further:
            if self.trainer.placement.is_main:
                write_further(self.config.results_dir, self.task.name, {})
            return
        tables = further_materials(self.config.data_dir, self.task.splits, self.config.limit, None, self.task.learned)
        self.task.datasets = {**self.task.datasets, **{test: self.task.further(tables[test]) for test in tables}}
        predicted = {test: self._predict(test, table.drop(columns="cif")) for test, table in tables.items()}
        if self.trainer.placement.is_main:
            write_further(self.config.results_dir, self.task.name, predicted)

    def _predict(self, split: str, measured: pd.DataFrame | None = None) -> pd.DataFrame:
        """Predictions of one dataset's materials, with what `measured` (default: the split's table) says of them."""
        if measured is None:
            measured = self.task.splits[split][["material_id", "formula", "tc"]]
        predictions = measured.merge(self.trainer.predict(split).drop(columns="tc"), on="material_id", validate="1:1")
        assert len(predictions) == len(measured), "a material without a prediction"
        return predictions

    def _known_metrics(self, seconds_per_sample: float) -> dict[str, Any]:
        """Metrics that only the training knows: seeds, origin, device, times and sizes."""
        parameters = list(self.task.model.parameters())
        return {
            "seeds": [self.config.seed],
            "init": self.task.init,
            "device": str(self.trainer.placement.device),
            "train_seconds": round(self.trainer.progress.train_seconds, 1),
            "inference_ms_per_sample": round(1000 * seconds_per_sample, 3),
            "parameters": sum(p.numel() for p in parameters),
            "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "peak_memory_MB": peak_memory_MB(self.trainer.placement.device),
            "epochs": len(self.trainer.progress.history),
            **self.task.facts,
        }


def run_training(task: Task, config: TrainConfig) -> dict[str, Any]:
    """Train `task` to the end, resumably, predict its test materials, and return the metrics that were written.

    Raises:
        UserError: see `lock_folder`, `Run.begin`, `Trainer.fit`.
        Stopped: SIGINT or SIGTERM came; the same command resumes.
    """
    with started(task, config) as run:
        run.trainer.fit(run.save)
        run.load_best()
        return run.report()


def fit(task: Task, config: TrainConfig, callback: Callback | None = None) -> Progress:
    """Train `task` to the end, resumably, and leave its model with the weights of the best epoch.

    The task needs no test materials: nothing is predicted or scored afterwards.

    Args:
        callback: a further one; what it raises ends the training without saving the epoch.

    Raises:
        UserError, Stopped: as `run_training`.
    """
    with started(task, config) as run:
        if callback is not None:
            run.trainer.callbacks.append(callback)
        run.trainer.fit(run.save)
        run.load_best()
        return run.trainer.progress


@contextmanager
def started(task: Task, config: TrainConfig, loop: Callable[..., Trainer] = Trainer) -> Iterator[Run]:
    """A run that holds its folder's lock, handles signals, and was started or resumed."""
    placement = place(config.device, config.precision)
    with ExitStack() as stack:
        lock = stack.enter_context(_locked(task, config)) if placement.is_main else None
        stop = stack.enter_context(graceful_shutdown())
        run = Run(task, config, loop(task, config, placement, stop))
        run.begin()
        if lock:
            lock.write_status(phase="starting", **run_metadata(run))
            run.trainer.callbacks = stack.enter_context(callbacks_of(run, lock))
        yield run


@contextmanager
def _locked(task: Task, config: TrainConfig) -> Iterator[FolderLock]:
    """The lock of the models folder, while that of the model's name in the results folder is held too."""
    with (
        lock_folder(config.models_dir) as lock,
        lock_folder(config.results_dir, "--results-dir or --name", task.name),
    ):
        yield lock


def run_metadata(run: Run) -> dict[str, Any]:
    """What the monitor must know of a run before it changes the size of micro-batches."""
    config = run.config
    sizes = {name: getattr(config, name) for name in ("batch_size", "grad_accumulation", "num_workers")}
    return {"model": run.task.name, "epochs": config.epochs, **sizes, "batch_coupling": batch_coupling(run.task.model)}


def batch_coupling(model: nn.Module) -> list[str]:
    """Why a model's result depends on the size of micro-batches; empty if it does not."""
    normalises = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    drops = any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p for module in model.modules())
    return ["batch normalisation"] * normalises + ["dropout"] * drops


@contextmanager
def callbacks_of(run: Run, lock: FolderLock) -> Iterator[list[Callback]]:
    """Console, TensorBoard and heartbeat, closed when the run ends."""
    epochs, folder = run.config.epochs, run.config.results_dir / "tensorboard" / run.task.name
    scalars = TensorBoardCallback(folder, run.trainer.progress.total_steps)
    callbacks = [ConsoleCallback(epochs), scalars, HeartbeatCallback(lock, run_metadata(run))]
    try:
        yield callbacks
    finally:
        for callback in callbacks:
            callback.close()


def peak_memory_MB(device: torch.device) -> int:
    """Peak memory of this process (MiB): of the GPU where it computes on one, else resident memory."""
    return torch.cuda.max_memory_allocated(device) >> 20 if device.type == "cuda" else peak_rss_MB()

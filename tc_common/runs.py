"""A whole run: own the folder, continue or begin, train, predict with the best weights, write the results."""

import platform
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tc_common.checkpoints import load_checkpoint, random_state, remove_stale, restore_random_state, save_checkpoint
from tc_common.config import TrainConfig
from tc_common.devices import place
from tc_common.errors import UserError
from tc_common.files import write_csv, write_json
from tc_common.interruption import heed_signals
from tc_common.lock import own_folder
from tc_common.logs import log
from tc_common.metrics import score
from tc_common.predictions import write_predictions
from tc_common.splits import splits_sha256
from tc_common.task import Task
from tc_common.training import Trainer

# What may differ between a run and its continuation without changing its result.
FREE_SETTINGS = {
    "models_dir", "results_dir", "data_dir", "images_dir", "num_workers", "log_file", "save_every_minutes", "resume",
    "batch_size", "grad_accumulation",
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
        """What must agree before a checkpoint is continued."""
        settings = {name: value for name, value in self.config.plain().items() if name not in FREE_SETTINGS}
        if self.task.schedule in ("plateau", "constant"):
            del settings["epochs"]  # these schedules do not look at the end
        effective_batch = self.config.batch_size * self.config.grad_accumulation
        data = {"splits_sha256": splits_sha256(self.task.splits), "samples": self.task.fingerprint}
        return {**settings, "effective_batch": effective_batch, **data}

    def save(self, kind: str) -> None:
        """Write a checkpoint and the history that goes with it (the main process alone does)."""
        if not self.trainer.placement.is_main:
            return
        content = {
            **self.trainer.state(),
            "rng_state": random_state(),
            "config": self.config.plain(),
            "identity": self.identity(),
            "init": self.task.init,
            "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        }
        save_checkpoint(self.path(kind), content)
        if kind == "last" and self.trainer.progress.history:
            write_csv(self.result("history.csv"), pd.DataFrame(self.trainer.progress.history))

    def restore(self) -> None:
        """Continue from the checkpoint that `--resume` means, if there is one.

        Raises:
            UserError: it belongs to other settings or data (named), or cannot be read.
        """
        wanted = self.config.resume
        path = self.path("last") if wanted in ("auto", "force", "never") else Path(wanted)
        if wanted == "never" or (wanted in ("auto", "force") and not path.exists()):
            return
        content = load_checkpoint(path)
        if wanted != "force":
            self._refuse_other_run(path, content.get("identity", {}))
        self.trainer.load_state(content)
        restore_random_state(content["rng_state"])
        progress = self.trainer.progress
        inside = f" and {progress.step} steps" if progress.step else ""
        log.info(f"resumed {path} after epoch {progress.epoch}{inside}")

    def _refuse_other_run(self, path: Path, theirs: dict[str, Any]) -> None:
        ours = self.identity()
        differing = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        if differing:
            shown = ", ".join(f"{name} {theirs.get(name)} -> {ours.get(name)}" for name in differing)
            raise UserError(
                f"{path} belongs to a run with other settings ({shown}); use those, --resume never to start afresh, "
                "--resume force to continue nevertheless, or another --models-dir"
            )

    def report(self) -> dict[str, Any]:
        """Predict validation and test materials with the best weights and write every result file."""
        self.task.model.load_state_dict(load_checkpoint(self.path("best"))["model_state_dict"], strict=True)
        self._predict("val", "val_predictions.csv")
        started = time.monotonic()
        test = self._predict("test", "predictions.csv")
        metrics = self._metrics(test, time.monotonic() - started)
        if self.trainer.placement.is_main:
            write_json(self.result("metrics.json"), metrics)
            write_json(self.result("config.json"), self.config.plain())
        return metrics

    def _predict(self, split: str, ending: str) -> pd.DataFrame:
        facts = self.task.splits[split][["material_id", "formula", "tc"]]
        predictions = facts.merge(self.trainer.predict(split).drop(columns="tc"), on="material_id", validate="1:1")
        assert len(predictions) == len(facts), "a material without a prediction"
        if self.trainer.placement.is_main:
            write_predictions(self.result(ending), predictions)
        return predictions

    def _metrics(self, test: pd.DataFrame, seconds: float) -> dict[str, Any]:
        parameters = list(self.task.model.parameters())
        training_median_K = float(np.median(self.task.splits["train"]["tc"]))
        return {
            "model": self.task.name,
            **score(test["tc"].to_numpy(), test["tc_pred"].to_numpy(), training_median_K),
            "seed": self.config.seed,
            "init": self.task.init,
            "train_seconds": round(self.trainer.progress.train_seconds, 1),
            "inference_ms_per_sample": round(1000 * seconds / len(test), 3),
            "git_commit": git_commit(),
            "splits_sha256": splits_sha256(self.task.splits),
            "epochs": len(self.trainer.progress.history),
            "best_val_mae_K": self.trainer.progress.best_val_mae,
            "parameters": sum(p.numel() for p in parameters),
            "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "device": str(self.trainer.placement.device),
            "peak_memory_MB": peak_memory_MB(self.trainer.placement.device),
        }


def run_training(task: Task, config: TrainConfig) -> dict[str, Any]:
    """Train `task` to the end, resumably, and return the metrics that were written.

    Raises:
        UserError: see `own_folder`, `Run.restore`, `Trainer.fit`.
    """
    placement = place(config.device, config.precision)
    ownership = own_folder(config.models_dir) if placement.is_main else nullcontext()
    with ownership, heed_signals() as wish:
        run = Run(task, config, Trainer(task, config, placement, wish))
        remove_stale(config.models_dir, task.stem)
        run.restore()
        run.trainer.fit(run.save)
        return run.report()


def git_commit() -> str:
    """Commit of the project that runs, or "unknown" outside a clone."""
    root = Path(__file__).parent.parent
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def peak_memory_MB(device: torch.device) -> int:
    """Largest memory this process has held: of the GPU where it computes on one, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB elsewhere
    return peak >> (20 if sys.platform == "darwin" else 10)

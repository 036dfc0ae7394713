"""Runs of the toy pipeline: whole ones, ones that a signal interrupts at a chosen moment, and ones in a process."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from scipy.stats import theilslopes
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from tc_common.checkpoints import load_checkpoint
from tc_common.lock import read_status
from tc_common.runs import run_training
from tc_common.signals import Stopped
from tc_common.task import Task
from tests.tc_common.toy import ToyConfig

# What differs between two runs of the same settings: where their files are, and how long they took.
INCIDENTAL = {"train_seconds", "config"}

MakeTask = Callable[[ToyConfig], Task]


def checkpoint(config: ToyConfig, kind: str = "last") -> dict[str, Any]:
    """All that a run ended with, but for the incidental."""
    return _trimmed(config.models_dir / f"toy_{kind}.pth")


def _trimmed(path: Path) -> dict[str, Any]:
    return {name: value for name, value in load_checkpoint(path).items() if name not in INCIDENTAL}


def run_interrupted(make_task: MakeTask, config: ToyConfig, arm: Callable[[Task], None], status: int = 143) -> None:
    """Run until the signal that `arm` has set up."""
    task = make_task(config)
    arm(task)
    with pytest.raises(Stopped) as stop:
        run_training(task, config)
    assert stop.value.code == status


def after_step(number: int, by: int = signal.SIGTERM) -> Callable[[Task], None]:
    """Send a signal when the optimiser has taken its `number`-th step."""

    def arm(task: Task) -> None:
        taken = 0

        def count(*_: Any) -> None:
            nonlocal taken
            taken += 1
            if taken == number:
                signal.raise_signal(by)

        task.optimizer.register_step_post_hook(count)

    return arm


def at_forward(number: int) -> Callable[[Task], None]:
    """Send SIGTERM in the `number`-th call of the model (batches of training and validation, from 1)."""

    def arm(task: Task) -> None:
        calls = 0

        def count(*_: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == number:
                signal.raise_signal(signal.SIGTERM)

        task.model.register_forward_hook(count)

    return arm


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Every place where two nested values are not the very same bits."""
    if type(one) is not type(other):
        return [where]
    if isinstance(one, dict):
        inner = [differences(one.get(key), other.get(key), f"{where}/{key}") for key in {**one, **other}]
        return [place for places in inner for place in places]
    if isinstance(one, list | tuple):
        pairs = enumerate(zip(one, other, strict=False))
        inner = [differences(a, b, f"{where}/{index}") for index, (a, b) in pairs]
        return [place for places in inner for place in places] + [f"{where}/length"] * (len(one) != len(other))
    return [] if _same(one, other) else [where]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def files(folder: Path) -> dict[str, bytes]:
    """Content of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


ROOT = Path(__file__).parent.parent.parent


def flags(folder: Path, **settings: Any) -> list[str]:
    """Command-line flags of the toy with its files in `folder`."""
    settings = {"models_dir": folder / "models", "results_dir": folder / "results", **settings}
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def start_toy(folder: Path, environment: dict[str, str] | None = None, **settings: Any) -> subprocess.Popen[str]:
    """The toy's command line as a process in a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.tc_common.toy", *flags(folder, **settings)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_step(folder: Path, total: int, seconds: float = 60) -> None:
    """Wait until the status in the models folder holds the `total`-th step."""
    deadline = time.monotonic() + seconds
    while read_status(folder / "models").get("total", 0) < total:
        assert time.monotonic() < deadline, "the run does not come to that step"
        time.sleep(0.05)


def stop_after_steps(number: int, train: Callable[[], object]) -> None:
    """Run `train` until any optimiser has taken its `number`-th step, then stop it by SIGTERM."""
    taken = 0

    def count(*_: Any) -> None:
        nonlocal taken
        taken += 1
        if taken == number:
            signal.raise_signal(signal.SIGTERM)

    hook = register_optimizer_step_post_hook(count)
    try:
        with pytest.raises(Stopped):
            train()
    finally:
        hook.remove()


def creep_MB(train: Callable[[], object], warm_up: int, steps: int = 200) -> float:
    """Growth of resident memory in MB per 100 steps: median slope (Theil-Sen) over `steps` steps after a warm-up.

    In a process of its own: what earlier tests left behind is given back at some moment, and then fetched anew.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as own:
        rss_MB = own.submit(_resident_MB, train).result()
    assert len(rss_MB) >= warm_up + steps
    return float(100 * theilslopes(rss_MB[warm_up : warm_up + steps])[0])


def _resident_MB(train: Callable[[], object]) -> list[float]:
    """Resident memory after every optimiser step."""
    process, rss_MB = psutil.Process(), []
    register_optimizer_step_post_hook(lambda *_: rss_MB.append(process.memory_info().rss / 1e6))
    train()
    return rss_MB


def same_end(one: Path, other: Path, stem: str, name: str) -> list[str]:
    """Where two finished runs (folders with m/ and r/) differ in their last bit: checkpoints, history, predictions."""
    found = []
    for kind in ("last", "best"):
        ours, theirs = (_trimmed(folder / "m" / f"{stem}_{kind}.pth") for folder in (one, other))
        found += [f"{kind}{place}" for place in differences(ours, theirs)]
    for ending in ("history.csv", "predictions.csv", "val_predictions.csv"):
        files_read = {(folder / "r" / f"{name}_{ending}").read_bytes() for folder in (one, other)}
        found += [ending] * (len(files_read) - 1)
    return found

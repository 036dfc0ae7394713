"""Signals to a real process: it saves, leaves within seconds and with the right status, and goes on later."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tc_common.lock import read_status
from tc_common.runs import run_training
from tc_common.signals import graceful_shutdown
from tests.tc_common.runs import checkpoint, differences, start_toy, wait_for_step
from tests.tc_common.toy import toy_config, toy_task


@pytest.mark.parametrize(
    ("number", "settings"),
    [
        (signal.SIGINT, {"num_workers": 2, "step_seconds": 0.05}),
        # a batch of eight micro-batches would take 24 s
        (signal.SIGTERM, {"batch_size": 1, "grad_accumulation": 8, "step_seconds": 3}),
    ],
)
def test_a_signal_to_everyone_saves_and_leaves(number: int, settings: dict[str, Any], tmp_path: Path) -> None:
    process = start_toy(tmp_path, **settings)
    try:
        if number == signal.SIGINT:
            wait_for_step(tmp_path, 1)
        else:
            wait_for_file(tmp_path / "models" / "toy_last.pth")
        asked = time.monotonic()
        os.killpg(process.pid, number)  # as a terminal does: trainer and loaders
        _, said = process.communicate(timeout=30)
        assert time.monotonic() - asked < 10
        assert process.returncode == 128 + number
        assert said.splitlines()[-1] == f"stopped by signal {number}; the same command resumes from here"
    finally:
        process.kill()
    assert not any((tmp_path / "models").glob("*.tmp")) and read_status(tmp_path / "models") == {}
    saved = checkpoint(toy_config(tmp_path))
    assert saved["epoch"] == 0 and (saved["step"] > 0) == (number == signal.SIGINT)


def test_a_signal_while_loader_processes_start_saves_and_leaves(tmp_path: Path) -> None:
    for number, delay_s in enumerate([0.0, 0.005, 0.03]):
        process = start_toy(tmp_path / str(number), num_workers=2, step_seconds=0.05)
        try:
            wait_for_loader(process, tmp_path / str(number) / "models")
            time.sleep(delay_s)
            os.killpg(process.pid, signal.SIGTERM)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
        assert (process.returncode, "Traceback" in said) == (143, False), said
        assert (tmp_path / str(number) / "models" / "toy_last.pth").exists()


def wait_for_loader(process: subprocess.Popen[str], models: Path, seconds: float = 60) -> None:
    """Wait for the first child of a run that has begun.

    Earlier children are none of the loaders: a CUDA build of torch starts `ldconfig` when it is imported.
    """
    deadline, trainer = time.monotonic() + seconds, psutil.Process(process.pid)
    while "phase" not in read_status(models):
        assert process.poll() is None and time.monotonic() < deadline, "the run does not begin"
        time.sleep(0.01)
    while not trainer.children():
        assert process.poll() is None and time.monotonic() < deadline, "no loader process starts"


def wait_for_file(path: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not come"
        time.sleep(0.05)


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"save_every_minutes": 1e-9, "step_seconds": 0.02, "num_workers": 1, "epochs": 2}
    first = start_toy(tmp_path / "killed", **settings)
    wait_for_step(tmp_path / "killed", 1)
    first.kill()
    first.communicate()
    second = start_toy(tmp_path / "killed", **settings)
    _, said = second.communicate(timeout=60)
    assert second.returncode == 0 and "resumed" in said, said
    whole = toy_config(tmp_path / "whole", step_seconds=0.02, epochs=2)
    run_training(toy_task(whole), whole)
    assert differences(checkpoint(toy_config(tmp_path / "killed")), checkpoint(whole)) == []


def test_signals_are_obeyed_again_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with graceful_shutdown() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert stop.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before

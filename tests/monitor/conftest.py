"""Trainings to look after."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitor.commands import Command
from monitor.decisions import MonitorConfig
from monitor.events import EventLog
from monitor.supervisor import Supervisor
from tc_common.signals import StopRequest

FAKE = Path(__file__).with_name("fake_trainer.py")


def fake_command(folder: Path, *words: str) -> Command:
    return Command((sys.executable, str(FAKE), "--models-dir", str(folder), *words))


@pytest.fixture
def supervisor(tmp_path: Path) -> Callable[..., Supervisor]:
    """Makes a supervisor of a fake trainer whose files lie in tmp_path."""

    def make(*words: str, **options: Any) -> Supervisor:
        fast = {"interval_seconds": 0.05, "back_off_seconds": 0.01, "stop_seconds": 10.0, "min_available_MB": 0.0}
        config = MonitorConfig(log_file=tmp_path / "monitor.jsonl", keep_awake=False, **{**fast, **options})
        return Supervisor(fake_command(tmp_path, *words), config, EventLog(config.log_file), StopRequest())

    return make


def starts(folder: Path) -> list[str]:
    """Batch, accumulation, workers and resume of every start."""
    return (folder / "starts.txt").read_text().splitlines()

"""The supervisor on a fake trainer: what it does to whom, and what it writes down."""

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from monitor.children import Child
from monitor.commands import Command
from monitor.supervisor import Supervisor
from tests.monitor.conftest import starts

Make = Callable[..., Supervisor]


def events(folder: Path) -> list[str]:
    return [entry["event"] for entry in entries(folder) if entry["event"] not in ("sample", "other training")]


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "monitor.jsonl").read_text().splitlines()]


def steps_done(folder: Path) -> int:
    return int(json.loads((folder / "state.json").read_text())["total"])


def test_a_batch_that_is_too_large_is_halved_until_it_fits(supervisor: Make, tmp_path: Path) -> None:
    assert supervisor("--batch-size", "8", "--sample-MB", "40", "--num-workers", "3", max_rss_MB=150.0).run() == 0
    assert starts(tmp_path) == ["8 1 3 auto", "4 2 0 auto", "2 4 0 auto"]
    halved = ["start", "shortage", "halve", "caution"]
    assert events(tmp_path) == [*halved, *halved, "start", "done"]
    assert steps_done(tmp_path) == 10
    seen = [entry["rss_MB"] for entry in entries(tmp_path) if entry["event"] == "sample"]
    assert max(seen) > 150 > max(seen[-5:])


def test_a_healthy_run_is_left_alone(supervisor: Make, tmp_path: Path) -> None:
    assert supervisor(max_rss_MB=1000.0).run() == 0
    assert starts(tmp_path) == ["8 1 2 auto"]
    assert events(tmp_path) == ["start", "done"]


def test_a_leak_at_the_smallest_batch_is_cured_by_starting_anew(supervisor: Make, tmp_path: Path) -> None:
    assert supervisor("--batch-size", "1", "--leak-MB", "25", max_rss_MB=150.0).run() == 0
    assert set(starts(tmp_path)) == {"1 1 2 auto"} and len(starts(tmp_path)) > 1
    assert steps_done(tmp_path) == 10


def test_without_a_step_done_a_smallest_batch_is_left_to_try(supervisor: Make, tmp_path: Path) -> None:
    options = {"max_rss_MB": 1.0, "confirm": 1}
    assert supervisor("--batch-size", "1", "--steps", "1", **options).run() == 0
    assert starts(tmp_path) == ["1 1 2 auto"]
    assert events(tmp_path) == ["start", "helpless", "done"]


@pytest.mark.parametrize("words", ["RuntimeError: DefaultCPUAllocator: can't allocate memory", "MemoryError"])
def test_a_training_that_died_of_memory_goes_on_smaller(words: str, supervisor: Make, tmp_path: Path) -> None:
    assert supervisor("--batch-size", "8", "--crash-above", "4", "--words", words).run() == 0
    assert starts(tmp_path) == ["8 1 2 auto", "4 2 0 auto"]
    assert "out of memory" in events(tmp_path)


def test_a_batch_that_the_trainer_refuses_is_taken_back(supervisor: Make, tmp_path: Path) -> None:
    options = ["--batch-size", "2", "--sample-MB", "40", "--leak-MB", "12", "--refuse-below", "2"]
    assert supervisor(*options, max_rss_MB=180.0).run() == 0
    assert starts(tmp_path)[:3] == ["2 1 2 auto", "1 2 0 auto", "2 1 0 auto"]
    assert "1 2 0 auto" not in starts(tmp_path)[2:]
    assert "take back" in events(tmp_path)


def test_a_crash_is_followed_by_restarts_and_pauses_that_double(supervisor: Make, tmp_path: Path) -> None:
    began = time.monotonic()
    watched = supervisor("--crash-at", "3", "--steps", "3", max_restarts=2, back_off_seconds=0.3)
    # each start begins at the crash's own step and is done, so count starts that crash before that
    watched.command = watched.command.with_flags(steps=9, crash_above=1, status=7)
    assert watched.run() == 7
    assert time.monotonic() - began > 0.3 + 0.6
    assert events(tmp_path) == ["start", "crash", "start", "crash", "start", "give up"]


def test_a_restart_after_a_crash_does_not_start_over(supervisor: Make, tmp_path: Path) -> None:
    assert supervisor("--crash-at", "5", "--resume", "never", "--words", "boom").run() == 0
    assert starts(tmp_path) == ["8 1 2 never", "8 1 2 auto"]
    assert any("boom" in entry["message"] for entry in entries(tmp_path) if entry["event"] == "crash")


def test_a_users_mistake_is_not_repeated(supervisor: Make, tmp_path: Path) -> None:
    assert supervisor("--crash-at", "1", "--status", "2").run() == 2
    assert len(starts(tmp_path)) == 1


def test_a_shortage_of_the_whole_computer_relieves_it_too(supervisor: Make, tmp_path: Path) -> None:
    watched = supervisor("--steps", "20", min_available_MB=1e9, settle_seconds=0.5, min_batch=4)
    assert watched.run() == 0
    assert starts(tmp_path)[:2] == ["8 1 2 auto", "4 2 0 auto"]


def test_asked_to_stop_it_lets_the_training_save(supervisor: Make, tmp_path: Path) -> None:
    watched = supervisor("--steps", "600")
    threading.Timer(1.0, lambda: watched.stop.note(15, None)).start()
    assert watched.run() == 143
    assert events(tmp_path) == ["start", "stop"]
    assert watched.lines[-1] == "saved" and 0 < steps_done(tmp_path) < 600
    assert not psutil.pid_exists(next(e["pid"] for e in entries(tmp_path) if e["event"] == "start"))


FAMILY = """
import subprocess, sys, time
loader = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(loader.pid, flush=True)
time.sleep(600)
"""


def test_a_training_that_does_not_leave_is_killed_with_its_loaders_and_nobody_else() -> None:
    bystander = Child(Command((sys.executable, "-c", "import time; time.sleep(600)")), None)
    child = Child(Command((sys.executable, "-c", FAMILY)), None)
    while not child.lines:
        time.sleep(0.05)
    loader = psutil.Process(int(child.lines[0]))
    assert child.stop(seconds=0.3) == -9
    loader.wait(5)
    assert bystander.returncode() is None
    bystander.stop(5)


def test_a_slow_step_is_reported(supervisor: Make, tmp_path: Path) -> None:
    from monitor.measuring import Sample

    watched = supervisor()
    said = []
    for step, seconds in enumerate([1.0, 1.1, 0.9, 1.0, 1.0, 1.0, 1.2, 9.0, 9.0], 1):
        note = {"total": step, "seconds_per_step": seconds}
        seen = Sample(rss_MB=1, available_MB=1, swap_in_MB_s=0, note=note)
        said.append(watched.judge.slowness(seen))
        assert watched.judge.slowness(seen) == "", "one report a step"
    assert said == [""] * 7 + ["a step takes 9.00 s, usually 1.00 s"] * 2

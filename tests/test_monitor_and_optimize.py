"""The monitor's command line, on a fake trainer."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.monitor.conftest import FAKE, starts

ROOT = Path(__file__).parent.parent
FAST = ["--interval-seconds", "0.1", "--no-keep-awake"]


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "monitor_and_optimize.py", *FAST, "--log-file", str(folder / "log.jsonl"), *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.05)


def wait_for(path: Path) -> None:
    wait_until(path.exists)


def test_a_rescue_and_an_end_on_request(tmp_path: Path) -> None:
    fake = [sys.executable, str(FAKE), "--models-dir", str(tmp_path), "--sample-MB", "40", "--steps", "1000"]
    monitor = start(tmp_path, "--max-rss-MB", "200", "--", *fake)
    wait_for(tmp_path / "starts.txt")
    wait_until(lambda: len(starts(tmp_path)) == 2)
    wait_until(lambda: seen_in(tmp_path / "log.jsonl") >= {"halve", "caution"})
    time.sleep(1)  # until the second start has its signal handler
    monitor.send_signal(signal.SIGTERM)
    _, said = monitor.communicate(timeout=30)
    assert monitor.returncode == 143
    assert starts(tmp_path) == ["8 1 2 auto", "4 2 0 auto"]
    assert "batch 8 x 1 becomes batch 4 x 2" in said and said.count("saved") == 2


def test_attached_it_watches_and_does_not_act(tmp_path: Path) -> None:
    """The training ends once the monitor has seen steps and a shortage, however slow the computer is."""
    log, end = tmp_path / "log.jsonl", tmp_path / "end"
    fake = [sys.executable, str(FAKE), "--models-dir", str(tmp_path), "--sample-MB", "40", "--end-after", str(end)]
    with subprocess.Popen(fake, stderr=subprocess.DEVNULL) as training:
        wait_for(tmp_path / "state.json")
        monitor = start(tmp_path, "--max-rss-MB", "200", "--attach", str(training.pid))
        wait_until(lambda: {"shortage", "steps"} <= seen_in(log))
        end.touch()
        _, said = monitor.communicate(timeout=60)
        assert training.wait(10) == 0, "it was left alone"
    assert monitor.returncode == 0
    assert "(watching only)" in said and f"pid {training.pid} has ended" in said


def seen_in(log: Path) -> set[str]:
    """Events in the log; "steps" where a sample shows the trainer's steps."""
    lines = log.read_text().splitlines() if log.exists() else []
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    steps = {"steps" for entry in entries if entry["event"] == "sample" and entry["note"].get("total", 0) > 5}
    return {entry["event"] for entry in entries} | steps


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    for words, named in (
        ([], "give either a training"),
        (["--attach", "999999999"], "--attach 999999999"),
        (["--", "no-such-program"], "cannot start no-such-program"),
    ):
        monitor = start(tmp_path, *words)
        _, said = monitor.communicate(timeout=60)
        assert monitor.returncode == 2
        error = said.splitlines()[-1]
        assert error.startswith("error: ") and named in error and "Traceback" not in said

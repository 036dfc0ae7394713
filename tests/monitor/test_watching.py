"""What is measured, what counts as trouble, what is shown, and what is written down."""

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from monitor import children
from monitor.children import awake
from monitor.decisions import Judge, MonitorConfig, is_out_of_memory, shortage
from monitor.display import (
    Display,
    cropped,
    duration,
    fraction_done,
    line,
    memory_text,
    screen,
    seconds_left,
    speed_text,
)
from monitor.events import EventLog
from monitor.measuring import Meter, Sample, available_MB, killed_for_memory, other_trainings
from tc_common.errors import UserError
from tc_common.lock import lock_folder

NOTE: dict[str, Any] = {
    "epoch": 3, "epochs": 10, "step": 25, "steps": 50, "total": 125, "phase": "training", "samples": 8,
    "seconds_per_step": 2.0, "batch_size": 8, "grad_accumulation": 1, "loss": 0.5, "best_val_mae_K": 4.0,
}  # fmt: skip
FINE = Sample(rss_MB=900, available_MB=4000, swap_in_MB_s=0, note=NOTE)
LIMITS = MonitorConfig(max_rss_MB=1000, min_available_MB=500, max_swap_in_MB_s=20, confirm=3, settle_seconds=30)


def test_each_shortage_has_its_words() -> None:
    assert shortage(FINE, 99, LIMITS) == ""
    assert "holds 1001 MB of the 1000 MB" in shortage(replace(FINE, rss_MB=1001), 99, LIMITS)
    assert "400 MB are available" in shortage(replace(FINE, available_MB=400), 99, LIMITS)
    assert "21 MB/s are read back from swap" in shortage(replace(FINE, swap_in_MB_s=21), 99, LIMITS)


def test_the_whole_computers_shortage_is_not_blamed_on_a_training_that_just_began() -> None:
    assert shortage(replace(FINE, available_MB=400, swap_in_MB_s=21), 29, LIMITS) == ""
    assert shortage(replace(FINE, rss_MB=1001), 1, LIMITS)


def test_a_shortage_must_last() -> None:
    judge, short = Judge(LIMITS), replace(FINE, rss_MB=2000)
    seen = [short, short, FINE, short, short, short, short]
    assert [bool(judge.confirmed_shortage(sample, 99)) for sample in seen] == [False] * 5 + [True] * 2
    judge.forget_shortage()
    assert not judge.confirmed_shortage(short, 99)


def test_out_of_memory_is_distinguished_from_other_crashes() -> None:
    assert is_out_of_memory(-9, True, []) and not is_out_of_memory(-9, False, [])
    assert is_out_of_memory(1, False, ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"])
    assert not is_out_of_memory(1, True, ["ZeroDivisionError"])
    assert not is_out_of_memory(0, False, ["recovered: out of memory"])


def test_memory_of_a_process_and_its_children_is_seen(tmp_path: Path) -> None:
    child = [sys.executable, "-c", "b = bytearray(60_000_000); print(1, flush=True); input()"]
    before = Meter(os.getpid(), tmp_path).sample()
    with lock_folder(tmp_path), subprocess.Popen(child, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        sample = Meter(os.getpid(), tmp_path).sample()
        alone = Meter(process.pid, tmp_path).sample()
        process.communicate(b"\n")
    assert 60 < alone.rss_MB < 120
    assert sample.rss_MB == pytest.approx(before.rss_MB + 60, abs=30)
    assert sample.note["pid"] == os.getpid() and alone.note == {}, "only the family's own note counts"
    assert sample.swap_in_MB_s >= 0 and 0 < sample.available_MB < psutil.virtual_memory().total / 1e6


def test_a_container_has_less_than_its_computer(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/box\n")
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "memory.max").write_text("100000000\n")
    (tmp_path / "box" / "memory.current").write_text("80000000\n")
    (tmp_path / "box" / "memory.stat").write_text("anon 50000000\ninactive_file 30000000\n")
    assert available_MB(tmp_path, tmp_path / "own") == 50
    (tmp_path / "box" / "memory.max").write_text("max\n")
    assert available_MB(tmp_path, tmp_path / "own") > 100
    assert available_MB(tmp_path, tmp_path / "none") > 100


def test_the_systems_killings_are_counted(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("pswpin 3\noom_kill 5\n")
    assert killed_for_memory(tmp_path / "vmstat") == 5
    assert killed_for_memory(tmp_path / "none") == 0


def test_other_trainings_are_found_without_their_loaders_and_without_ours(tmp_path: Path) -> None:
    # a name for `-m` that only this test uses; the trainer forks a loader, which has its command line
    name = "a_trainer_of_this_test"
    (tmp_path / f"{name}.py").write_text("import os\nif os.fork():\n    os.wait()\nelse:\n    input()\n")
    with subprocess.Popen([sys.executable, "-m", name], cwd=tmp_path, stdin=subprocess.PIPE) as one:
        while not psutil.Process(one.pid).children():
            time.sleep(0.05)
        (loader,) = psutil.Process(one.pid).children()
        assert (
            str(tmp_path) in other_trainings(set(), name)[one.pid]
            and f"pid {one.pid} (since 20" in other_trainings(set(), name)[one.pid]
        )
        assert loader.pid not in other_trainings(set(), name)
        for ours, module in (({one.pid}, name), ({os.getpid()}, name), (set[int](), None)):
            assert not {one.pid, loader.pid} & set(other_trainings(ours, module))
        one.communicate(b"\n")


def test_progress_and_time_left() -> None:
    assert fraction_done(NOTE) == 0.25 and fraction_done({}) == 0
    assert seconds_left(0.05, 0.25, 100) == pytest.approx(375)
    assert math.isnan(seconds_left(0.25, 0.25, 100))
    assert [duration(s) for s in (7, 90, 4000, math.nan)] == ["7 s", "2 min", "1 h 07 min", "?"]


def test_screen_and_line_tell_progress_memory_and_speed() -> None:
    said = duration(5400), memory_text(FINE, 1000), speed_text(NOTE, 1.5)
    shown = "\n".join(screen(NOTE, *said, restarts=1))
    for text in ("25.0%", "1 h 30 min left", "epoch 3/10  step 25/50", "900 of 1000 MB", "4 samples/s"):
        assert text in shown
    assert len(shown.splitlines()) < 10
    assert "25.0% done" in line(NOTE, *said) and "\n" not in line(NOTE, *said)
    assert "not started yet" in "\n".join(screen({}, *said, restarts=0))


def test_a_terminal_is_drawn_anew_and_a_file_gets_few_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    display = Display("x", math.inf)
    display.draw(FINE, 1.0, 0, (), ())
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("monitor.display.SECONDS_BETWEEN_LINES", 0.0)
    display.draw(FINE, 1.0, 0, (), ())
    assert len(capsys.readouterr().out.splitlines()) == 1
    display.live = True
    display.draw(FINE, 1.0, 0, ("12:00:00 halved",), ("epoch 2/10",))
    drawn = capsys.readouterr().out
    assert drawn.startswith("\x1b[H\x1b[2J") and "halved" in drawn and "epoch 2/10" in drawn
    assert cropped("abcdef\ng\nh\n", columns=4, rows=3) == "abc\ng"


def test_every_line_of_the_log_is_json(tmp_path: Path) -> None:
    for _ in range(2):
        log = EventLog(tmp_path / "logs" / "monitor.jsonl")
        log.see_sample(3, FINE, math.nan)
        log.decide("halve", "batch 8 x 1 becomes batch 4 x 2")
        log.close()
    lines = [json.loads(text) for text in (tmp_path / "logs" / "monitor.jsonl").read_text().splitlines()]
    assert [entry["event"] for entry in lines] == ["sample", "halve"] * 2
    assert lines[0]["usual_seconds_per_step"] is None and lines[0]["note"]["total"] == 125
    with pytest.raises(UserError, match="--log-file .* cannot be written"):
        EventLog(tmp_path)


def helper(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_the_computer_is_kept_awake_while_it_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    helper(tmp_path, "caffeinate", f'echo "$@" > {tmp_path}/said; exec sleep 60')
    before = psutil.Process().children()
    with awake() as outcome:
        assert outcome == "caffeinate keeps the computer awake"
        assert (tmp_path / "said").read_text() == f"-i -w {os.getpid()}\n"
        assert len(psutil.Process().children()) == len(before) + 1
    assert psutil.Process().children() == before


def test_what_does_not_keep_it_awake_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with awake() as outcome:
        assert outcome == "the computer may sleep: it has no caffeinate nor systemd-inhibit"
    helper(tmp_path, "systemd-inhibit", "echo no bus >&2; exit 1")
    with awake() as outcome:
        assert outcome == "the computer may sleep: systemd-inhibit said 'no bus'"
    with awake(wanted=False) as outcome:
        assert "--no-keep-awake" in outcome
    assert set(children.HELPERS) == {"caffeinate", "systemd-inhibit"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("confirm", 0), ("max_rss_MB", 0.0), ("min_available_MB", math.nan), ("interval_seconds", 0.0), ("min_batch", 0)],
)
def test_settings_out_of_range_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"--{field.replace('_', '-')} must be"):
        MonitorConfig(**{field: value})

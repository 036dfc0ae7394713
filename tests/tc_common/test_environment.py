"""Peak memory is this program's own; what Linux alone offers has a fallback."""

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tc_common import checkpoints, environment
from tc_common.environment import peak_rss_MB, processor, usable_cores

ROOT = Path(__file__).parents[2]
STATED = "from tc_common.environment import peak_rss_MB\nheld = bytearray({megabytes} << 20)\nprint(peak_rss_MB())"
ALLOCATED_MB = 400


def stated_MB(megabytes: int) -> int:
    """What a process of its own says after holding that much."""
    program = STATED.format(megabytes=megabytes)
    return int(subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True))


def test_what_was_held_counts() -> None:
    assert ALLOCATED_MB <= stated_MB(ALLOCATED_MB) - stated_MB(0) <= 1.1 * ALLOCATED_MB


def test_the_peak_of_whoever_started_it_does_not() -> None:
    before = stated_MB(0)
    held = bytearray(ALLOCATED_MB << 20)
    assert peak_rss_MB() >= ALLOCATED_MB and len(held)
    assert stated_MB(0) < before + 20


def test_cores_are_counted_without_an_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(os, "sched_getaffinity"):
        assert usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_processor_and_peak_memory_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CPUINFO", "STATUS"):
        monkeypatch.setattr(environment, name, tmp_path / "none")
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert processor() == "arm"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(sys, "platform", "linux")
    assert peak_rss_MB() == pytest.approx(peak / 1024, rel=0.1)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_rss_MB() == pytest.approx(peak / 1024**2, abs=2)


def test_a_checkpoint_is_saved_where_the_page_cache_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("posix_fadvise", "POSIX_FADV_DONTNEED"):
        monkeypatch.delattr(os, name, raising=False)
    (tmp_path / "x").write_bytes(b"x")
    checkpoints._forget_cached(tmp_path / "x")


def test_a_benchmark_that_cannot_pin_itself_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import render_speed

    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(render_speed, "CAN_PIN", False)
    with render_speed.one_core():
        pass

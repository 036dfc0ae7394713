"""Memory, swap and speed of a running training, from psutil and the trainer's status file; other trainings."""

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from monitor.commands import TRAINERS, Command
from tc_common.lock import read_status

MB = 1e6


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at a training and its computer."""

    rss_MB: float
    """The trainer's resident memory, and what its loaders hold in addition."""
    available_MB: float
    swap_in_MB_s: float
    note: dict[str, Any]
    """The trainer's status: epoch, step, seconds per step; empty before the first."""

    @property
    def total_steps(self) -> int:
        """Optimiser steps since the training began."""
        return int(self.note.get("total", 0))


class Meter:
    """Takes samples of one process and its descendants.

    Args:
        pid: the trainer, or what launched it.
        models_dir: folder with its lock and status file.
    """

    def __init__(self, pid: int, models_dir: Path) -> None:
        self.process, self.models_dir = psutil.Process(pid), models_dir
        self.swapped_in, self.swapped_at = psutil.swap_memory().sin, time.monotonic()

    def sample(self) -> Sample:
        """Look now.

        Raises:
            psutil.NoSuchProcess: the process has ended.
        """
        if self.process.status() == psutil.STATUS_ZOMBIE:  # ended, and its parent has not looked yet
            raise psutil.NoSuchProcess(self.process.pid)
        family = [self.process, *self.process.children(recursive=True)]
        return Sample(
            rss_MB=sum(_held_MB(process, first=process is self.process) for process in family),
            available_MB=available_MB(),
            swap_in_MB_s=self._swap_in_MB_s(),
            note=self._note({process.pid for process in family}),
        )

    def _swap_in_MB_s(self) -> float:
        swapped_in, now = psutil.swap_memory().sin, time.monotonic()
        rate = (swapped_in - self.swapped_in) / MB / max(now - self.swapped_at, 1e-3)
        self.swapped_in, self.swapped_at = swapped_in, now
        return max(rate, 0.0)

    def _note(self, family: set[int]) -> dict[str, Any]:
        """The status file in the models folder, if a process of this family wrote it."""
        note = read_status(self.models_dir)
        return note if note.get("pid") in family else {}


def _held_MB(process: psutil.Process, first: bool) -> float:
    """Resident memory of the trainer; of a loader, only what it does not share with the trainer it was forked from."""
    try:
        if first:
            return float(process.memory_info().rss / MB)
        return float(process.memory_full_info().uss / MB)
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        if first:
            raise
        return 0.0


def available_MB(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Memory that can be had without swapping: of the computer, or of the container (cgroup v2) if that is less."""
    free_MB = float(psutil.virtual_memory().available / MB)
    try:
        inside = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
        folder = root / inside.lstrip("/")
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, StopIteration):
        return free_MB  # no container of this kind
    if limit == "max":
        return free_MB
    return min(free_MB, (int(limit) - used + int(statistics["inactive_file"])) / MB)


def killed_for_memory(path: Path = Path("/proc/vmstat")) -> int:
    """Processes that Linux has killed for lack of memory since it started; 0 where it does not say."""
    try:
        counts = dict(line.split() for line in path.read_text().splitlines())
    except OSError:
        return 0
    return int(counts.get("oom_kill", 0))


def other_trainings(ours: set[int], module: str | None) -> dict[int, str]:
    """Running trainers by pid, in words; loaders are left out.

    Args:
        ours: processes that do not count, nor their children.
        module: also counts as a trainer (what follows `-m` in our own command).
    """
    wanted = {*TRAINERS, module} - {None}
    found = {}
    for process in psutil.process_iter(["ppid", "cmdline", "cwd", "create_time"]):
        words = process.info["cmdline"] or []
        watches = any(word.endswith("monitor_and_optimize.py") for word in words)
        if Command(tuple(words)).module in wanted and not watches and process.pid not in ours:
            found[process.pid] = process.info
    return {
        pid: f"pid {pid} (since {datetime.fromtimestamp(info['create_time']):%Y-%m-%d %H:%M}, in {info['cwd']}): "
        + " ".join(info["cmdline"])
        for pid, info in sorted(found.items())
        if info["ppid"] not in {*found, *ours}
    }

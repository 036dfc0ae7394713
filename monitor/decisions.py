"""Limits of the monitor, and when a training exceeds them: pure functions of what was measured."""

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from monitor.measuring import Sample
from tc_common.errors import reports_out_of_memory

# Steps are compared with the run's own median once it has shown its pace.
STEPS_TO_KNOW_THE_PACE = 5
REMEMBERED = 200
LEAST = {
    "max_rss_MB": 1, "min_available_MB": 0, "max_swap_in_MB_s": 0, "slow_factor": 1, "confirm": 1, "settle_seconds": 0,
    "stop_seconds": 0, "min_batch": 1, "max_restarts": 0, "back_off_seconds": 0,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MonitorConfig:
    """Limits, and what the monitor may do."""

    attach: int | None = None
    """Process id of a training that runs already: watch it and do nothing."""
    max_rss_MB: float = math.inf
    """Memory of the training and its loaders beyond which it is relieved, in MB (set it below a hard limit)."""
    min_available_MB: float = 500.0
    """Memory that the computer (or its container) must keep available, in MB (0 = do not look)."""
    max_swap_in_MB_s: float = 20.0
    """Rate of reading back from swap beyond which the computer is busy with that alone, in MB/s."""
    slow_factor: float = 4.0
    """A step of this many times the run's median is reported (>= 1)."""
    confirm: int = 2
    """Samples in a row that must show a shortage (>= 1)."""
    settle_seconds: float = 30.0
    """Seconds after a start in which the whole computer's shortage is not yet blamed on the training (>= 0)."""
    stop_seconds: float = 60.0
    """Seconds a training gets to save and leave before it is killed (>= 0; its last checkpoint stays good)."""
    min_batch: int = 1
    """Smallest batch to go down to (>= 1)."""
    max_restarts: int = 5
    """Crashes after which the monitor gives up (>= 0)."""
    back_off_seconds: float = 5.0
    """Pause before the first restart after a crash, doubled each time up to 5 minutes (>= 0)."""
    interval_seconds: float = 2.0
    """Seconds between samples (> 0)."""
    log_file: Path = Path("results/monitor.jsonl")
    """What was seen and decided, a JSON object a line, appended."""
    keep_awake: bool = True
    """Keep the computer from sleeping (caffeinate, systemd-inhibit)."""

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"--{name.replace('_', '-')} must be at least {least:g}, got {getattr(self, name)}")
        if not 0 < self.interval_seconds < math.inf:
            raise ValueError(f"--interval-seconds must be > 0 and finite, got {self.interval_seconds}")


def shortage(sample: Sample, seconds_since_start: float, config: MonitorConfig) -> str:
    """The shortage in one sentence; empty if there is none."""
    if sample.rss_MB > config.max_rss_MB:
        return f"the training holds {sample.rss_MB:.0f} MB of the {config.max_rss_MB:.0f} MB it may"
    if seconds_since_start < config.settle_seconds:
        return ""
    if sample.available_MB < config.min_available_MB:
        return f"{sample.available_MB:.0f} MB are available, {config.min_available_MB:.0f} MB must stay so"
    if sample.swap_in_MB_s > config.max_swap_in_MB_s:
        return f"{sample.swap_in_MB_s:.0f} MB/s are read back from swap"
    return ""


class Judge:
    """Confirms a shortage over several samples, and knows the pace of the run."""

    def __init__(self, config: MonitorConfig) -> None:
        self.config = config
        self.short_in_a_row = 0
        self.seconds_per_step: list[float] = []
        self.judged_step = 0

    def confirmed_shortage(self, sample: Sample, seconds_since_start: float) -> str:
        """The shortage, once it was seen `confirm` times in a row; else empty."""
        reason = shortage(sample, seconds_since_start, self.config)
        self.short_in_a_row = self.short_in_a_row + 1 if reason else 0
        return reason if self.short_in_a_row >= self.config.confirm else ""

    def forget_shortage(self) -> None:
        """A new child starts."""
        self.short_in_a_row = 0

    def slowness(self, sample: Sample) -> str:
        """One sentence if the last steps took far longer than the run's median; else empty."""
        seconds = sample.note.get("seconds_per_step")
        if seconds is None or sample.total_steps == self.judged_step:
            return ""
        self.judged_step = sample.total_steps
        usual = self.usual_seconds_per_step()
        self.seconds_per_step = [*self.seconds_per_step, float(seconds)][-REMEMBERED:]
        if len(self.seconds_per_step) > STEPS_TO_KNOW_THE_PACE and seconds > self.config.slow_factor * usual:
            return f"a step takes {seconds:.2f} s, usually {usual:.2f} s"
        return ""

    def usual_seconds_per_step(self) -> float:
        """Median over the run; NaN before the first step."""
        return median(self.seconds_per_step) if self.seconds_per_step else math.nan


def is_out_of_memory(status: int, killed_for_memory: bool, last_lines: list[str]) -> bool:
    """Whether a child that the monitor did not stop died for lack of memory.

    Args:
        status: its exit status; negative: killed by that signal.
        killed_for_memory: whether the system killed some process for memory meanwhile.
        last_lines: what it said.
    """
    said_so = reports_out_of_memory("\n".join(last_lines))
    return (status == -9 and killed_for_memory) or (status != 0 and said_so)

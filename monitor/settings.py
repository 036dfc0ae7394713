"""Flags of `monitor_and_optimize.py`."""

import math
from dataclasses import dataclass
from pathlib import Path

LEAST = {
    "max_rss_MB": 1.0,
    "min_available_MB": 0.0,
    "max_swap_in_MB_s": 0.0,
    "slow_factor": 1.0,
    "confirm": 1,
    "settle_seconds": 0.0,
    "stop_seconds": 0.0,
    "min_batch": 1,
    "max_restarts": 0,
    "back_off_seconds": 0.0,
}


@dataclass(frozen=True, kw_only=True)
class MonitorConfig:
    """What counts as trouble, and how far the monitor may go."""

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

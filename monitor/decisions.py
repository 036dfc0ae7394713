"""When a training is in trouble: pure functions of what was measured."""

import math
from statistics import median

from monitor.measuring import Sample
from monitor.settings import MonitorConfig
from tc_common.errors import reports_out_of_memory

# Steps are compared with the run's own median once it has shown its pace.
STEPS_TO_KNOW_THE_PACE = 5
REMEMBERED = 200


def shortage(sample: Sample, seconds_since_start: float, config: MonitorConfig) -> str:
    """What is short, in words; empty if nothing is."""
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
        """In words, if the steps since the last sample took far longer than the run's median; else empty."""
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

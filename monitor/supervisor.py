"""Supervise a training: start it, sample it, and restart it where that helps."""

import math
import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from monitor.children import Child
from monitor.commands import Command, Cut
from monitor.decisions import Judge, MonitorConfig, is_out_of_memory
from monitor.display import Display
from monitor.events import EventLog
from monitor.measuring import Meter, Sample, killed_for_memory, other_trainings
from tc_common.errors import UserError
from tc_common.signals import StopRequest

LONGEST_BACK_OFF_S = 300.0
SECONDS_BETWEEN_SEARCHES = 30.0
# A trainer's exit status after a user's mistake (`tc_common.cli`): starting again would only repeat it.
USERS_MISTAKE = 2


@dataclass
class Outcome:
    """How one start of the training ended."""

    status: int
    shortage: str = ""
    """Why the monitor stopped it."""
    asked: bool = False
    """Whether the monitor itself was asked to stop."""
    killed_for_memory: bool = False
    """Whether the system killed some process for memory meanwhile."""


class Supervisor:
    """One training, from its first start to its last."""

    def __init__(self, command: Command, config: MonitorConfig, log: EventLog, stop: StopRequest) -> None:
        self.command, self.config, self.log, self.stop = command, config, log, stop
        self.judge, self.display = Judge(config), Display(str(command), config.max_rss_MB)
        self.last: Sample | None = None
        """Of this start, with the trainer's status."""
        self.steps_at_start: int | None = None
        """Steps done when this start was first seen to take one."""
        self.said_helpless = False
        self.lines: list[str] = []
        """What the child said last."""
        self.restarts = 0
        self.unproved: Cut | None = None
        """The batch before a smaller one with which no step was taken yet."""
        self.known_others: set[int] = set()
        self.searched_at = -math.inf

    def run(self) -> int:
        """Supervise the training until it is done, given up or stopped; returns the exit status."""
        while True:
            kills_before = killed_for_memory()
            outcome = self._once()
            outcome.killed_for_memory = killed_for_memory() > kills_before
            status = self._after(outcome)
            if status is not None:
                return status

    def _once(self) -> Outcome:
        """One start of the training, up to its end."""
        self.last, self.steps_at_start, self.said_helpless = None, None, False
        self.judge.forget_shortage()
        child = Child(self.command, None if self.display.live else sys.stderr)
        self.log.decide("start", f"started pid {child.pid}: {self.command}", pid=child.pid)
        self.display.begin()
        try:
            return self._watch(child)
        finally:
            if child.returncode() is None:
                child.stop(self.config.stop_seconds)
            self.lines = list(child.lines)

    def _watch(self, child: Child) -> Outcome:
        meter, started = Meter(child.pid, self.command.models_dir), time.monotonic()
        while (status := child.returncode(self.config.interval_seconds)) is None:
            if self.stop.number:
                self.log.decide("stop", f"asked to stop by signal {self.stop.number}: the training saves and leaves")
                return Outcome(child.stop(self.config.stop_seconds), asked=True)
            try:
                sample = meter.sample()
            except psutil.NoSuchProcess:
                continue
            self._take_in(sample, child)
            shortage = self.judge.confirmed_shortage(sample, time.monotonic() - started)
            if shortage and self._can_relieve(shortage):
                self.log.decide("shortage", f"{shortage}: the training saves and leaves", rss_MB=sample.rss_MB)
                return Outcome(child.stop(self.config.stop_seconds), shortage=shortage)
        return Outcome(status)

    def _take_in(self, sample: Sample, child: Child) -> None:
        """Store, log and show a sample."""
        self._find_other_trainings(child)
        if sample.note:
            self.last = sample
        if self.steps_at_start is None and "total" in sample.note:
            self.steps_at_start, self.unproved = sample.total_steps, None
        log_sample(sample, self.judge, self.log, child.pid)
        known = sample if sample.note or self.last is None else replace(sample, note=self.last.note)
        self.display.draw(known, self.judge.usual_seconds_per_step(), self.restarts, self.log.recent, child.lines)

    def _can_relieve(self, shortage: str) -> bool:
        """Whether stopping helps: a smaller batch is possible, or a new start has something to go on from."""
        if self._smaller() is not None or self._has_progress():
            return True
        if not self.said_helpless:
            self.said_helpless = True
            self.log.decide("helpless", f"{shortage}; there is nothing left to reduce and no step done yet")
        return False

    def _has_progress(self) -> bool:
        return (
            self.last is not None and self.steps_at_start is not None and self.last.total_steps > self.steps_at_start
        )

    def _cut(self) -> Cut | None:
        """Batch size and accumulation: from the trainer's status, else from the command."""
        status = self.last.note if self.last else {}
        batch = status.get("batch_size", self.command.flag("batch_size"))
        accumulation = status.get("grad_accumulation", self.command.flag("grad_accumulation") or 1)
        return Cut(int(batch), int(accumulation)) if batch else None

    def _smaller(self) -> Cut | None:
        cut = self._cut()
        return cut.halved(self.config.min_batch) if cut else None

    def _use(self, cut: Cut) -> None:
        self.command = self.command.with_flags(
            batch_size=cut.batch_size, grad_accumulation=cut.grad_accumulation, num_workers=0
        )

    def _after(self, outcome: Outcome) -> int | None:
        """Decide what follows; None to start again."""
        if outcome.asked:
            return 128 + self.stop.number
        if outcome.status == 0:
            self.log.decide("done", "the training is done")
            return 0
        if outcome.shortage or is_out_of_memory(outcome.status, outcome.killed_for_memory, self.lines):
            return self._relieve(outcome)
        if outcome.status == USERS_MISTAKE and self.unproved:
            self._take_back(self.unproved)
            return None
        if outcome.status in (USERS_MISTAKE, 128 + signal.SIGINT, 128 + signal.SIGTERM):
            self.log.decide("end", f"the training left with status {outcome.status}: starting again would not help")
            return outcome.status
        return self._after_crash(outcome.status)

    def _relieve(self, outcome: Outcome) -> int | None:
        """Halve the batch at the same samples per step, without loaders; at the smallest, only start anew."""
        cut, smaller = self._cut(), self._smaller()
        if not outcome.shortage:
            self.log.decide("out of memory", f"the training ran out of memory (status {outcome.status})")
        if smaller is None and not outcome.shortage:
            return self._after_crash(outcome.status)
        if smaller is None:
            self.log.decide("restart", "the batch cannot be halved: starting again frees what has piled up")
        else:
            self.unproved = cut
            self._use(smaller)
            self.log.decide("halve", f"{cut} becomes {smaller}, no loader processes")
            self._warn_of_coupling()
        self._resume_own_checkpoint()
        return None

    def _warn_of_coupling(self) -> None:
        coupling = self.last.note.get("batch_coupling", []) if self.last else []
        if coupling:
            self.log.decide(
                "caution", f"the model has {' and '.join(coupling)}: cut otherwise, its result differs slightly"
            )

    def _take_back(self, cut: Cut) -> None:
        """The trainer refuses so small a batch (batch normalisation needs two): back to the last one, for good."""
        self.log.decide("take back", f"the training refuses so small a batch: back to {cut}")
        self._use(cut)
        self.config, self.unproved = replace(self.config, min_batch=cut.batch_size), None

    def _after_crash(self, status: int) -> int | None:
        self.restarts += 1
        if self.restarts > self.config.max_restarts:
            self.log.decide("give up", f"crashed (status {status}) once more than --max-restarts allows")
            return status if status > 0 else 128 - status
        pause_s = min(self.config.back_off_seconds * 2 ** (self.restarts - 1), LONGEST_BACK_OFF_S)
        said = self.lines[-1] if self.lines else ""
        self.log.decide("crash", f"crashed (status {status}), starting again in {pause_s:.0f} s: {said}")
        self._resume_own_checkpoint()
        return self._pause(pause_s)

    def _pause(self, seconds: float) -> int | None:
        """Wait; the exit status if the monitor is asked to stop meanwhile."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.stop.number:
                return 128 + self.stop.number
            time.sleep(min(0.2, seconds))
        return None

    def _resume_own_checkpoint(self) -> None:
        """From the first step on the folder's checkpoint is this run's: `--resume never` must not start over again."""
        if self.steps_at_start is not None and self.command.flag("resume"):
            self.command = self.command.with_flags(resume="auto")

    def _find_other_trainings(self, child: Child) -> None:
        """Now and then, name other trainings of this project."""
        if time.monotonic() - self.searched_at < SECONDS_BETWEEN_SEARCHES:
            return
        self.searched_at = time.monotonic()
        for pid, other in other_trainings({child.pid, os.getpid()}, self.command.module).items():
            if pid not in self.known_others:
                self.known_others.add(pid)
                self.log.decide("other training", f"another training runs here, look at {other}", pid=pid)


def watch(pid: int, config: MonitorConfig, log: EventLog, stop: StopRequest) -> int:
    """Watch a process until it ends or the monitor is asked to stop; returns the exit status.

    Raises:
        UserError: there is no such process, or it is another user's.
    """
    try:
        process = psutil.Process(pid)
        command, folder = Command(tuple(process.cmdline())), Path(process.cwd())
    except (psutil.NoSuchProcess, psutil.AccessDenied) as error:
        raise UserError(
            f"--attach {pid}: {error.msg or 'not a process of yours'}; see the pids with: ps ax"
        ) from error
    log.decide("attach", f"watching pid {pid}, without acting: {command}", pid=pid)
    meter, judge = Meter(pid, folder / command.models_dir), Judge(config)
    display, started = Display(str(command), config.max_rss_MB), time.monotonic()
    while not stop.number:
        try:
            sample = meter.sample()
        except psutil.NoSuchProcess:
            log.decide("end", f"pid {pid} has ended")
            return 0
        log_sample(sample, judge, log, pid)
        if shortage := judge.confirmed_shortage(sample, time.monotonic() - started):
            judge.forget_shortage()
            log.decide("shortage", f"{shortage} (watching only)")
        display.draw(sample, judge.usual_seconds_per_step(), 0, log.recent, ())
        time.sleep(config.interval_seconds)
    return 128 + stop.number


def log_sample(sample: Sample, judge: Judge, log: EventLog, pid: int) -> None:
    """Note a sample, and that its steps are slow where they are."""
    log.see_sample(pid, sample, judge.usual_seconds_per_step())
    if slow := judge.slowness(sample):
        log.decide("slow", slow)

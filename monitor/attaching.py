"""Watches a training that somebody else started; it is never signalled, stopped or changed."""

import time
from pathlib import Path

import psutil

from monitor.commands import Command
from monitor.decisions import Judge
from monitor.display import Display
from monitor.events import EventLog
from monitor.measuring import Meter, Sample
from monitor.settings import MonitorConfig
from tc_common.errors import UserError
from tc_common.interruption import Interruption


def watch(pid: int, config: MonitorConfig, log: EventLog, wish: Interruption) -> int:
    """Look at the process until it ends or the monitor is asked to stop; returns the exit status to leave with.

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
    while not wish.number:
        try:
            sample = meter.sample()
        except psutil.NoSuchProcess:
            log.decide("end", f"pid {pid} has ended")
            return 0
        _tell(sample, judge, log, time.monotonic() - started, pid)
        display.draw(sample, judge.usual_seconds_per_step(), 0, log.recent, ())
        time.sleep(config.interval_seconds)
    return 128 + wish.number


def _tell(sample: Sample, judge: Judge, log: EventLog, seconds_since_start: float, pid: int) -> None:
    log.see_sample(pid, sample, judge.usual_seconds_per_step())
    shortage = judge.confirmed_shortage(sample, seconds_since_start)
    if shortage:
        judge.forget_shortage()
        log.decide("shortage", f"{shortage} (watching only)")
    slow = judge.slowness(sample)
    if slow:
        log.decide("slow", slow)

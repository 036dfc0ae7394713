"""Supervise a training: halve the batch when memory runs short, restart after a crash, keep the computer awake.

    python monitor_and_optimize.py [options] -- python -m dinov3_pipeline.train [flags]
    python monitor_and_optimize.py --attach PID        # watch a training that runs already, without acting

Under a shortage of memory the training is asked to save and leave, and goes on from there with half the batch and
twice the gradient accumulation (the same samples per optimiser step) and no loader processes. Samples
and decisions are logged to `results/monitor.jsonl`. More: docs/monitor.md.
"""

import sys
from collections.abc import Sequence

from monitor.children import awake
from monitor.commands import split_at_dashes
from monitor.decisions import MonitorConfig
from monitor.events import EventLog
from monitor.supervisor import Supervisor, watch
from tc_common.cli import parse, run
from tc_common.errors import UserError
from tc_common.signals import graceful_shutdown

PROGRAM = "python monitor_and_optimize.py"


def main(arguments: Sequence[str]) -> None:
    """Start and supervise the command behind `--`, or watch another process."""
    own, command = split_at_dashes(arguments)
    config = parse(MonitorConfig, prog=PROGRAM, description=__doc__ or "", args=own)
    if (command is None) == (config.attach is None):
        raise UserError(f"give either a training, {PROGRAM} -- python -m …, or --attach PID")
    log = EventLog(config.log_file, echo=None if sys.stdout.isatty() else sys.stderr)
    with graceful_shutdown() as stop:
        if command is None:
            assert config.attach is not None
            raise SystemExit(watch(config.attach, config, log, stop))
        with awake(config.keep_awake) as outcome:
            log.decide("awake", outcome)
            status = Supervisor(command, config, log, stop).run()
        if sys.stdout.isatty():
            print(log.recent[-1])  # the screen was drawn before it
        raise SystemExit(status)


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))

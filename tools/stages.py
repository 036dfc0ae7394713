"""Stages of a study: a command each, with what it reads and writes; which are done, and running those that are not.

A stage is done when its record says that this command has ended well, that the stages which made its inputs were then
what they are now, and its outputs are there. Records and logs are in the work folder; nothing else is remembered.
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tc_common.errors import UserError
from tc_common.files import printable, read_json, write_json
from tc_common.signals import Stopped, leave_on_signals

ROOT = Path(__file__).resolve().parents[1]
State: TypeAlias = Literal["done", "to do", "begun", "changed"]
RECORDS, LOGS = "records", "logs"
SECONDS_TO_SAVE = 120.0
"""A training that is asked to stop saves a checkpoint first."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One command of a study."""

    name: str
    """Where it belongs and what it makes, such as `stratified/alignn`."""
    command: tuple[str, ...]
    """What follows `python`; paths below the project are relative to it."""
    inputs: tuple[Path, ...] = ()
    """Files and folders that it reads and that other stages make."""
    outputs: tuple[Path, ...] = ()
    """Files and folders that it alone writes."""
    minutes: float
    """As measured on one core."""
    publishes: bool = False
    """It writes below `results/` and `models/`, or reads what was written there last."""

    def line(self) -> str:
        """The command as one types it."""
        return f"python {shlex.join(self.command)}"


@dataclass(frozen=True)
class Record:
    """What the work folder remembers of a stage."""

    folder: Path
    stage: Stage
    key: str

    @property
    def path(self) -> Path:
        """Its file."""
        return self.folder / RECORDS / f"{_file_name(self.stage)}.json"

    @property
    def log(self) -> Path:
        """All that its commands have printed."""
        return self.folder / LOGS / f"{_file_name(self.stage)}.log"

    def read(self) -> dict[str, Any]:
        """Content; empty where the stage never began, or the file is damaged, so that the stage runs again."""
        try:
            return read_json(self.path)
        except UserError:
            return {}

    def write(self, **facts: Any) -> None:
        """Replace the content."""
        write_json(self.path, {"stage": self.stage.name, "command": self.stage.line(), "key": self.key, **facts})

    def state(self) -> State:
        """`begun`: it was stopped and can go on; `changed`: it was run with another command or other inputs."""
        content = self.read()
        if not content:
            return "to do"
        if content.get("key") != self.key:
            return "changed"
        if content.get("status") != "done":
            return "begun"
        return "done" if all(output.exists() for output in self.stage.outputs) else "to do"


def _file_name(stage: Stage) -> str:
    return stage.name.replace("/", ".")


def records_of(stages: Sequence[Stage], folder: Path) -> dict[str, Record]:
    """The record of every stage by its name; keys follow commands through the stages.

    Raises:
        ValueError: an input is no output of an earlier stage, or two stages have one name.
    """
    records: dict[str, Record] = {}
    for stage in stages:
        if stage.name in records:
            raise ValueError(f"two stages are called {stage.name}")
        before = sorted({records[name].key for name in needed_by(stage, stages)})
        digest = hashlib.sha256(json.dumps([stage.command, before]).encode())
        records[stage.name] = Record(folder, stage, digest.hexdigest())
    return records


def needed_by(stage: Stage, stages: Sequence[Stage]) -> list[str]:
    """Names of the earlier stages that make the inputs of one.

    Raises:
        ValueError: none of them makes one of the inputs.
    """
    earlier = stages[: [each.name for each in stages].index(stage.name)]
    names: dict[str, None] = {}
    for path in stage.inputs:
        makers = [each.name for each in earlier if any(_related(path, output) for output in each.outputs)]
        if not makers:
            raise ValueError(f"{stage.name} reads {path}, which no earlier stage writes")
        names |= dict.fromkeys(makers)
    return list(names)


def _related(path: Path, output: Path) -> bool:
    return path == output or output in path.parents or path in output.parents


def selected(stages: Sequence[Stage], only: Sequence[str], until: str | None) -> list[Stage]:
    """The stages whose names fit one of the patterns, no later than the last that fits `until`.

    Raises:
        UserError: a pattern fits none.
    """
    for pattern in (*only, *([until] if until else [])):
        if not any(fits(stage, pattern) for stage in stages):
            raise UserError(f"no stage is called {printable(pattern)}; python -m tools.study --list shows the names")
    chosen = list(stages)
    if until:
        chosen = chosen[: 1 + max(number for number, stage in enumerate(stages) if fits(stage, until))]
    return [stage for stage in chosen if not only or any(fits(stage, pattern) for pattern in only)]


def fits(stage: Stage, pattern: str) -> bool:
    """Whether a shell pattern fits a stage's name, or its end: `alignn` fits `stratified/alignn`."""
    return fnmatch(stage.name, pattern) or fnmatch(stage.name, f"*/{pattern}")


def listing(stages: Sequence[Stage], records: dict[str, Record]) -> str:
    """A row for each stage with its state and minutes, and what remains."""
    states = {stage.name: records[stage.name].state() for stage in stages}
    width = max(len(stage.name) for stage in stages)
    rows = [f"{states[stage.name]:<8} {stage.name:<{width}} {stage.minutes:6.1f} min" for stage in stages]
    left = [stage for stage in stages if states[stage.name] != "done"]
    minutes = sum(stage.minutes for stage in left)
    return "\n".join([*rows, f"{len(left)} of {len(stages)} stages remain: {minutes:.0f} minutes of one core"])


def run_stages(chosen: Sequence[Stage], stages: Sequence[Stage], folder: Path, python: str, threads: int = 1) -> None:
    """Run the chosen stages that are not done, one after another.

    Args:
        python: interpreter of the commands.
        threads: of each of them.

    Raises:
        UserError: a stage failed, with the path of its log; or it needs one that is neither done nor chosen.
    """
    records = records_of(stages, folder)
    for stage in chosen:
        record = records[stage.name]
        for name in needed_by(stage, stages):
            if (state := records[name].state()) != "done":
                raise UserError(f"{stage.name} needs {name} ({state}); run that first: --only {name}")
        if (state := record.state()) == "done":
            print(f"done     {stage.name}", flush=True)
            continue
        print(f"run      {stage.name}  (about {stage.minutes:.1f} min; {record.log})", flush=True)
        if state == "changed":
            clear(stage, folder)
        run_stage(record, python, threads)


def clear(stage: Stage, folder: Path) -> None:
    """Delete what a stage wrote into the work folder with another command."""
    for path in (output for output in stage.outputs if folder in output.parents):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def run_stage(record: Record, python: str, threads: int) -> None:
    """Run one command, its output appended to its log.

    Raises:
        UserError: it failed, or did not write what it should.
        Stopped: SIGINT or SIGTERM; the command was asked to stop too, and saved its checkpoint.
    """
    stage, started = record.stage, time.monotonic()
    record.write(status="running")
    record.log.parent.mkdir(parents=True, exist_ok=True)
    with record.log.open("a", encoding="utf-8") as log:
        log.write(f"$ {stage.line()}\n")
        log.flush()
        status = _finished([python, *stage.command], log, {**os.environ, "OMP_NUM_THREADS": str(threads)})
    if status:
        raise UserError(f"{stage.name} failed with status {status}: {last_line(record.log)}; log: {record.log}")
    if missing := [str(path) for path in stage.outputs if not path.exists()]:
        raise UserError(f"{stage.name} ended without writing {missing[0]}; log: {record.log}")
    record.write(status="done", minutes=round((time.monotonic() - started) / 60, 2))


def _finished(words: list[str], log: Any, environment: Mapping[str, str]) -> int:
    """Exit status of a command; a signal to the study is passed on to it."""
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        with leave_on_signals():
            return process.wait()
    except Stopped as stopped:
        process.send_signal(int(stopped.code or 0) - 128)
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_SAVE)
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return printable(lines[-1].strip())[:300] if lines else "it printed nothing"

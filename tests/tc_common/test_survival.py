"""Long tests of what must never be lost: killed writers, memory that creeps."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

from tc_common.checkpoints import load_checkpoint, remove_stale, save_checkpoint
from tc_common.errors import UserError
from tc_common.runs import run_training
from tests.tc_common.runs import ROOT, creep_MB
from tests.tc_common.toy import ToyConfig, toy_config, toy_task

pytestmark = pytest.mark.slow

KILLS = 200
BLIND_KILLS = 20
# Forks, for every line "kind number", a writer of 50 MB checkpoints, each full of its own number, and says its end;
# `blind` writes them straight to their place.
WRITERS = """
import os, sys
from pathlib import Path
import torch
from tc_common.checkpoints import save_checkpoint
rest = {"optimizer_state_dict": {}, "scheduler_state_dict": {}, "rng_state": [], "val_loss": 0.0}
def write(path, kind, number):
    weight = torch.empty(12_500_000)
    print(f"pid {os.getpid()}", flush=True)
    while True:
        number += 1
        content = {"epoch": number, "model_state_dict": {"weight": weight.fill_(number)}, **rest}
        torch.save(content, path) if kind == "blind" else save_checkpoint(path, content)
        print(f"wrote {number}", flush=True)
torch.set_num_threads(1)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        write(Path(sys.argv[1]), line.split()[0], int(line.split()[1]))
    os.waitpid(pid, 0)
    print("dead", flush=True)
"""


@contextmanager
def writers(path: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", WRITERS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        yield process
        process.communicate()


def kill_while_writing(writers: "subprocess.Popen[str]", kind: str, number: int, wait_s: float) -> int:
    """Let a writer go on after checkpoint `number` and kill it after a while; returns the last that it finished."""
    assert writers.stdin is not None and writers.stdout is not None
    writers.stdin.write(f"{kind} {number}\n")
    writers.stdin.flush()
    pid = int(writers.stdout.readline().removeprefix("pid "))
    time.sleep(wait_s)
    os.kill(pid, signal.SIGKILL)
    said = list(iter(writers.stdout.readline, "dead\n"))
    return int(said[-1].removeprefix("wrote ")) if said else number


def is_whole(path: Path, at_least: int) -> bool:
    """Whether the checkpoint can be read, is of one piece, and is not older than one that was finished."""
    try:
        content = load_checkpoint(path)
    except UserError:
        return False
    weight = content["model_state_dict"]["weight"]
    return content["epoch"] >= at_least and bool((weight == content["epoch"]).all())


@pytest.mark.timeout(3600)
def test_a_killed_writer_never_costs_a_checkpoint(tmp_path: Path) -> None:
    path, draw = tmp_path / "x.pth", random.Random(0)
    first = {"epoch": 0, "model_state_dict": {"weight": torch.zeros(12_500_000)}, "optimizer_state_dict": {}}
    save_checkpoint(path, {**first, "scheduler_state_dict": {}, "rng_state": [], "val_loss": 0.0})
    number, readable, midway = 0, 0, 0
    with writers(path) as process:
        for _ in range(KILLS):
            number = kill_while_writing(process, "atomic", number, draw.uniform(0, 0.5))
            readable += is_whole(path, at_least=number)
            number = load_checkpoint(path)["epoch"]
            midway += len(list(tmp_path.glob(".x.pth.*.tmp")))
            remove_stale(tmp_path, "x")
    assert readable == KILLS
    assert midway > KILLS / 4, "most kills must fall while something is being written"
    print(f"{readable} of {KILLS} readable, {midway} killed midway, {number} checkpoints written")


@pytest.mark.timeout(600)
def test_the_kills_do_destroy_a_checkpoint_that_is_written_in_place(tmp_path: Path) -> None:
    draw, path, whole = random.Random(0), tmp_path / "x.pth", 0
    with writers(path) as process:
        for _ in range(BLIND_KILLS):
            kill_while_writing(process, "blind", 0, draw.uniform(0.05, 0.5))
            whole += is_whole(path, at_least=0)
    assert whole < BLIND_KILLS
    print(f"{BLIND_KILLS - whole} of {BLIND_KILLS} lost")


def train_toy(config: ToyConfig) -> None:
    run_training(toy_task(config), config)


def test_memory_does_not_creep(tmp_path: Path) -> None:
    """Less than 1 MB in 100 steps, by a line through 200 steps after a warm-up of 50, validating and saving too."""
    config = toy_config(tmp_path, epochs=25, patience=99)
    creep = creep_MB(partial(train_toy, config), warm_up=50)
    assert creep < 1.0
    print(f"{creep:.3f} MB in 100 steps")

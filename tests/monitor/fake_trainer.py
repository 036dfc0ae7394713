"""A trainer without a model: writes the status, counts steps, saves on SIGTERM, fails as its flags say."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

parser = argparse.ArgumentParser()
parser.add_argument("--models-dir", type=Path, required=True)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--grad-accumulation", type=int, default=1)
parser.add_argument("--num-workers", type=int, default=2)
parser.add_argument("--resume", default="auto")
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--sample-MB", type=int, default=0)
parser.add_argument("--leak-MB", type=int, default=0)
parser.add_argument("--words", default="")
parser.add_argument("--crash-at", type=int, default=-1)
parser.add_argument("--crash-above", type=int, default=10**9)
parser.add_argument("--refuse-below", type=int, default=0)
parser.add_argument("--status", type=int, default=1)
parser.add_argument("--deaf", action="store_true")
parser.add_argument("--end-after", type=Path, help="go on until this file is there")
config = parser.parse_args()
state = config.models_dir / "state.json"


def write(path: Path, content: Any) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def save(total: int) -> None:
    write(state, {"total": total})


def tell(**facts: Any) -> None:
    cut = {"batch_size": config.batch_size, "grad_accumulation": config.grad_accumulation}
    who = {"pid": os.getpid(), "host": "here", "start": "now", "batch_coupling": ["batch normalisation"]}
    write(config.models_dir / ".trainer.json", {**who, **cut, "epochs": 1, **facts})


def leave(total: int, status: int, words: str = "") -> None:
    (config.models_dir / ".trainer.json").unlink()
    print(words, file=sys.stderr, flush=True)
    sys.exit(status)


asked: list[int] = []
signal.signal(signal.SIGTERM, lambda number, frame: None if config.deaf else asked.append(number))
config.models_dir.mkdir(parents=True, exist_ok=True)
with (config.models_dir / "starts.txt").open("a") as starts:
    starts.write(f"{config.batch_size} {config.grad_accumulation} {config.num_workers} {config.resume}\n")
if config.batch_size < config.refuse_below:
    print("error: --batch-size is too small", file=sys.stderr)
    sys.exit(2)
total = json.loads(state.read_text())["total"] if state.exists() and config.resume != "never" else 0
tell(phase="starting")
held = [bytearray(config.sample_MB * config.batch_size * 1_000_000)]
save(total)
while total < config.steps or (config.end_after and not config.end_after.exists()):
    time.sleep(0.1)
    held.append(bytearray(config.leak_MB * 1_000_000))
    if asked:
        save(total)
        leave(total, 143, "saved")
    total += 1
    tell(phase="training", total=total, epoch=1, step=total, steps=config.steps, samples=8, seconds_per_step=0.1)
    if total == config.crash_at or config.batch_size > config.crash_above:
        save(total)
        leave(total, config.status, config.words)
save(total)
leave(total, 0, "all done")

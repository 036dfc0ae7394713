"""The published graph training in several variants, in turn: before, now, with a loader process, in two processes."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks._machine import machine
from benchmarks._real_crystals import sample_3dsc
from tc_common.crystals import CrystalError, read_crystal
from tc_common.environment import git_commit, usable_cores

LAUNCH = [
    "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
]  # fmt: skip
HALVES = ("--batch-size", "32", "--grad-accumulation", "2")
# name: flags of `_recipe_step`, processes, threads of each (0 = a core each, all together)
VARIANTS: dict[str, tuple[tuple[str, ...], int, int]] = {
    "before, one thread": (("--variant", "before"), 1, 1),
    "now, one thread": ((), 1, 1),
    "before": (("--variant", "before"), 1, 0),
    "now": ((), 1, 0),
    "now, a loader process": (("--loaders", "1"), 1, 0),
    "now, two micro-batches": (HALVES, 1, 0),
    "now, two processes": (HALVES, 2, 0),
}
ON_A_GPU = ("now", "now, a loader process")
# what is compared with what: how many times as fast the second is
COMPARED = {
    "now, one thread": ("before, one thread", "now, one thread"),
    "now": ("before", "now"),
    "now with a loader process": ("before", "now, a loader process"),
    "two processes beside one of two threads": ("now, two micro-batches", "now, two processes"),
}


def time_recipe(source: Path, scratch: Path, config: Any) -> dict[str, Any]:
    """Rounds of all variants (on a GPU of the present one alone): medians, ranges, ratios of the same round."""
    table, cores = write_table(source, scratch / "crystals.csv", config.crystals, config.seed), usable_cores()
    names = [name for name in VARIANTS if config.device == "cpu" or name in ON_A_GPU]
    names = [name for name in names if VARIANTS[name][1] <= cores]
    rounds = [{name: step(scratch, config.device, name, cores) for name in names} for _ in range(config.rounds)]
    compared = {name: pair for name, pair in COMPARED.items() if set(pair) <= set(names)}
    found = {
        name: [one[slow]["epoch_s"] / one[fast]["epoch_s"] for one in rounds]
        for name, (slow, fast) in compared.items()
    }
    return {
        "command": f"python -m benchmarks.graph_speed --recipe --device {config.device} --rounds {config.rounds}",
        "machine": machine() | {"device": rounds[0]["now"]["device"], "threads": cores},
        "crystals": table, "steps_of_an_epoch": 64, "git_commit": git_commit(),
        "epoch_s": {name: statistics.median(one[name]["epoch_s"] for one in rounds) for name in names},
        "step_cpu_s": {name: statistics.median(one[name]["step_cpu_s"] for one in rounds) for name in names},
        "peak_rss_MB": {name: max(one[name]["peak_rss_MB"] for one in rounds) for name in names},
        "gpu_peak_MB": rounds[0]["now"]["gpu_peak_MB"],
        "ratios": {name: statistics.median(ratios) for name, ratios in found.items()},
        "ratio_ranges": {name: [min(ratios), max(ratios)] for name, ratios in found.items()},
        "rounds": rounds,
    }  # fmt: skip


def write_table(source: Path, path: Path, crystals: int, seed: int) -> int:
    """Readable random crystals of 3DSC as a table for `_recipe_step`; returns how many."""
    table = sample_3dsc(source, crystals + crystals // 20, seed)
    table["cif"] = [str(source / cif) for cif in table["cif"]]
    kept = table[[is_readable(Path(cif)) for cif in table["cif"]]][:crystals]
    kept.to_csv(path, index=False)
    return len(kept)


def is_readable(cif: Path) -> bool:
    """Whether data preparation would take the crystal."""
    try:
        read_crystal(cif)
    except CrystalError:
        return False
    return True


def step(scratch: Path, device: str, name: str, cores: int) -> dict[str, Any]:
    """One pass over the crystals in a process of its own (or in two), with the cores of the machine as threads."""
    flags, processes, threads = VARIANTS[name]
    command = [sys.executable, *(LAUNCH if processes > 1 else ()), "-m", "benchmarks._recipe_step", *flags]
    command += ["--table", str(scratch / "crystals.csv"), "--cache", str(scratch / "cache"), "--device", device]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads or max(1, cores // processes))}
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if answer.returncode:
        raise RuntimeError(f"{name}: {answer.stderr[-2000:]}")
    line = next(line for line in reversed(answer.stdout.splitlines()) if line.startswith("{"))
    found: dict[str, Any] = json.loads(line)
    return found

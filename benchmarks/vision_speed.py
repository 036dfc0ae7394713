"""Measure the vision model's training step and prediction against a plain fp32 loop, and their memory.

    python -m benchmarks.vision_speed                    # 2 cores, ViT-B/16 at 224, batch 8: about 15 minutes
    python -m benchmarks.vision_speed --device cuda      # the same on a GPU, and the seconds an epoch takes there

Each variant runs in a process of its own; rounds of all variants follow one another, so that a slow spell of the
machine meets all of them. Ratios are medians over the rounds, of wall-clock and of processor time. Writes
`benchmarks/results/vision_speed_<device>.json`.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tc_common.cli import parse, run
from tc_common.environment import git_commit, processor
from tc_common.files import write_json

ROOT = Path(__file__).parent.parent
# The study's training set: 4,041 materials, 18 views each.
EPOCH_PICTURES = 4041 * 18


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """How long to measure, and where."""

    device: str = "cpu"
    """cpu, cuda or mps."""
    threads: int = 2
    """Threads of the processor (>= 1)."""
    rounds: int = 3
    """Repetitions of the whole comparison (>= 1)."""
    steps: int = 4
    """Timed steps of each variant in a round (>= 1)."""
    batch_size: int = 8
    """Images computed at once (>= 1)."""
    compiled: bool = False
    """Also measure --compile (adds minutes a round)."""
    out: Path = Path("benchmarks/results")
    """Folder for the JSON file."""


def main(config: SpeedConfig) -> None:
    """Run the rounds, sum up, write."""
    torch.set_num_threads(config.threads)
    started, load = time.monotonic(), os.getloadavg()[0]
    peaks = {name: matmul_peak_gflops(config.device, dtype) for name, dtype in DTYPES.items()}
    gflop = {what: measure(config, "plain-fp32", what, "--count")["gflop"] for what in ("training", "inference")}
    rounds = [one_round(config) for _ in range(config.rounds)]
    summary = {what: summed(config, what, rounds, gflop[what], peaks["bf16"]) for what in ("training", "inference")}
    report = {
        "command": f"python -m benchmarks.vision_speed --device {config.device} --rounds {config.rounds}",
        "machine": {
            "device": device_name(config.device), "threads": config.threads, "python": platform.python_version(),
            "torch": str(torch.__version__), "load_at_start": load, "load_at_end": os.getloadavg()[0],
        },
        "model": f"vit_base_patch16_dinov3 at 224, LoRA r 16, batch {config.batch_size}, random weights",
        "matmul_peak_gflops": peaks, "step_gflop": gflop, **summary, "rounds": rounds,
        "git_commit": git_commit(), "seconds": round(time.monotonic() - started),
    }  # fmt: skip
    write_json(config.out / f"vision_speed_{config.device.partition(':')[0]}.json", report)
    print(json.dumps({what: summary[what] for what in summary}, indent=2))


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def matmul_peak_gflops(device: str, dtype: torch.dtype) -> float:
    """Best of ten products of two square matrices, in 10^9 operations a second."""
    side = 2048 if device == "cpu" else 8192
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    seconds = []
    for _ in range(12):
        begun = time.perf_counter()
        matrix @ matrix
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return 2 * len(matrix) ** 3 / min(seconds[2:]) / 1e9


def one_round(config: SpeedConfig) -> dict[str, dict[str, Any]]:
    """Every variant once, in training and in inference."""
    variants = ["plain-fp32", "ours-bf16", *(["ours-bf16-compiled"] if config.compiled else [])]
    results = {
        what: {variant: measure(config, variant, what) for variant in variants} for what in ("training", "inference")
    }
    checkpointing = measure(config, "ours-bf16-checkpointing", "training")
    return {**results, "training": {**results["training"], "ours-bf16-checkpointing": checkpointing}}


def measure(config: SpeedConfig, variant: str, what: str, *more: str) -> dict[str, Any]:
    """One variant in a process of its own."""
    command = [sys.executable, "-m", "benchmarks._vision_step", "--variant", variant, "--device", config.device]
    command += ["--steps", str(config.steps), "--batch-size", str(config.batch_size), *more]
    command += ["--inference"] if what == "inference" else []
    threads = {"OMP_NUM_THREADS": str(config.threads), "MKL_NUM_THREADS": str(config.threads)}
    answer = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **threads}, capture_output=True, text=True, check=True
    )
    facts: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return facts


def summed(
    config: SpeedConfig, what: str, rounds: list[dict[str, Any]], gflop: float, peak_gflops: float
) -> dict[str, dict[str, Any]]:
    """Medians over the rounds: images a second, how many times the plain loop, fraction of the bf16 peak, memory."""
    variants = {}
    for variant in rounds[0][what]:
        runs = [result[what][variant] for result in rounds]
        plain = [result[what]["plain-fp32"] for result in rounds]
        images_per_s = config.batch_size / statistics.median(run["wall_s"] for run in runs)
        variants[variant] = {
            "images_per_s": round(images_per_s, 3),
            "epoch_s": round(EPOCH_PICTURES / images_per_s),
            "times_plain_wall": _ratios(plain, runs, "wall_s"),
            "times_plain_cpu": _ratios(plain, runs, "cpu_s"),
            "share_of_bf16_peak": round(images_per_s / config.batch_size * gflop / peak_gflops, 3),
            "peak_rss_MB": max(run["peak_rss_MB"] for run in runs),
            "rss_growth_MB": round(max(run["rss_growth_MB"] for run in runs), 1),
            "gpu_peak_MB": runs[0]["gpu_peak_MB"],
        }
    return variants


def _ratios(plain: list[dict[str, Any]], ours: list[dict[str, Any]], seconds: str) -> dict[str, float]:
    """How many times faster than the plain loop of the same round: median, least, most."""
    ratios = [one[seconds] / other[seconds] for one, other in zip(plain, ours, strict=True)]
    return {name: round(f(ratios), 3) for name, f in (("median", statistics.median), ("min", min), ("max", max))}


def device_name(device: str) -> str:
    """The GPU's name, or the processor's."""
    return torch.cuda.get_device_name() if device.startswith("cuda") else processor()


if __name__ == "__main__":
    run(lambda: main(parse(SpeedConfig, prog="python -m benchmarks.vision_speed", description=__doc__ or "")))

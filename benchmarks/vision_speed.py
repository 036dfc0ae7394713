"""Measure the vision model's training step and prediction on rendered crystals against a plain fp32 loop.

    python -m benchmarks.vision_speed                                    # 2 cores, ViT-B/16 at 224: about 4 minutes
    python -m benchmarks.vision_speed --device cuda --batch-size 128 --steps 20 --crystals 40    # a GPU's epoch

Pictures are all 18 views of crystals of the shipped sample. Training takes pictures of all crystals in one batch,
prediction all views of a crystal at once. `lit-bf16` is `--skip-empty-patches`. Each variant runs in a process of its
own, prediction first (whose peak memory is thus its own). Rounds of all variants follow one another, so that a slow
spell of the machine meets all of them; ratios are medians over the rounds. Writes
`benchmarks/results/vision_speed.json` (`vision_speed_cuda.json` on a GPU).
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks._vision_step import as_tensor
from dinov3_pipeline.lit_patches import lit_patches
from dinov3_pipeline.network import DEFAULT_BACKBONE, distinct_images
from dinov3_pipeline.render.options import RenderOptions
from dinov3_pipeline.render.rendering import views
from tc_common.cli import parse, run
from tc_common.crystals import read_crystal
from tc_common.devices import find_device
from tc_common.environment import git_commit, processor
from tc_common.files import write_json

ROOT = Path(__file__).resolve().parent.parent
# The study's training set: 4,074 materials (stratified, seed 42), 18 views each.
EPOCH_PICTURES = 4074 * 18
WHAT = ("training", "prediction")
PATCH = 16


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """How long to measure, and where."""

    device: str = "cpu"
    """cpu, cuda or mps."""
    threads: int = 2
    """Threads of the processor (>= 1)."""
    variants: tuple[str, ...] = ("plain-fp32", "ours-bf16", "lit-bf16")
    """What is compared with the first; ours-bf16-checkpointing, ours-fp32 and lit-fp32 are there too."""
    rounds: int = 3
    """Repetitions of the whole comparison (>= 1), of other crystals each."""
    steps: int = 3
    """Training steps in a round (>= 1)."""
    crystals: int = 2
    """Crystals predicted in a round (>= 1)."""
    batch_size: int = 8
    """Images of a training step (>= 1)."""
    backbone: str = DEFAULT_BACKBONE
    """Vision transformer by its name in timm."""
    image_size: int = 224
    """Side of the images in pixels, a multiple of 16."""
    rendered: int = 40
    """Crystals to draw pictures from (>= 1)."""
    out: Path = ROOT / "benchmarks/results"
    """Folder for the JSON file."""


def main(config: SpeedConfig) -> None:
    """Render, run the rounds, sum up, write."""
    device = find_device(config.device).type
    started, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pictures.npy"
        pictures = rendered(config.rendered, config.image_size)
        np.save(file, pictures, allow_pickle=False)
        rounds = [
            {variant: measure(config, variant, file, number) for variant in config.variants}
            for number in range(config.rounds)
        ]
    report = {
        "command": f"python -m benchmarks.vision_speed --device {config.device} --rounds {config.rounds}",
        "machine": {
            "device": torch.cuda.get_device_name() if device == "cuda" else processor(), "threads": config.threads,
            "python": platform.python_version(), "torch": str(torch.__version__),
            "load_at_start": round(load, 2), "load_at_end": round(os.getloadavg()[0], 2),
        },
        "model": f"{config.backbone} at {config.image_size}, LoRA r 16, batch {config.batch_size}, random weights",
        "pictures": content(pictures),
        **{what: summed(what, rounds) for what in WHAT},
        "rounds": rounds, "git_commit": git_commit(), "seconds": round(time.monotonic() - started),
    }  # fmt: skip
    write_json(config.out / f"vision_speed{'' if device == 'cpu' else f'_{device}'}.json", report)
    print(json.dumps({key: report[key] for key in ("pictures", *WHAT)}, indent=2))


def rendered(crystals: int, image_size: int) -> NDArray[np.uint8]:
    """All standard views of random crystals of the shipped sample, (M, 18, S, S, 3)."""
    sample = pd.read_csv(ROOT / "data/sample/sample.csv").sample(crystals, random_state=0)
    options = RenderOptions(image_size=image_size)
    return np.stack([views(read_crystal(ROOT / cif), options=options) for cif in sample["cif"]])


def content(pictures: NDArray[np.uint8]) -> dict[str, Any]:
    """What there is to do in pictures (M, V, S, S, 3): lit patches of 16 pixels, views equal to one before."""
    crystals = [as_tensor(crystal) for crystal in pictures]
    lit = np.concatenate([lit_patches(crystal, PATCH).sum(1).numpy() for crystal in crystals])
    distinct = [len(distinct_images(crystal)[0]) for crystal in crystals]
    number, of_each = pictures.shape[:2]
    return {
        "crystals": number,
        "views": of_each,
        "patches": (pictures.shape[2] // PATCH) ** 2,
        "lit_patches_mean": round(float(lit.mean()), 1),
        "lit_patches_p10_p90": np.percentile(lit, [10, 90]).tolist(),
        "equal_views": round(1 - sum(distinct) / (number * of_each), 4),
        "crystals_with_equal_views": sum(count < of_each for count in distinct),
    }


def measure(config: SpeedConfig, variant: str, pictures: Path, seed: int) -> dict[str, Any]:
    """One variant in a process of its own."""
    command = [sys.executable, "-m", "benchmarks._vision_step", "--variant", variant, "--pictures", str(pictures)]
    for name in ("device", "backbone", "steps", "crystals", "batch_size"):
        command += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
    threads = {"OMP_NUM_THREADS": str(config.threads), "MKL_NUM_THREADS": str(config.threads)}
    answer = subprocess.run(
        [*command, "--seed", str(seed)], cwd=ROOT, env={**os.environ, **threads}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    facts: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return facts


def summed(what: str, rounds: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Medians over the rounds: images a second, seconds of an epoch, how many times the first variant, memory."""
    first = [next(iter(results.values()))[what] for results in rounds]
    variants = {}
    for variant in rounds[0]:
        runs = [results[variant][what] for results in rounds]
        images_per_s = statistics.median(run["images"] / run["wall_s"] for run in runs)
        variants[variant] = {
            "images_per_s": round(images_per_s, 3),
            "epoch_s": round(EPOCH_PICTURES / images_per_s),
            "times_plain_wall": _ratios(first, runs, "wall_s"),
            "times_plain_cpu": _ratios(first, runs, "cpu_s"),
            "peak_rss_MB": max(run["peak_rss_MB"] for run in runs),
            "gpu_peak_MB": runs[0]["gpu_peak_MB"],
        }
    return variants


def _ratios(plain: list[dict[str, Any]], ours: list[dict[str, Any]], seconds: str) -> dict[str, float]:
    """How many times faster than the plain loop of the same round: median, least, most."""
    ratios = [one[seconds] / other[seconds] for one, other in zip(plain, ours, strict=True)]
    return {name: round(f(ratios), 3) for name, f in (("median", statistics.median), ("min", min), ("max", max))}


if __name__ == "__main__":
    run(lambda: main(parse(SpeedConfig, prog="python -m benchmarks.vision_speed", description=__doc__ or "")))

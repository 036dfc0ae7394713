"""Composition baselines on all of 3DSC: three kinds of splits, several seeds each, and the shuffled-label control.

    python -m benchmarks.composition_3dsc --source 3DSC_MP.tar.gz

(or with SUPERVISION_DATA set to the folder that holds `3dsc/3DSC_MP.tar.gz`). Every structure is read once; each seed
divides the materials anew and seeds the trees. Takes about 30 s of two cores for each of the 30 divisions. Numbers,
reports and the test predictions of every run go to `results/3dsc_baselines/`; the rest stays in `--work`.
"""

import json
import os
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from baselines.run import run_baselines, write_baselines
from comparison.evaluate import Uncertainty, evaluate
from comparison.gather import gather
from comparison.repeats import RUNS_FILE, read_runs, score_runs, summarise, write_kept_runs
from comparison.report.documents import terminal
from comparison.report.write import write_comparison, write_runs
from data.materials import materials_of
from data.prepare import PrepareConfig, materials_rows
from data.sources import open_source
from data.splitting import Split, divide
from tc_common.cli import parse, run
from tc_common.files import write_json
from tc_common.splits import SPLITS, read_splits, write_splits

KINDS: tuple[Split, ...] = ("stratified", "chemical-system", "parent")
REPORTS = ("runs.csv", RUNS_FILE, "comparison.json", "comparison.md")


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Settings of the benchmark."""

    source: str | None = None
    """A 3DSC archive, or a folder holding 3DSC_MP.csv and cifs/ (default: the archive below $SUPERVISION_DATA)."""
    work: Path = Path("runs/3dsc_baselines")
    """Folder for splits and predictions (ignored by git)."""
    out: Path = Path("results/3dsc_baselines")
    """Folder for numbers and reports."""
    seeds: int = 10
    """Divisions of each kind (>= 2)."""
    first_seed: int = 42
    """Seeds run from here upwards (>= 0); this one also gets the detailed report."""

    def __post_init__(self) -> None:
        if self.seeds < 2 or self.first_seed < 0:
            raise ValueError("--seeds must be at least 2 and --first-seed at least 0")


def main() -> None:
    """Read the materials once, then divide, fit and report."""
    config = parse(BenchmarkConfig, prog="benchmarks.composition_3dsc", description="Composition baselines on 3DSC.")
    source = config.source or _source_at_hand()
    if source is None:
        print("skipped: name --source, or set SUPERVISION_DATA to the folder that holds 3dsc/3DSC_MP.tar.gz")
        return
    flags = PrepareConfig(source=source)
    rows = materials_rows(open_source(flags.source, flags.unpack_dir, flags.sha256, flags.url), flags)
    materials = materials_of(rows)
    seconds = {kind: [_one_run(config, materials, kind, seed) for seed in _seeds(config)] for kind in KINDS}
    for kind in KINDS:
        _report(config, kind)
    write_json(config.out / "control.json", _facts(config, len(materials), seconds))


def _source_at_hand() -> str | None:
    archive = Path(os.environ.get("SUPERVISION_DATA", "nowhere"), "3dsc/3DSC_MP.tar.gz")
    return str(archive) if archive.is_file() else None


def _seeds(config: BenchmarkConfig) -> range:
    return range(config.first_seed, config.first_seed + config.seeds)


def _one_run(config: BenchmarkConfig, materials: pd.DataFrame, kind: Split, seed: int) -> dict[str, float]:
    """Divide, fit and write one run (unless it is there); returns its wall and processor seconds."""
    folder = config.work / kind / f"seed_{seed}"
    if (folder / "spent.json").exists():
        return dict(json.loads((folder / "spent.json").read_text("utf-8")))
    names = divide(materials, kind, seed)
    write_splits(folder / "splits", {name: materials[names == name] for name in SPLITS})
    started, busy = time.monotonic(), time.process_time()
    write_baselines(folder, run_baselines(read_splits(folder / "splits"), seed))
    spent = {"wall_s": time.monotonic() - started, "processor_s": time.process_time() - busy}
    write_json(folder / "spent.json", spent)
    print(f"{kind} {seed}: {spent['wall_s']:.0f} s", flush=True)
    return spent


def _report(config: BenchmarkConfig, kind: Split) -> None:
    """The comparison over all seeds, and the detailed one of the first."""
    folder = config.work / kind
    runs = read_runs(str(folder / "seed_*" / "baselines"))
    scores, same_materials = score_runs(runs)
    over_runs = summarise(scores, same_materials, level=0.95)
    write_runs(folder, scores, over_runs)
    write_kept_runs(folder, runs, {name: read_splits(folder / name / "../splits") for name in runs})
    print(f"\n{kind}: {terminal(over_runs)}")
    first = folder / f"seed_{config.first_seed}"
    results = gather(first / "baselines", first / "splits")
    write_comparison(first / "baselines", results, evaluate(results, Uncertainty(cluster="chemical-system")))
    publish(folder, config.out / kind)
    publish(first / "baselines", config.out / kind / first.name)


def publish(source: Path, target: Path) -> None:
    """Copy numbers and reports, and the predictions that they are made of."""
    target.mkdir(parents=True, exist_ok=True)
    for name in REPORTS:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def _facts(config: BenchmarkConfig, count: int, seconds: dict[Split, list[dict[str, float]]]) -> dict[str, Any]:
    """What it took, and what the baselines make of shuffled labels."""
    spent = [run for runs in seconds.values() for run in runs]
    return {
        "command": "python -m benchmarks.composition_3dsc --source 3DSC_MP.tar.gz",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "materials": count,
        "seconds_per_run_median": {key: round(median(run[key] for run in spent), 1) for key in spent[0]},
        "skill_with_shuffled_labels": {kind: _shuffled_skill(config, kind) for kind in KINDS},
    }


def _shuffled_skill(config: BenchmarkConfig, kind: Split) -> dict[str, float]:
    """Skill of each baseline when every Tc of training and validation belongs to another material."""
    splits = read_splits(config.work / kind / f"seed_{config.first_seed}" / "splits")
    random = np.random.default_rng(config.first_seed)
    for name in ("train", "val"):
        splits[name] = splits[name].assign(tc=random.permutation(splits[name]["tc"].to_numpy()))
    outcome = run_baselines(splits, config.first_seed)
    return {name: round(entry["metrics"]["skill"], 4) for name, entry in outcome.items()}


if __name__ == "__main__":
    run(main)

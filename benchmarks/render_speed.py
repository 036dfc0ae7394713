"""How fast crystals are rendered, and whether they give the same images every time.

    SUPERVISION_DATA=... python -m benchmarks.render_speed                    # some minutes on 2 cores
    SUPERVISION_DATA=... python -m benchmarks.render_speed --full             # also draw all of 3DSC

Speeds are images per second of wall-clock, from CIF text to PNG in a folder, all 18 views, on one core unless said
otherwise: the median over `repeats`, each into a fresh folder (replacing files is another, slower job for the file
system), with the lowest and highest. `undisturbed` adds up each crystal's fastest run: on a busy machine it comes
closest to what a free core gives.
"""

import hashlib
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._machine import machine
from benchmarks._real_crystals import sample_3dsc, unpack_3dsc
from dinov3_pipeline.render.atoms import BondMode
from dinov3_pipeline.render.jobs import MaterialRow, render_material, run_local
from dinov3_pipeline.render.options import RenderOptions, view_names
from dinov3_pipeline.render.rendering import draw_views, prepare
from tc_common import cli
from tc_common.crystals import read_crystal
from tc_common.environment import max_rss_MB
from tc_common.files import write_json

COMMAND = "python -m benchmarks.render_speed"


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """What to time."""

    crystals: int = 100
    """Random crystals of 3DSC (>= 1)."""
    repeats: int = 5
    """Runs of each measurement (>= 1)."""
    seed: int = 0
    """Seed of the choice of crystals."""
    full: bool = False
    """Also draw one structure of every formula with crystal-nn on two workers (about 10 minutes)."""
    out: Path = Path("benchmarks/results/render_speed.json")
    """Where to write the numbers."""


def main(config: SpeedConfig) -> None:
    """Measure and write the numbers; without the real data, say so and stop."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        source = unpack_3dsc(scratch / "3dsc")
        if source is None:
            return
        table = sample_3dsc(source, config.crystals, config.seed)
        result = {"command": COMMAND, "crystals": len(table), "machine": machine()} | measure(table, scratch, config)
        if config.full:
            result["full_3dsc_two_workers"] = draw_all(sample_3dsc(source, 10**6, 0), scratch)
    write_json(config.out, result)
    print(f"{config.out}: written")


def measure(table: pd.DataFrame, scratch: Path, config: SpeedConfig) -> dict[str, Any]:
    """Every number of the report."""
    result: dict[str, Any] = {"pinned_to_one_core": CAN_PIN}
    with one_core():
        for bonds in ("covalent", "crystal-nn"):
            rounds = (_to_png(_rows(table, scratch / f"{bonds}_{n}"), bonds) for n in range(1 + config.repeats))
            result[f"{bonds}_to_png_one_core"] = timed(rounds)
        result["in_memory_views_one_core"] = timed([_in_memory(table)] * (1 + config.repeats))
    result["two_workers"] = {bonds: _scaling(table, scratch, bonds, config) for bonds in ("covalent", "crystal-nn")}
    result["largest_worker_MB"] = max_rss_MB(resource.RUSAGE_CHILDREN)
    result["same_bytes"] = _same_bytes(table, scratch)
    return result


CAN_PIN = hasattr(os, "sched_setaffinity")


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and whatever threads its libraries start, on one core (not on macOS; the report says so)."""
    if not CAN_PIN:
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


Job = Callable[[], int]  # renders images and returns how many


def timed(rounds: Iterable[Sequence[Job]]) -> dict[str, float]:
    """Images per second of the jobs of all crystals, one after the other; the first round only fills caches."""
    warm, *timed_rounds = ([_run(job) for job in jobs] for jobs in rounds)
    images = sum(drawn for drawn, _ in warm)
    seconds = np.array([[duration for _, duration in results] for results in timed_rounds])
    totals = seconds.sum(axis=1)
    result = {
        "images_per_s": images / float(np.median(totals)),
        "lowest": images / totals.max(),
        "highest": images / totals.min(),
        "undisturbed": images / seconds.min(axis=0).sum(),
    }
    return {name: round(float(value), 1) for name, value in result.items()}


def _run(job: Job) -> tuple[int, float]:
    start = time.perf_counter()
    images = job()
    return images, time.perf_counter() - start


def _rows(table: pd.DataFrame, folder: Path) -> list[MaterialRow]:
    folder.mkdir(parents=True, exist_ok=True)
    return [
        MaterialRow(material_id=row.material_id, split="", cif=Path(row.cif), folder=folder)
        for row in table.itertuples()
    ]


def _to_png(rows: Sequence[MaterialRow], bonds: BondMode) -> list[Job]:
    """From CIF text to files, a job a crystal."""
    options = RenderOptions(bonds=bonds)
    views = len(view_names(options))
    return [lambda row=row: 0 if render_material(row, options).skipped else views for row in rows]  # type: ignore[misc]


def _in_memory(table: pd.DataFrame) -> list[Job]:
    """Views as arrays, of crystals whose geometry was prepared before (as in training with --online-views)."""
    options = RenderOptions(bonds="covalent")
    ready = [prepare(read_crystal(Path(row.cif)), options) for row in table.itertuples()]
    return [lambda each=each: len(draw_views(each, view_names(options), options)) for each in ready]  # type: ignore[misc]


def _scaling(table: pd.DataFrame, scratch: Path, bonds: BondMode, config: SpeedConfig) -> dict[str, float]:
    """Two workers against one, alternating, so that whatever else the machine does hits both."""
    options = RenderOptions(bonds=bonds)
    rates = [
        [_rate(_rows(table, scratch / f"{bonds}_{n}_{workers}"), options, workers) for workers in (1, 2)]
        for n in range(config.repeats)
    ]
    return {
        "images_per_s": round(statistics.median(two for _, two in rates), 1),
        "times_one_worker": round(statistics.median(two / one for one, two in rates), 2),
        "highest_times_one_worker": round(max(two / one for one, two in rates), 2),
    }


def _rate(rows: Sequence[MaterialRow], options: RenderOptions, workers: int) -> float:
    """Images per second of a whole run."""
    start = time.perf_counter()
    drawn = sum(not result.skipped for result in run_local(rows, options, workers))
    return drawn * len(view_names(options)) / (time.perf_counter() - start)


def _same_bytes(table: pd.DataFrame, scratch: Path) -> dict[str, Any]:
    """Whether all files agree over five runs with one worker and over one, two and four workers."""
    digests = set()
    for number, workers in enumerate((1, 1, 1, 1, 1, 2, 4)):
        folder = scratch / f"same_{number}"
        _rate(_rows(table, folder), RenderOptions(), workers)
        digests.add(_folder_md5(folder))
    return {"runs": 5, "workers": [1, 2, 4], "md5_of_all_files": sorted(digests), "identical": len(digests) == 1}


def _folder_md5(folder: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def draw_all(table: pd.DataFrame, scratch: Path) -> dict[str, float]:
    """Draw one structure of every formula with crystal-nn on two workers."""
    rows = _rows(table, scratch / "full")
    start = time.perf_counter()
    results = list(run_local(rows, RenderOptions(), 2))
    return {
        "materials": len(rows),
        "images": 18 * sum(not result.skipped for result in results),
        "skipped": sum(bool(result.skipped) for result in results),
        "materials_with_bond_failures": sum(bool(result.bond_failures) for result in results),
        "minutes": round((time.perf_counter() - start) / 60, 2),
    }


if __name__ == "__main__":
    cli.run(lambda: main(cli.parse(SpeedConfig, prog=COMMAND, description=__doc__)))

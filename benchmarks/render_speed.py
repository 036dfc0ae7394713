"""How fast crystals become pictures, and whether they become the same pictures every time.

    SUPERVISION_DATA=... python -m benchmarks.render_speed                    # some minutes on 2 cores
    SUPERVISION_DATA=... python -m benchmarks.render_speed --full             # also draw all of 3DSC

Speeds are wall-clock, from CIF text to PNG in a folder, all 18 views, on one core unless said otherwise; medians over
`repeats` with the lowest and highest. Speeds per second of CPU time stand beside them: on a busy machine they come
closer to what a free core gives.
"""

import hashlib
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.real_crystals import machine, sample_3dsc, unpack_3dsc
from dinov3_pipeline.bonds import BondMode
from dinov3_pipeline.render_jobs import MaterialRow, Rendered, run_local
from dinov3_pipeline.render_options import RenderOptions, view_names
from dinov3_pipeline.rendering import draw_views, prepare
from tc_common import cli
from tc_common.crystals import read_crystal
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
    result: dict[str, Any] = {}
    with one_core():
        for bonds in ("covalent", "crystal-nn"):
            job = _to_png(table, scratch / bonds, RenderOptions(bonds=bonds), workers=1)
            result[f"{bonds}_to_png_one_core"] = timed(job, config.repeats)
        result["in_memory_views_one_core"] = timed(_in_memory(table, prepared=True), config.repeats)
        result["in_memory_covalent_with_bond_search_one_core"] = timed(
            _in_memory(table, prepared=False), config.repeats
        )
    result["two_workers"] = {bonds: _scaling(table, scratch, bonds, config) for bonds in ("covalent", "crystal-nn")}
    result["largest_worker_MB"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    result["same_bytes"] = _same_bytes(table, scratch)
    return result


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and whatever threads its libraries start, on one core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def timed(job: Callable[[], int], repeats: int) -> dict[str, float]:
    """Images per second of a job that returns how many images it made."""
    wall, cpu = [], []
    for _ in range(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        images = job()
        wall.append(images / (time.perf_counter() - wall_start))
        cpu.append(images / (time.process_time() - cpu_start))
    result = {
        "images_per_s": statistics.median(wall),
        "lowest": min(wall),
        "highest": max(wall),
        "images_per_cpu_s": statistics.median(cpu),
    }
    return {name: round(value, 1) for name, value in result.items()}


def _to_png(table: pd.DataFrame, folder: Path, options: RenderOptions, workers: int) -> Callable[[], int]:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        MaterialRow(material_id=row.material_id, split="", cif=Path(row.cif), folder=folder)
        for row in table.itertuples()
    ]
    return lambda: len(view_names(options)) * _drawn(list(run_local(rows, options, workers)))


def _drawn(results: Sequence[Rendered]) -> int:
    return sum(not result.skipped for result in results)


def _in_memory(table: pd.DataFrame, *, prepared: bool) -> Callable[[], int]:
    """Views as arrays, of crystals that were read before (and whose bonds were found before)."""
    options = RenderOptions(bonds="covalent")
    names = view_names(options)
    crystals = [(row.material_id, read_crystal(Path(row.cif))) for row in table.itertuples()]
    geometries = [(material_id, prepare(crystal, options)) for material_id, crystal in crystals]

    def job() -> int:
        ready = geometries if prepared else [(i, prepare(crystal, options)) for i, crystal in crystals]
        return sum(len(draw_views(geometry, names, material_id, options)) for material_id, geometry in ready)

    return job


def _scaling(table: pd.DataFrame, scratch: Path, bonds: BondMode, config: SpeedConfig) -> dict[str, float]:
    """Two workers against one, alternating, so that whatever else the machine does hits both."""
    options = RenderOptions(bonds=bonds)
    one, two = (_to_png(table, scratch / f"{bonds}_{n}", options, workers=n) for n in (1, 2))
    pairs = [(timed(one, 1)["images_per_s"], timed(two, 1)["images_per_s"]) for _ in range(config.repeats)]
    return {
        "images_per_s": round(statistics.median(pair[1] for pair in pairs), 1),
        "times_one_worker": round(statistics.median(pair[1] / pair[0] for pair in pairs), 2),
        "highest_times_one_worker": round(max(pair[1] / pair[0] for pair in pairs), 2),
    }


def _same_bytes(table: pd.DataFrame, scratch: Path) -> dict[str, Any]:
    """Whether all files agree over five runs with one worker and over one, two and four workers."""
    digests = set()
    for number, workers in enumerate((1, 1, 1, 1, 1, 2, 4)):
        folder = scratch / f"same_{number}"
        _to_png(table, folder, RenderOptions(), workers)()
        digests.add(_folder_md5(folder))
    return {"runs": 5, "workers": [1, 2, 4], "md5_of_all_files": sorted(digests), "identical": len(digests) == 1}


def _folder_md5(folder: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def draw_all(table: pd.DataFrame, scratch: Path) -> dict[str, float]:
    """Draw one structure of every formula with crystal-nn on two workers."""
    start = time.perf_counter()
    images = _to_png(table, scratch / "full", RenderOptions(), workers=2)()
    return {"images": images, "minutes": round((time.perf_counter() - start) / 60, 2)}


if __name__ == "__main__":
    cli.run(lambda: main(cli.parse(SpeedConfig, prog=COMMAND, description=__doc__)))

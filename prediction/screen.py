"""Screen crystals by the million: predict them in shards, resume after a stop, and rank them.

    python -m prediction.screen crystals.tar.gz more_cifs/ --out runs/screening
    python -m prediction.screen hypothetical.parquet --out runs/screening --model student --workers 16
    python -m prediction.screen hypothetical.parquet --out runs/screening --cascade 0.1 --engine ray
    python -m prediction.screen parents/ --substitute-table dopants.csv --out runs/campaign

Inputs: folders and archives (tar, zip) of CIF, POSCAR, extended XYZ or pymatgen JSON; Parquet, CSV and JSONL with a
column `cif` (text) or `structure` (pymatgen dict); ASE databases (.db, .lmdb). Writes `shards/*.parquet` (2,048
crystals each, whole or not at all), and at the end `failed.parquet`, `top.parquet`, `report.json`, `report.md`.
Started again with the same settings it computes what is missing; others are refused. See docs/screening.md.

Exit status: 0 all shards are there (crystals that failed are listed), 2 a mistake or a full disk; what is finished is
kept.
"""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm
from tyro.conf import Positional

from tc_common.cli import parse, run
from tc_common.environment import usable_cores
from tc_common.extras import need
from tc_common.files import sha256
from tc_common.signals import leave_on_signals

if TYPE_CHECKING:
    from prediction.screening.plan import Part, Plan
    from prediction.screening.shard import Job

MODELS = Path(__file__).resolve().parent.parent / "models/3dsc"
SECONDS_BETWEEN_LINES = 30.0
# Module and function that load the predictor of a worker, and that of the cascade's first stage.
LOADER, FIRST_LOADER = "prediction:load_predictor", "prediction.screening.first_stage:load_trees"


@dataclass(frozen=True, kw_only=True)
class ScreenConfig:
    """What to screen, with what, and where."""

    inputs: Positional[tuple[Path, ...]]
    """Folders, archives, tables, databases and files of crystals, in this order."""
    out: Path
    """Folder of the results; of one screening only."""
    model: str = "ensemble"
    """ensemble, student (fast), or one of the shipped base models."""
    models_dir: Path = MODELS
    """Folder of the shipped models."""
    device: str = "cpu"
    """auto, cpu, cuda, cuda:N or mps."""
    engine: Literal["local", "ray"] = "local"
    """local: processes on this machine; ray: a Ray cluster (both need the extra `screen`)."""
    workers: int = usable_cores()
    """Processes, one thread each (>= 1)."""
    ray_address: str | None = None
    """With --engine ray: a running cluster (`auto` or host:port); else one is started on this machine."""
    gpus_per_worker: float = 0.0
    """With --engine ray: GPUs of each process (0.25 = four share one); needs --device cuda."""
    shard: str = "1/1"
    """i/n: compute every n-th shard from the i-th on, for job arrays; whoever finishes last writes the summary."""
    cascade: float = 0.0
    """Predict all by the trees and only this most promising fraction (0 to 1) by --model; 0 = all by --model."""
    substitute_table: Path | None = None
    """CSV `old,new,fractions`: screen the inputs' substitutions instead (`La,Sr,0 0.1 0.2`; empty new = vacancy)."""
    top: int = 100
    """Crystals in top.parquet by each criterion (>= 1)."""
    threshold_K: float = 40.0
    """Tc (K) over which an improvement is expected."""
    export_poscar: Path | None = None
    """Write the best crystals there as POSCAR, doped cells as ordered approximants, with a README."""
    export_count: int = 20
    """Best crystals by the lower bound that are exported (>= 1)."""
    export_atoms: int = 64
    """Most atoms of an ordered approximant (>= 1)."""

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ValueError("name at least one folder, archive, table or database")
        if min(self.workers, self.top, self.export_count, self.export_atoms) < 1:
            raise ValueError("--workers, --top, --export-count and --export-atoms must be at least 1")
        if not 0 <= self.cascade < 1 or not math.isfinite(self.threshold_K):
            raise ValueError("--cascade must be from 0 to below 1, --threshold-K finite")
        if self.engine == "local" and (self.ray_address or self.gpus_per_worker):
            raise ValueError("--ray-address and --gpus-per-worker go with --engine ray")
        if self.gpus_per_worker < 0 or (self.gpus_per_worker and not self.device.startswith("cuda")):
            raise ValueError("--gpus-per-worker must be at least 0 and goes with --device cuda")
        _part(self.shard)


def _part(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise ValueError(f"--shard must be i/n with 1 <= i <= n, such as 3/16, got {text!r:.40}")
    return int(index), int(count)


def main(config: ScreenConfig) -> None:
    """Plan, compute what is missing, and write the summary when nothing is.

    Raises:
        UserError: an input cannot be used, the folder is another screening's, or a shard cannot be written.
    """
    need("screen", "pyarrow")
    if config.engine == "ray":
        need("screen", "ray")
    from prediction.screening.plan import Lock, Part

    part = Part(*_part(config.shard))
    with leave_on_signals(), Lock(config.out, part):
        plan = planned(config)
        started_s = time.monotonic()
        missing, computed = 0, 0
        for job in stages(config, plan):
            computed += compute(config, job, part)
            if missing := plan.shards - len(_done(job, plan)):
                print(f"{missing} of {plan.shards} shards in {job.folder} are for other parts; start again after them")
                return
        finish(config, plan, computed, time.monotonic() - started_s)


def planned(config: ScreenConfig) -> "Plan":
    """The plan of all inputs, in a folder that belongs to these settings."""
    from filelock import FileLock

    from prediction.screening import plan as plans
    from prediction.screening.campaign import expanded
    from prediction.screening.inputs import open_inputs
    from prediction.screening.plan import RECIPE, Plan, check_settings, models_sha256

    models = models_sha256(config.models_dir)
    with FileLock(config.out / ".inputs.lock"):  # parts that start together wait for the first
        sources, digest = open_inputs(config.inputs, config.out / "inputs")
        settings: dict[str, Any] = {"recipe": RECIPE, "inputs": digest, "model": config.model, "models": models}
        settings |= {"cascade": config.cascade, "device": config.device, "substitutions": None}
        if config.substitute_table is not None:
            settings["substitutions"] = sha256(config.substitute_table)
        check_settings(config.out, settings)
        plan = Plan(tuple(sources), plans.SHARD)
        if config.substitute_table is not None:
            plan = expanded(plan, config.substitute_table, config.out / "inputs" / "substitutions.parquet")
    print(f"{plan.crystals} crystals in {plan.shards} shards of {plan.shard}", file=sys.stderr)
    return plan


def stages(config: ScreenConfig, plan: "Plan") -> Iterator["Job"]:
    """The jobs one after the other; the next is known when the one before is finished."""
    from prediction.screening.cascade import FIRST_STAGE, least_score_K, write_limit
    from prediction.screening.shard import Job, ModelSource

    model = ModelSource(config.model, config.models_dir.resolve(), config.device, LOADER)
    if not config.cascade:
        yield Job(plan, model, config.out / "shards")
        return
    first = config.out / FIRST_STAGE
    yield Job(plan, ModelSource("trees", model.models_dir, loader=FIRST_LOADER), first)
    limit_K = least_score_K(first, plan.shards, config.cascade)
    write_limit(config.out, config.cascade, limit_K)
    yield Job(plan, model, config.out / "shards", first, limit_K)


def _done(job: "Job", plan: "Plan") -> set[int]:
    from prediction.screening.shard import done_shards

    return done_shards(job.folder) & set(range(plan.shards))


def compute(config: ScreenConfig, job: "Job", part: "Part") -> int:
    """Compute the part's missing shards with progress; the number of crystals computed."""
    done, mine = _done(job, job.plan), part.shards(job.plan.shards)
    missing = [shard for shard in mine if shard not in done]
    if not missing:
        return 0
    before = sum(len(job.plan.numbers(shard)) for shard in mine if shard in done)
    total = sum(len(job.plan.numbers(shard)) for shard in mine)
    tty = sys.stderr.isatty()
    bar = tqdm(
        total=total, initial=before, unit="crystal", unit_scale=True, desc=job.model.model,
        mininterval=0.5 if tty else SECONDS_BETWEEN_LINES, ascii=not tty,
    )  # fmt: skip
    with bar:
        for crystals in _engine(config, job, missing):
            bar.update(crystals)
    return total - before


def _engine(config: ScreenConfig, job: "Job", shards: Sequence[int]) -> Iterator[int]:
    if config.engine == "ray":
        from prediction.screening.cluster import run_ray

        return run_ray(job, shards, config.workers, config.ray_address, config.gpus_per_worker)
    from prediction.screening.local import run_local

    return run_local(job, shards, config.workers)


def finish(config: ScreenConfig, plan: "Plan", computed: int, seconds: float) -> None:
    """Write the summary, and what else was asked for."""
    from prediction.screening.summary import TOP, Ranking, summarise

    rate = computed / seconds if seconds else 0.0
    facts: dict[str, Any] = {
        "run": {"crystals": computed, "seconds": round(seconds, 1), "crystals_per_s": round(rate, 1)},
        "engine": config.engine, "workers": config.workers,
        "time": f"This run computed {computed} crystals in {seconds:.0f} s ({rate:.0f}/s).",
    }  # fmt: skip
    shards, ranking = config.out / "shards", Ranking(config.top, config.threshold_K)
    counts = summarise(config.out, shards, plan.shards, ranking, facts)
    if config.substitute_table is not None:
        from prediction.screening.campaign import write_series

        write_series(config.out / "series.parquet", shards, plan.shards, config.top)
    print(f"{counts.crystals} crystals, {counts.failed} failed; wrote {config.out / TOP} and report.md")
    if config.export_poscar is not None:
        from prediction.screening.approximants import export  # pymatgen's writers take 60 MB

        export(config.export_poscar, config.out / TOP, plan, config.export_count, config.export_atoms)
        print(f"wrote {config.export_poscar}")


if __name__ == "__main__":
    run(lambda: main(parse(ScreenConfig, prog="python -m prediction.screen", description=__doc__ or "")))

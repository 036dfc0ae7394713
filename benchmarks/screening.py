"""Screening measured: rates, scaling, memory of the driver, kills with -9, engines of the same bytes, recall.

    SUPERVISION_DATA=/folder python -m benchmarks.screening --models student ensemble --cascade 0.1

Real structures of 3DSC, repeated with strain, go through the real command in processes of its own. Writes
`results/screening.json` beside this file, one entry after the other, so that a long run can be stopped.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count as count_up
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from pymatgen.core import Structure

from benchmarks._machine import machine
from benchmarks._real_crystals import unpack_3dsc
from prediction.screening.columns import write_table
from tc_common.augmentation import StructureAugmentation
from tc_common.cli import parse, run
from tc_common.crystals import CrystalError, read_crystal
from tc_common.files import read_json, write_json
from tc_common.splits import read_splits

ROOT = Path(__file__).resolve().parents[1]
STRAIN = StructureAugmentation(strain=0.02, shear=0.01)
SHARD = 2_048
CRYSTALS = pa.schema([("name", pa.string()), ("structure", pa.string())])


@dataclass(frozen=True, kw_only=True)
class ScreeningConfig:
    """What is measured."""

    crystals: int = 100_000
    """Crystals of the measured runs (>= 1)."""
    cascade_crystals: int = 20_000
    """Crystals of the cascade's run (>= 1)."""
    models: tuple[str, ...] = ("student",)
    """Models whose rate is measured; those that are not shipped are left out, which is said."""
    cascade: float = 0.1
    """Fraction (0 to 1) of the cascade."""
    kills: int = 5
    """How often the run is killed with -9 (>= 0)."""
    ray_crystals: int = 8_192
    """Crystals of the comparison of engines (0 = none)."""
    models_dir: Path = ROOT / "models/3dsc"
    """Folder of the shipped models."""
    data_dir: Path | None = None
    """Folder with the split files of the shipped models: measures the cascade's recall on their test materials."""
    out: Path = Path(__file__).parent / "results" / "screening.json"
    """File of the results; entries of other runs stay."""


@dataclass(frozen=True)
class Ran:
    """One run of the command."""

    seconds: float
    processor_s: float
    """Of the driver and all its processes."""
    driver_MB: tuple[int, ...]
    """Resident memory of the driver, every half second."""


def main(config: ScreeningConfig) -> None:
    """Measure one after the other and write each as soon as it is there."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        if unpack_3dsc(folder / "3dsc") is None:
            return
        for part in parts(config, folder):
            found = part()
            before = read_json(config.out) if config.out.exists() else {}
            write_json(config.out, {**before, **found, "machine": machine()})
            print(json.dumps(found, indent=1), flush=True)


def parts(config: ScreeningConfig, folder: Path) -> list[Callable[[], dict[str, Any]]]:
    """The measurements."""
    shipped = [name for name in config.models if (config.models_dir / f"{name}.json").is_file()]
    for name in set(config.models) - set(shipped):
        print(f"{name} is not shipped in {config.models_dir}: not measured")
    many = crystals_of(folder, config.crystals) if shipped else folder
    found: list[Callable[[], dict[str, Any]]] = []
    for name in shipped:
        found.append(partial(named_rate, config, folder, many, name))
    if shipped and config.kills:
        found.append(lambda: {"killed": killed(config, folder, many, shipped[0])})
    if shipped and config.ray_crystals:
        found.append(lambda: {"engines": engines(config, folder, shipped[0])})
    if config.cascade:
        found.append(lambda: {"rate_cascade": cascade_rate(config, folder)})
    if config.cascade and config.data_dir:
        found.append(lambda: {"recall": recall(config, folder)})
    return found


def named_rate(config: ScreeningConfig, folder: Path, many: Path, name: str) -> dict[str, Any]:
    """`rate` under the model's name."""
    return {f"rate_{name}": rate(config, folder, many, config.crystals, name)}


# ---- the crystals ------------------------------------------------------------------------------------------------


def crystals_of(folder: Path, count: int) -> Path:
    """A table `name, structure` of real crystals, each pass over them with another strain.

    A smaller table is the beginning of a larger one: it is cut from one that is there.
    """
    path = folder / f"crystals_{count}.parquet"
    if path.exists():
        return path
    larger = [table for table in folder.glob("crystals_*.parquet") if pq.read_metadata(table).num_rows > count]
    rows = _first(larger[0]) if larger else _strained(sorted((folder / "3dsc/cifs").glob("*.cif")))
    with pq.ParquetWriter(path, CRYSTALS) as writer:
        rows = islice(rows, count)
        while part := list(islice(rows, SHARD)):
            columns = map(list, zip(*part, strict=True))
            writer.write_table(pa.table(dict(zip(CRYSTALS.names, columns, strict=True)), CRYSTALS))
    return path


def _first(table: Path) -> Iterator[tuple[str, str]]:
    """Rows of a table that is there."""
    with pq.ParquetFile(table) as file:
        for part in file.iter_batches(SHARD):
            yield from zip(*(part[name].to_pylist() for name in CRYSTALS.names), strict=True)


def _strained(cifs: list[Path]) -> Iterator[tuple[str, str]]:
    """Rows without end; every file is read once."""
    random = np.random.default_rng(0)
    order = random.permutation(len(cifs))
    read = lru_cache(maxsize=None)(_read)
    for number in count_up():
        path = cifs[order[number % len(cifs)]]
        structure = read(path)
        text = (
            "{}"
            if structure is None
            else json.dumps(STRAIN.apply(structure, random).as_dict(verbosity=0), default=float)
        )
        yield f"{path.stem}~{number}", text


def _read(path: Path) -> Structure | None:
    """None for the 39 files of 3DSC that are refused: their rows are failures, as they would be."""
    try:
        return read_crystal(path)
    except CrystalError:
        return None


# ---- runs --------------------------------------------------------------------------------------------------------


def command(config: ScreeningConfig, table: Path, out: Path, model: str, *more: str) -> list[str]:
    """The command line of a run."""
    flags = ["--out", str(out), "--model", model, "--models-dir", str(config.models_dir), *more]
    return [sys.executable, "-m", "prediction.screen", str(table), *flags]


def timed(arguments: list[str]) -> Ran:
    """Run to the end."""
    before, started_s, memory = os.times(), time.monotonic(), []
    process = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        memory.append(psutil.Process(process.pid).memory_info().rss >> 20)
        time.sleep(0.5)
    assert process.returncode == 0, f"{' '.join(arguments)} ended with {process.returncode}"
    after = os.times()
    spent_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Ran(time.monotonic() - started_s, spent_s, tuple(memory))


def rate(config: ScreeningConfig, folder: Path, table: Path, count: int, model: str) -> dict[str, Any]:
    """Rates with one worker (a fourth of the crystals) and with two, and the driver's memory."""
    few = crystals_of(folder, count // 4)
    one = timed(command(config, few, folder / f"one_{model}", model, "--workers", "1"))
    two = timed(command(config, table, folder / f"two_{model}", model, "--workers", "2"))
    single, double = (count // 4) / one.seconds, count / two.seconds
    return {
        "crystals": count, "one_worker_per_s": round(single, 1), "two_workers_per_s": round(double, 1),
        "two_against_one": round(double / single, 2),
        "processor_ms_per_crystal": round(1000 * two.processor_s / count, 2), **memory(two),
        "seconds_include": "start of the processes and the summary",
    }  # fmt: skip


def memory(ran: Ran) -> dict[str, Any]:
    """The driver's memory after its start (a fifth of the time), and how much it grew from there."""
    settled = ran.driver_MB[len(ran.driver_MB) // 5 :]
    return {"driver_MB": settled[0], "driver_growth_MB": max(settled) - settled[0]}


def cascade_rate(config: ScreeningConfig, folder: Path) -> dict[str, Any]:
    """Rate of the cascade with two workers."""
    count = config.cascade_crystals
    table = crystals_of(folder, count)
    ran = timed(
        command(config, table, folder / "cascade", "ensemble", "--cascade", str(config.cascade), "--workers", "2")
    )
    return {
        "crystals": count, "fraction": config.cascade, "two_workers_per_s": round(count / ran.seconds, 1),
        "processor_ms_per_crystal": round(1000 * ran.processor_s / count, 2), **memory(ran),
    }  # fmt: skip


def killed(config: ScreeningConfig, folder: Path, table: Path, model: str) -> dict[str, Any]:
    """A run killed with -9 at random moments, then ended: whether its bytes are those of the unbroken one."""
    out, whole, random = folder / "killed", folder / f"two_{model}", np.random.default_rng(0)
    shards = len(list((whole / "shards").glob("*.parquet")))
    at = []
    for number in range(config.kills):
        process = subprocess.Popen(command(config, table, out, model), cwd=ROOT, stderr=subprocess.DEVNULL)
        wanted = (number + random.random()) / (config.kills + 1) * shards
        while len(list((out / "shards").glob("0*.parquet"))) < wanted and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        at.append(len(list((out / "shards").glob("0*.parquet"))))
    timed(command(config, table, out, model))
    return {"kills": config.kills, "finished_shards_at_kills": at, "shards": shards, "same_bytes": same(out, whole)}


def same(a: Path, b: Path) -> bool:
    """Whether two folders hold the same results, byte by byte."""
    names = sorted(path.name for path in (b / "shards").glob("*.parquet"))
    files = [*(f"shards/{name}" for name in names), "failed.parquet", "top.parquet"]
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in files)


def engines(config: ScreeningConfig, folder: Path, model: str) -> dict[str, Any]:
    """Both engines on the same crystals."""
    table = crystals_of(folder, config.ray_crystals)
    local = timed(command(config, table, folder / "local", model))
    ray = timed(command(config, table, folder / "ray", model, "--engine", "ray"))
    return {
        "crystals": config.ray_crystals, "local_s": round(local.seconds, 1), "ray_s": round(ray.seconds, 1),
        "same_bytes": same(folder / "ray", folder / "local"),
    }  # fmt: skip


def recall(config: ScreeningConfig, folder: Path) -> dict[str, Any]:
    """Fraction of the test materials of highest measured Tc that the cascade gives to the whole model."""
    assert config.data_dir is not None
    test = read_splits(config.data_dir)["test"]
    table = pa.table({"name": test["material_id"], "cif": [Path(cif).read_text() for cif in test["cif"]]})
    write_table(folder / "test.parquet", table)
    shutil.rmtree(folder / "recall", ignore_errors=True)
    timed(command(config, folder / "test.parquet", folder / "recall", "ensemble", "--cascade", str(config.cascade)))
    rows = pd.concat(pq.read_table(path).to_pandas() for path in sorted((folder / "recall/shards").glob("*")))
    promising = (rows["model"] == "ensemble").to_numpy()
    order = np.argsort(-test["tc"].to_numpy(float), kind="stable")
    found: dict[str, Any] = {"materials": len(test), "fraction": config.cascade, "predicted": int(promising.sum())}
    for percent in (1, 2, 5):
        best = order[: round(len(test) * percent / 100)]
        found[f"top_{percent}_percent"] = {"materials": len(best), "recall": round(float(promising[best].mean()), 3)}
    return found


if __name__ == "__main__":
    run(lambda: main(parse(ScreeningConfig, prog="python -m benchmarks.screening", description=__doc__ or "")))

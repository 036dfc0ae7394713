"""How fast crystals become graphs, and how fast ALIGNN trains on them, against alignn's own code in the same run.

    SUPERVISION_DATA=... python -m benchmarks.graph_speed           # about 5 minutes on 2 free cores
    SUPERVISION_DATA=... python -m benchmarks.graph_speed --full    # also parse, build and cache all of 3DSC
    SUPERVISION_DATA=... python -m benchmarks.graph_speed --recipe  # the published training instead: about 4 minutes
    SUPERVISION_DATA=... python -m benchmarks.graph_speed --recipe --device cuda --crystals 4074    # an epoch on a GPU

Wall-clock and processor time, medians with the lowest and highest; on a busy machine the ratios of processor times
come closer to those of a free one. Every training variant runs in a process of its own, the variants in turn.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("DGLBACKEND", "pytorch")

import pandas as pd  # noqa: E402
from alignn.graphs import Graph  # noqa: E402
from jarvis.core.atoms import Atoms  # noqa: E402
from pymatgen.core import Structure  # noqa: E402

from benchmarks._machine import machine  # noqa: E402
from benchmarks._real_crystals import sample_3dsc, unpack_3dsc  # noqa: E402
from benchmarks._recipe import time_recipe  # noqa: E402
from gat_pipeline.cache import graphs_of  # noqa: E402
from gat_pipeline.graphs import GraphOptions, bond_cosines, build_graph, line_graph  # noqa: E402
from tc_common import cli  # noqa: E402
from tc_common.crystals import CrystalError, read_crystal  # noqa: E402
from tc_common.files import write_json  # noqa: E402

COMMAND = "python -m benchmarks.graph_speed"
# (variant, allocator)
TRAINING = (
    ("torch-bf16", True), ("torch-bf16", False), ("torch-fp32", True), ("dgl", False), ("dgl", True),
    ("alignn-pure-fp32", False), ("alignn-pure-bf16", True),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """What to time."""

    structures: int = 150
    """Random crystals of 3DSC for graph building (>= 32)."""
    rounds: int = 3
    """Times that every training variant is started, in turn (>= 1)."""
    steps: int = 3
    """Timed steps of each start (>= 1)."""
    seed: int = 0
    """Seed of the choice of crystals."""
    full: bool = False
    """Also parse, build and cache one structure of every formula."""
    recipe: bool = False
    """Time the training of README_alignn.md (loading, augmentation, steps) instead of single steps of ALIGNN."""
    crystals: int = 512
    """Crystals that the recipe is timed on, 64 a step (>= 192)."""
    device: str = "cpu"
    """Where the recipe is timed: cpu or cuda."""
    batch: int = 32
    """Crystals of the timed batch (>= 2)."""
    out: Path = Path("benchmarks/results")
    """Folder for `graph_speed.json` or `graph_recipe_<device>.json`."""


def main(config: SpeedConfig) -> None:
    """Measure and write the numbers; without the real data, say so and stop."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        source = unpack_3dsc(scratch / "3dsc")
        if source is None:
            return
        if config.recipe:
            results = time_recipe(source, scratch, config)
            shown = {name: results[name] for name in ("ratios", "ratio_ranges", "epoch_s")}
            write_json(config.out / f"graph_recipe_{config.device}.json", results)
        else:
            results = time_alignn(source, scratch, config)
            shown = results["graphs"] | results["ratios"]
            write_json(config.out / "graph_speed.json", results)
        print(json.dumps(shown, indent=2))


def time_alignn(source: Path, scratch: Path, config: SpeedConfig) -> dict[str, Any]:
    """Graphs, training steps and predictions of the published ALIGNN, against others."""
    crystals = readable(source, sample_3dsc(source, config.structures + 20, config.seed))[: config.structures]
    results: dict[str, Any] = {"command": COMMAND, "machine": machine(), "graphs": time_building(crystals)}
    folder = scratch / "batch"
    folder.mkdir()
    for path, _ in crystals[: config.batch]:
        shutil.copy(path, folder)
    results["training"] = time_training(folder, config)
    results["inference"] = time_inference(folder, config)
    if config.full:
        results["all_of_3dsc"] = time_everything(source, scratch)
    results["ratios"] = ratios(results)
    return results


def readable(source: Path, table: pd.DataFrame) -> list[tuple[Path, Structure]]:
    """The crystals that can be read, with their files."""
    kept = []
    for cif in table["cif"]:
        path = source / cif if not Path(cif).is_absolute() else Path(cif)
        try:
            kept.append((path, read_crystal(path)))
        except CrystalError:
            continue  # rejected when data is prepared, so no model meets it
    return kept


def time_building(crystals: list[tuple[Path, Structure]]) -> dict[str, Any]:
    """Milliseconds a structure, atoms in memory to line graph with features; ours and alignn's in turn."""
    ours, theirs = [], []
    for _, structure in crystals:
        atoms = jarvis_atoms(structure)
        ours.append(milliseconds(partial(complete_graph, structure)))
        theirs.append(milliseconds(partial(Graph.atom_dgl_multigraph, atoms, cutoff=8.0, max_neighbors=12)))
    return {
        "structures": len(crystals),
        "ours_ms": statistics.median(ours),
        "ours_ms_range": [min(ours), max(ours)],
        "alignn_ms": statistics.median(theirs),
        "alignn_ms_range": [min(theirs), max(theirs)],
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "ratio_of_each_structure": statistics.median(b / a for a, b in zip(ours, theirs, strict=True)),
    }


def complete_graph(structure: Structure) -> None:
    """All that a network reads: atoms, bonds, angles and their cosines."""
    graph = build_graph(structure, GraphOptions())
    first, second = line_graph(graph.source, graph.target, len(graph.atom_features))
    bond_cosines(graph.bond_A, first, second)


def jarvis_atoms(structure: Structure) -> Atoms:
    """The same sites for alignn, which knows one element a site: the most abundant."""
    elements = [max(site.species.items(), key=lambda item: item[1])[0].symbol for site in structure]
    return Atoms(
        lattice_mat=structure.lattice.matrix.tolist(), coords=structure.frac_coords.tolist(), elements=elements
    )


def milliseconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Processor time of the fastest of some runs: the one that was disturbed least."""
    spent = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return 1000 * min(spent)


def time_training(folder: Path, config: SpeedConfig) -> list[dict[str, Any]]:
    """Every variant, in turn, `rounds` times; of each the round with the median processor time."""
    runs = [
        [step(folder, config, variant, allocator) for variant, allocator in TRAINING] for _ in range(config.rounds)
    ]
    return [sorted(rounds, key=lambda run: run["cpu_s"])[len(rounds) // 2] for rounds in zip(*runs, strict=True)]


def step(folder: Path, config: SpeedConfig, variant: str, allocator: bool, *more: str) -> dict[str, Any]:
    """One process of `benchmarks._graph_step`."""
    flags = ["--structures", str(folder), "--variant", variant, "--steps", str(config.steps), *more]
    command = [sys.executable, "-m", "benchmarks._graph_step", *flags, *(["--allocator"] if allocator else [])]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def time_inference(folder: Path, config: SpeedConfig) -> list[dict[str, Any]]:
    """Milliseconds a material at this batch size."""
    runs = [step(folder, config, variant, True, "--inference") for variant in ("torch-bf16", "torch-fp32")]
    return [{**run, "ms_per_material": 1000 * run["wall_s"] / run["crystals"]} for run in runs]


def time_everything(source: Path, scratch: Path) -> dict[str, Any]:
    """Seconds to parse, build and cache one structure of every formula, and to read them back."""
    table = sample_3dsc(source, 10**9, 0)
    paths = [path for path, _ in readable(source, table)]
    started = time.perf_counter()
    graphs_of(paths, GraphOptions(), scratch / "cache")
    built = time.perf_counter()
    graphs_of(paths, GraphOptions(), scratch / "cache")
    stored_MB = sum(file.stat().st_size for file in (scratch / "cache").iterdir()) >> 20
    return {
        "crystals": len(paths),
        "build_s": built - started,
        "read_s": time.perf_counter() - built,
        "stored_MB": stored_MB,
    }


def ratios(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """How many times as fast a training step is, by wall-clock and by processor time."""
    by_name = {(run["variant"], run["allocator"]): run for run in results["training"]}
    ours = by_name["torch-bf16", True]
    others = {
        "ours_without_allocator": by_name["torch-bf16", False],
        "dgl_as_installed": by_name["dgl", False],
        "dgl_same_allocator": by_name["dgl", True],
        "alignn_pure_as_installed": by_name["alignn-pure-fp32", False],
        "alignn_pure_bf16_same_allocator": by_name["alignn-pure-bf16", True],
    }
    return {
        name: {"wall": other["wall_s"] / ours["wall_s"], "cpu": other["cpu_s"] / ours["cpu_s"]}
        for name, other in others.items()
    }


if __name__ == "__main__":
    cli.run(lambda: main(cli.parse(SpeedConfig, prog=COMMAND, description=__doc__ or "")))

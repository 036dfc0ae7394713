"""Measure the data room on all of 3DSC: times, 20 seeds of each split, and what the audit says of them.

SUPERVISION_DATA=folder OMP_NUM_THREADS=1 python -m benchmarks.data_room

reads `3dsc/3DSC_MP.tar.gz` below that folder, writes `benchmarks/results/data_room.json` (minutes). The
dataset card data/README.md quotes it.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks._machine import machine
from benchmarks._real_crystals import archive_3dsc
from data.families import FAMILIES
from data.leakage import audit, neighbourhood, parents_of
from data.materials import materials_of, other_structures_of
from data.prepare import PrepareConfig, divided_by, main, materials_rows
from data.reading import facts_of, read_all
from data.report import rows_report, split_report
from data.sources import Source, open_source
from data.splitting import GROUPED_BY, Split, divide
from tc_common.cli import run
from tc_common.crystals import CrystalError
from tc_common.environment import usable_cores
from tc_common.files import write_json

OUT = Path(__file__).parent / "results" / "data_room.json"
SEEDS = range(42, 62)
KINDS: tuple[Split, ...] = ("stratified", "chemical-system", "parent")
PROBE = "nearest_composition_probe all "
# Label, key of the audit, whether it is a fraction.
AUDIT_ROWS = (
    ("test materials within 1 % of a training composition", "nearest_within 1%", True),
    ("within 5 %", "nearest_within 5%", True),
    ("within 10 %", "nearest_within 10%", True),
    ("that share a parent structure with training", "shared_parents", True),
    ("that share a chemical system with training", "shared_systems", True),
    ("probe, copying the nearest composition's Tc: MAE (K)", PROBE + "mae_K", False),
    ("R²", PROBE + "r2", False),
    ("MSLE", PROBE + "msle", False),
    ("training median: MAE (K)", PROBE + "median_mae_K", False),
)


def benchmark() -> None:
    """Run everything once and write the numbers."""
    archive = archive_3dsc()
    if archive is None:
        return
    with tempfile.TemporaryDirectory() as scratch:
        source = open_source(str(archive), Path(scratch) / "unpacked")
        report: dict[str, Any] = {"machine": machine(), "times": times(source, archive, Path(scratch))}
        rows = materials_rows(source, PrepareConfig())
        materials, others, parents = materials_of(rows), other_structures_of(rows), parents_of(rows)
    statuses = rows_report(rows)["rows"]
    report |= {"rows": statuses, "materials": len(materials), "neighbourhood": neighbourhood(materials)}
    report |= choices(rows, materials)
    report["families"] = families(materials)
    report["splits"] = {split: over_seeds(materials, others, parents, split) for split in KINDS}
    write_json(OUT, report)
    print(f"wrote {OUT}")


def times(source: Source, archive: Path, scratch: Path) -> dict[str, float]:
    """Wall time of reading all files and of the whole command, CPU time of reading one file."""
    paths = [Path(path) for path in source.rows["cif"]]
    start = time.perf_counter()
    read_all(paths, usable_cores())
    read_s = time.perf_counter() - start
    main(PrepareConfig(source=str(archive), out=scratch / "out", unpack_dir=scratch / "new", split="chemical-system"))
    return {
        "files": len(paths),
        "read_all_wall_s": round(read_s, 1),
        "prepare_wall_s": round(time.perf_counter() - start - read_s, 1),
        "read_cpu_ms_per_file": round(cpu_ms_per_file(paths), 2),
    }


def cpu_ms_per_file(paths: list[Path]) -> float:
    """CPU time of reading 500 files drawn at random, the median of 3 passes."""
    drawn = random.Random(0).sample(paths, min(500, len(paths)))
    passes = []
    for _ in range(3):
        start = time.process_time()
        for path in drawn:
            read_or_refuse(path)
        passes.append((time.process_time() - start) / len(drawn) * 1e3)
    return statistics.median(passes)


def read_or_refuse(path: Path) -> bool:
    """Whether a file is a usable crystal; both take their time."""
    try:
        facts_of(path)
    except CrystalError:
        return False
    return True


def choices(rows: pd.DataFrame, materials: pd.DataFrame) -> dict[str, Any]:
    """What choosing one structure a formula costs."""
    without = set(rows["formula"]) - set(rows["formula"][rows["status"] != "rejected"])
    chains = materials["a15_chains"].astype(bool)
    return {
        "formulas_without_a_usable_structure": sorted(without),
        "formulas_with_multiple_structures": int((materials["structures"] > 1).sum()),
        "a15_formulas_represented_by_another_type": int(((materials["family"] == "A15") & ~chains).sum()),
        "doped_structures_listed": int(rows["doped"].sum()),
        "doped_structures_chosen": int(materials["doped"].sum()),
        "at_0_K": int((materials["tc"] == 0).sum()),
    }


def families(materials: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Number, superconductors, median and highest Tc (K) of each family."""
    groups = materials.groupby("family")["tc"]
    return {
        str(name): {
            "materials": len(tc_K),
            "superconductors": int((tc_K > 0).sum()),
            "median_tc_of_superconductors_K": round(float(tc_K[tc_K > 0].median()), 2),
            "highest_tc_K": float(tc_K.max()),
        }
        for name, tc_K in groups
    }


def over_seeds(
    materials: pd.DataFrame, others: pd.DataFrame, parents: dict[str, set[str]], split: Split
) -> dict[str, Any]:
    """The audit with seed 42, its mean and standard deviation over 20 seeds, and the most groups on two sides."""
    first: dict[str, Any] = {}
    audits, leaked = [], []
    for seed in SEEDS:
        names = divide(materials, split, seed)
        division = divided_by(materials, others, names)
        audits.append(audit(division.splits, parents))
        leaked.append(int((names.groupby(materials[GROUPED_BY[split]]).nunique() > 1).sum()))
        first = first or split_report(division.splits, division.others, audits[0])
    table = pd.json_normalize(audits, sep=" ")
    spread = {name: [round(table[name].mean(), 4), round(table[name].std(), 4)] for name in table}
    return {"seeds": len(audits), "groups_on_two_sides": max(leaked), "seed_42": first, "mean_and_sd": spread}


def audit_table(report: dict[str, Any]) -> str:
    """The audits of the three splits as the dataset card shows them, in Markdown."""
    splits = report["splits"]
    lines = ["| | " + " | ".join(splits) + " |", "| --- |" + " ---: |" * len(splits)]
    for label, key, is_fraction in AUDIT_ROWS:
        cells = []
        for split in splits.values():
            mean, spread = split["mean_and_sd"][key]
            cells.append(f"{mean:.1%} ± {spread:.1%}" if is_fraction else f"{mean:.2f} ± {spread:.2f}")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def family_table(report: dict[str, Any]) -> str:
    """Numbers and Tc of the families, in Markdown."""
    lines = [
        "| family | materials | superconductors | their median Tc (K) | highest Tc (K) |",
        "| --- |" + " ---: |" * 4,
    ]
    for name in FAMILIES:
        entry = report["families"][name]
        numbers = (entry["materials"], entry["superconductors"])
        kelvins = (entry["median_tc_of_superconductors_K"], entry["highest_tc_K"])
        lines.append("| " + " | ".join([name, *map(str, numbers), *(f"{tc_K:.1f}" for tc_K in kelvins)]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(benchmark)

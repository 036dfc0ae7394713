"""Read every structure of a source once, check it, and write the training, validation and test sets.

    python -m data.prepare                                        # the shipped sample, some seconds
    python -m data.prepare --source 3DSC_MP.tar.gz --limit 300    # a small run on real data
    python -m data.prepare --source 3DSC_MP.tar.gz --split chemical-system
    python -m data.prepare --source 3dsc --split parent --folds 5 --repeats 20 --out data/folds

Checks, splits and the files that are written: data/README.md.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data.leakage import audit, neighbourhood, parents_of
from data.materials import (
    add_facts,
    add_keys,
    drop_retracted,
    drop_tc_zero,
    mark_retracted,
    materials_of,
    merge_tc,
    one_structure,
    other_structures_of,
    weights_of,
)
from data.reading import read_all
from data.report import audit_log, rows_report, show_division, show_folds, show_rows, split_report
from data.sources import UNPACK_DIR, Source, open_source, relative
from data.splitting import Split, divide, divide_in_folds
from data.tables import check_rows, included, limit_rows
from tc_common.cli import parse, run
from tc_common.environment import usable_cores
from tc_common.errors import UserError
from tc_common.files import write_csv, write_json
from tc_common.splits import OTHER_STRUCTURES, SPLITS, write_splits
from tc_common.structures import Structures

MATERIAL_COLUMNS = (
    "material_id", "formula", "tc", "tc_min", "tc_max", "family", "chemical_system", "parent_group", "mp_id",
    "structures", "doped", "partial", "sites", "volume_per_atom_A3", "shortest_distance_A", "distance", "cif",
)  # fmt: skip
Report = dict[str, Any]


@dataclass(frozen=True)
class Division:
    """Materials of each split, and the other structures of their compositions with the `split` they belong to."""

    splits: dict[str, pd.DataFrame]
    others: pd.DataFrame


Divisions = dict[str, Division]  # by their folder below --out


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Flags of `python -m data.prepare`."""

    source: str = "sample"
    """sample (shipped), 3dsc (download), jarvis (CSV files in data/raw/jarvis), or a path: a 3DSC archive, a folder
    with 3DSC_MP.csv and cifs/, or CSV files with material_id, tc (K) and cif (text)."""
    out: Path = Path("data/processed")
    """Folder for the split files (or fold_00/ ...), materials.csv, ledger.csv and report.json."""
    split: Split = "stratified"
    """What is never in two splits: a composition (stratified by ranges of Tc with edges 0, 5, 15, 40 K), a set of
    elements (chemical-system), or compositions connected by a common parent structure (parent)."""
    seed: int = 42
    """Seed of the division (>= 0)."""
    folds: int = 0
    """0: one division 70/15/15. 2 or more: so many folds, each tested once, with 15 % for validation."""
    repeats: int = 1
    """How often the folds are drawn anew (>= 1)."""
    structures: Structures = "draw"
    """Structures of training compositions: draw (train.csv has the chosen one of each, other_structures.csv the
    others, from which the trainers draw), one (the chosen ones only), or all (train.csv has them all). The division is
    the same, val.csv and test.csv have the chosen ones. How one is chosen: data/README.md."""
    tc_zero: Literal["keep", "drop"] = "keep"
    """What to do with materials measured and found not superconducting (Tc = 0 K)."""
    retracted: Literal["keep", "drop"] = "keep"
    """What to do with the 4 formulas of 3DSC whose measurement was retracted; kept ones are listed in the report."""
    limit: int | None = None
    """Use only N formulas (>= 3), at even steps through the list sorted by Tc."""
    workers: int = usable_cores()
    """Processes that read structures (>= 1); the result does not depend on their number."""
    sha256: str | None = None
    """Hex sha256 that the downloaded archive must have, instead of the pinned fingerprint of its CIFs."""
    url: str | None = None
    """Download the archive of --source 3dsc from this address (https) instead of GitHub and figshare."""
    unpack_dir: Path = UNPACK_DIR
    """Folder below which an archive is unpacked (MP/) and CIF texts are written (jarvis/), once."""

    def __post_init__(self) -> None:
        if self.seed < 0 or self.workers < 1 or self.repeats < 1:
            raise ValueError("--seed must be 0 or more, --workers and --repeats 1 or more")
        if self.folds < 0 or self.folds == 1 or (self.repeats > 1 and not self.folds):
            raise ValueError("--folds must be 0 or at least 2, and --repeats needs --folds")
        if self.limit is not None and self.limit < len(SPLITS):
            raise ValueError(f"--limit must be at least {len(SPLITS)}")


def main(config: PrepareConfig) -> None:
    """Source, checks, reading, choice of structures, division, audit, files: in this order."""
    refuse_leftovers(config)
    source = open_source(config.source, config.unpack_dir, config.sha256, config.url)
    rows = materials_rows(source, config)
    refuse_nothing_left(rows)
    materials, others = materials_of(rows), other_structures_of(rows)
    divided = {
        folder: with_structures(divided_by(materials, others, names), config.structures)
        for folder, names in divisions(materials, config)
    }
    report = report_of(source, config, rows, materials, divided)
    write(config.out, rows, materials, divided, report)
    show(config, report)


def divided_by(materials: pd.DataFrame, others: pd.DataFrame, names: pd.Series) -> Division:
    """Give each material the split in `names`, and the other structures that of their composition."""
    by_key = dict(zip(materials["key"], names, strict=True))
    splits = {name: materials[names == name] for name in SPLITS}
    return Division(splits=splits, others=others.assign(split=others["key"].map(by_key)))


def with_structures(division: Division, structures: Structures) -> Division:
    """The division with the structures of training compositions that `--structures` asks for."""
    if structures == "draw":
        return division
    held_out = division.others["split"] != "train"
    train = division.splits["train"]
    if structures == "all":
        train = pd.concat([train, division.others[~held_out].drop(columns="split")], ignore_index=True)
        train = train.assign(weight=weights_of(train))
    return Division(splits=division.splits | {"train": train}, others=division.others[held_out])


def report_of(
    source: Source, config: PrepareConfig, rows: pd.DataFrame, materials: pd.DataFrame, divided: Divisions
) -> Report:
    """Origin, flags, what became of each row, and the audit of each division."""
    parents = parents_of(rows)
    report = {"source": source.origin, "config": plain(config)} | rows_report(rows)
    report |= {"materials": len(materials), "neighbourhood": neighbourhood(materials)}
    report["divisions"] = {
        name: split_report(division.splits, division.others, audit(division.splits, parents))
        for name, division in divided.items()
    }
    return report


def write(out: Path, rows: pd.DataFrame, materials: pd.DataFrame, divided: Divisions, report: Report) -> None:
    """Write split files, tables and report, each whole or not at all."""
    for folder, division in divided.items():
        write_splits(out / folder, division.splits, division.others)
    write_csv(out / "materials.csv", materials[list(MATERIAL_COLUMNS)])
    write_csv(out / "ledger.csv", audit_log(rows))
    write_json(out / "report.json", report)


def show(config: PrepareConfig, report: Report) -> None:
    """Print the summary of the report."""
    show_rows(report, config.out)
    if config.folds:
        show_folds(config.out, report["divisions"])
    else:
        show_division(str(config.out), report["divisions"]["."])
    print(f"wrote split files, {OTHER_STRUCTURES}, materials.csv, ledger.csv and report.json to {config.out}")


def refuse_nothing_left(rows: pd.DataFrame) -> None:
    """Say why where no row can be used.

    Raises:
        UserError: every row was rejected or left out.
    """
    if included(rows).empty:
        first = rows.sort_values("row").iloc[0]
        raise UserError(f"none of {len(rows)} rows can be used; the first: {first['material_id']}: {first['reason']}")


def refuse_leftovers(config: PrepareConfig) -> None:
    """Refuse an output folder that still holds folds of another configuration.

    Raises:
        UserError: `--out` holds split files that this run would not overwrite.
    """
    old = [path for path in sorted(config.out.glob("fold_*")) if path.name not in fold_names(config)]
    old += config.out.glob("train.csv") if config.folds else ()
    if old:
        raise UserError(f"{old[0]} is of an earlier run of another kind; remove it or give another --out")


def materials_rows(source: Source, config: PrepareConfig) -> pd.DataFrame:
    """Every row of the source with its status, which is empty for the chosen structure of each composition."""
    rows = check_rows(source.rows)
    if config.limit is not None:
        rows = limit_rows(rows, config.limit)
    readable = included(rows)
    readings = read_all([Path(path) for path in readable["cif"]], config.workers)
    rows = add_keys(add_facts(rows, dict(zip(readable.index, readings, strict=True))))
    rows = mark_retracted(rows, source.origin["name"])
    if config.retracted == "drop":
        rows = drop_retracted(rows)
    rows = merge_tc(rows, source.tc_belongs_to)
    if config.tc_zero == "drop":
        rows = drop_tc_zero(rows)
    return one_structure(rows)


def divisions(materials: pd.DataFrame, config: PrepareConfig) -> Iterator[tuple[str, pd.Series]]:
    """Folder below `--out` and split names of each division, which do not depend on the structures chosen."""
    # Where Tc belongs to a structure (JARVIS), the composition's stratum is that of the middle of its Tc.
    materials = materials.assign(tc=(materials["tc_min"] + materials["tc_max"]) / 2)
    if not config.folds:
        yield ".", divide(materials, config.split, config.seed)
        return
    names = divide_in_folds(materials, config.split, config.seed, config.folds, config.repeats)
    yield from zip(fold_names(config), names, strict=True)


def fold_names(config: PrepareConfig) -> list[str]:
    """`fold_00`, `fold_01`, ...; fold k of repeat r has the number r * folds + k."""
    return [f"fold_{number:02d}" for number in range(config.folds * config.repeats)]


def plain(config: PrepareConfig) -> dict[str, Any]:
    """The flags for the report, without what cannot change the result."""
    flags = asdict(config)
    del flags["workers"]
    return {name: relative(value) if isinstance(value, Path) else value for name, value in flags.items()}


if __name__ == "__main__":
    run(lambda: main(parse(PrepareConfig, prog="python -m data.prepare", description=__doc__)))

"""Read every structure of a source once, check it, and write who is trained on and who is tested.

python -m data.prepare                                        # the shipped sample, some seconds
python -m data.prepare --source 3DSC_MP.tar.gz --limit 300    # a small run on real data
python -m data.prepare --source 3DSC_MP.tar.gz --split chemical-system
python -m data.prepare --source 3dsc --split parent --folds 5 --repeats 20 --out data/folds
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
    drop_tc_zero,
    materials_of,
    merge_tc,
    one_structure,
    used,
)
from data.reading import default_workers, read_all
from data.report import ledger, rows_report, show_division, show_folds, show_rows, split_report
from data.retractions import drop_retracted, mark_retracted
from data.sources import UNPACK_DIR, Source, open_source, relative
from data.splitting import Split, divide, divide_in_folds
from data.tables import check_rows, limit_rows
from tc_common.cli import parse, run
from tc_common.errors import UserError
from tc_common.files import write_csv, write_json
from tc_common.splits import SPLITS, write_splits

MATERIAL_COLUMNS = (
    "material_id",
    "formula",
    "tc",
    "tc_min",
    "tc_max",
    "family",
    "chemical_system",
    "parent_group",
    "mp_id",
    "structures",
    "doped",
    "partial",
    "sites",
    "volume_per_atom_A3",
    "shortest_distance_A",
    "distance",
    "cif",
)


Report = dict[str, Any]
Parts = dict[str, dict[str, pd.DataFrame]]  # folder below --out, name of the split, its materials


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Flags of `python -m data.prepare`."""

    source: str = "sample"
    """'sample' (shipped), '3dsc' (download), 'jarvis' (CSV files in data/raw/jarvis), or the path of a 3DSC archive,
    of a folder holding 3DSC_MP.csv and cifs/, or of CSV files with material_id, tc and the CIF's text."""
    out: Path = Path("data/processed")
    """Folder for train.csv, val.csv, test.csv (or fold_00/ ...), materials.csv, ledger.csv and report.json."""
    split: Split = "stratified"
    """What never stands on two sides: a composition ('stratified' by ranges of Tc with edges 0, 5, 15, 40 K), a set
    of elements ('chemical-system'), or compositions connected by shared parent structures ('parent')."""
    seed: int = 42
    """Seed of the division, 0 or more."""
    folds: int = 0
    """0: one division 70/15/15. 2 or more: so many folds, each tested once, with 15 % for validation."""
    repeats: int = 1
    """How often the folds are drawn anew, 1 or more."""
    structures: Literal["one", "all"] = "one"
    """'one' structure of a composition (smallest formula distance, then undoped first, then id), or 'all'."""
    tc_zero: Literal["keep", "drop"] = "keep"
    """What to do with materials measured and found not superconducting (Tc = 0 K)."""
    retracted: Literal["keep", "drop"] = "keep"
    """What to do with the 4 formulas of 3DSC whose measurement was retracted; kept ones are listed in the report."""
    limit: int | None = None
    """Use this many formulas only (at least 3), taken at even steps through the list sorted by Tc."""
    workers: int = default_workers()
    """Processes that read structures, 1 or more; the result does not depend on their number."""
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
    """Source, checks, reading, policy, division, audit, files: in this order."""
    refuse_leftovers(config)
    source = open_source(config.source, config.unpack_dir, config.sha256, config.url)
    rows = materials_rows(source, config)
    refuse_nothing_left(rows)
    materials = materials_of(rows)
    parts = {
        folder: {name: materials[names == name] for name in SPLITS} for folder, names in divisions(materials, config)
    }
    report = report_of(source, config, rows, materials, parts)
    write(config.out, rows, materials, parts, report)
    show(config, report)


def report_of(
    source: Source, config: PrepareConfig, rows: pd.DataFrame, materials: pd.DataFrame, parts: Parts
) -> Report:
    """What was done, to whom and why."""
    parents = parents_of(rows)
    report = {"source": source.origin, "config": plain(config)} | rows_report(rows)
    report |= {"materials": len(materials), "neighbourhood": neighbourhood(materials)}
    report["divisions"] = {name: split_report(splits, audit(splits, parents)) for name, splits in parts.items()}
    return report


def write(out: Path, rows: pd.DataFrame, materials: pd.DataFrame, parts: Parts, report: Report) -> None:
    """Write split files, tables and report, each whole or not at all."""
    for folder, splits in parts.items():
        write_splits(out / folder, splits)
    write_csv(out / "materials.csv", materials[list(MATERIAL_COLUMNS)])
    write_csv(out / "ledger.csv", ledger(rows))
    write_json(out / "report.json", report)


def show(config: PrepareConfig, report: Report) -> None:
    """What the terminal gets to see of the report."""
    show_rows(report, config.out)
    if config.folds:
        show_folds(config.out, report["divisions"])
    else:
        show_division(str(config.out), report["divisions"]["."])
    print(f"wrote split files, materials.csv, ledger.csv and report.json to {config.out}")


def refuse_nothing_left(rows: pd.DataFrame) -> None:
    """Say why where no row can be used.

    Raises:
        UserError: every row was rejected or left out.
    """
    if used(rows).empty:
        first = rows.sort_values("row").iloc[0]
        raise UserError(f"none of {len(rows)} rows can be used; the first: {first['material_id']}: {first['reason']}")


def refuse_leftovers(config: PrepareConfig) -> None:
    """Folds of an earlier run beside those of this one would be read as this one's.

    Raises:
        UserError: `--out` holds split files that this run would not overwrite.
    """
    old = sorted(config.out.glob("fold_*")) if not config.folds else sorted(config.out.glob("train.csv"))
    old += [path for path in config.out.glob("fold_*") if path.name not in fold_names(config)] if config.folds else []
    if old:
        raise UserError(f"{old[0]} is of an earlier run of another kind; remove it or give another --out")


def materials_rows(source: Source, config: PrepareConfig) -> pd.DataFrame:
    """Every row of the source with its fate; those without one are the structures in use."""
    rows = check_rows(source.rows)
    if config.limit is not None:
        rows = limit_rows(rows, config.limit)
    readable = used(rows)
    readings = read_all([Path(path) for path in readable["cif"]], config.workers)
    rows = add_keys(add_facts(rows, dict(zip(readable.index, readings, strict=True))))
    rows = mark_retracted(rows, source.origin["name"])
    if config.retracted == "drop":
        rows = drop_retracted(rows)
    rows = merge_tc(rows, source.tc_belongs_to)
    if config.tc_zero == "drop":
        rows = drop_tc_zero(rows)
    return one_structure(rows) if config.structures == "one" else rows


def divisions(materials: pd.DataFrame, config: PrepareConfig) -> Iterator[tuple[str, pd.Series]]:
    """Folder below `--out` and split names of each division."""
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
    run(
        lambda: main(
            parse(PrepareConfig, prog="python -m data.prepare", description=(__doc__ or "").partition("\n")[0])
        )
    )

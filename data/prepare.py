"""Read every structure of a source once, check it, and write who is trained on and who is tested.

python -m data.prepare                                       # the shipped sample, seconds
python -m data.prepare --source 3DSC_MP.tar.gz --limit 300   # a downloaded 3DSC archive, a few seconds
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pymatgen.core import Structure

from data.compositions import chemical_system, composition_key, formula_distance, fractions, parse_formula
from data.families import family
from data.sources import UNPACK_DIR, Source, open_source, relative
from data.splitting import stratified_split
from data.tables import REJECTED, check_rows, limit_rows, reject
from tc_common.cli import parse, run
from tc_common.crystals import CrystalError, read_crystal
from tc_common.files import write_csv, write_json
from tc_common.splits import SPLITS, splits_sha256, write_splits


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Flags of `python -m data.prepare`."""

    source: str = "sample"
    """'sample' (shipped), or the path of a 3DSC archive or of a folder holding 3DSC_MP.csv and cifs/."""
    out: Path = Path("data/processed")
    """Folder for train.csv, val.csv, test.csv, materials.csv, ledger.csv and report.json."""
    split: Literal["stratified"] = "stratified"
    """How materials are divided 70/15/15: 'stratified' by ranges of Tc (edges 0, 5, 15, 40 K)."""
    seed: int = 42
    """Seed of the division, 0 or more."""
    limit: int | None = None
    """Use this many formulas only (at least 3), taken at even steps through the list sorted by Tc."""
    unpack_dir: Path = UNPACK_DIR
    """Folder into which an archive is unpacked, once."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError("--seed must be 0 or more")
        if self.limit is not None and self.limit < len(SPLITS):
            raise ValueError(f"--limit must be at least {len(SPLITS)}")


def main(config: PrepareConfig) -> None:
    source = open_source(config.source, config.unpack_dir)
    rows = check_rows(source.rows)
    if config.limit is not None:
        rows = limit_rows(rows, config.limit)
    rows = read_rows(rows)
    rows = one_per_formula(rows)
    materials = materials_of(rows)
    names = stratified_split(materials, config.seed)
    splits = {name: materials[names == name] for name in SPLITS}
    report = report_of(config, source, rows, splits)
    write_splits(config.out, splits)
    write_csv(config.out / "ledger.csv", ledger(rows))
    write_json(config.out / "report.json", report)
    print_report(report, config.out)


def read_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Read the CIF of every row in use; add `distance` (of its composition from the formula's), reject what fails."""
    distances: dict[int, float] = {}
    faults: dict[int, str] = {}
    for row in rows[rows["fate"] == ""].itertuples():
        try:
            distances[row.Index] = _distance(read_crystal(Path(row.cif)), row.formula)
        except CrystalError as error:
            faults[row.Index] = str(error)
    rows = rows.assign(distance=pd.Series(distances, dtype=float))
    return reject(rows, rows.index.isin(faults), pd.Series(faults, dtype=object).reindex(rows.index).fillna(""))


def _distance(structure: Structure, formula: str) -> float:
    return round(formula_distance(fractions(structure.composition), fractions(parse_formula(formula))), 4)


def one_per_formula(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep one structure of each composition: smallest formula distance, then undoped first, then id."""
    shares = {text: fractions(parse_formula(text)) for text in rows["formula"][rows["fate"] == ""].unique()}
    keys = rows["formula"].map({text: composition_key(share) for text, share in shares.items()})
    best_first = rows[rows["fate"] == ""].assign(key=keys).sort_values(["key", "distance", "doped", "material_id"])
    chosen = best_first.groupby("key")["material_id"].first()
    others = (rows["fate"] == "") & (rows["material_id"] != keys.map(chosen))
    return reject(rows, others, "the material is represented by " + keys.map(chosen).fillna(""), "other structure")


def materials_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows still in use, with the columns of the split files."""
    used = rows[rows["fate"] == ""]
    compositions = used["formula"].map(parse_formula)
    return used.assign(
        cif=used["cif"].map(lambda path: relative(Path(path))),
        chemical_system=compositions.map(lambda composition: chemical_system(fractions(composition))),
        family=compositions.map(family),
        weight=1.0,
    )


def ledger(rows: pd.DataFrame) -> pd.DataFrame:
    """Every row of the source, in its order, with what became of it."""
    return rows[["row", "material_id", "formula", "tc", "fate", "reason"]].sort_values("row")


def report_of(
    config: PrepareConfig, source: Source, rows: pd.DataFrame, splits: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    """What was done, to whom, and why."""
    rejected = rows[rows["fate"] == REJECTED].sort_values("row")
    return {
        "source": source.origin,
        "config": {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()},
        "rows": {"in_source": len(rows), "used": int((rows["fate"] == "").sum())}
        | rows["fate"][rows["fate"] != ""].value_counts().sort_index().to_dict(),
        "splits": {name: len(table) for name, table in splits.items()},
        "splits_sha256": splits_sha256(splits),
        "rejected": rejected[["row", "material_id", "formula", "reason"]].to_dict("records"),
    }


def print_report(report: dict[str, Any], out: Path) -> None:
    """A few lines for the terminal; the whole is in report.json."""
    print("rows: " + ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in report["rows"].items()))
    for entry in report["rejected"][:10]:
        print(f"  rejected row {entry['row']} {entry['material_id']}: {entry['reason']}")
    if len(report["rejected"]) > 10:
        print(f"  and {len(report['rejected']) - 10} more in {out / 'report.json'}")
    print("splits: " + ", ".join(f"{name} {count}" for name, count in report["splits"].items()))
    print(f"wrote {', '.join(str(out / f'{name}.csv') for name in SPLITS)}, ledger.csv, report.json")


if __name__ == "__main__":
    run(lambda: main(parse(PrepareConfig, prog="python -m data.prepare", description=__doc__ or "")))

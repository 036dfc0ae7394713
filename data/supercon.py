"""SuperCon as a source of labels: measured compositions that no structure of 3DSC was matched to.

    python -m data.supercon --source Supercon_data_by_2018_Stanev.csv --splits data/processed --out data/processed
    python -m data.supercon --source download --splits runs/splits --out runs/splits --exclude 0.05

Writes `extra_labels.csv` for one set of split files, without any composition of the splits, without those near a
validation or test composition (`--exclude`), and, where chemical systems are held out, without theirs.
`extra_labels.json` says from what it was made and how far the test compositions are from it;
`extra_labels_ledger.csv` has the status of every row of SuperCon, `extra_labels_audit.csv` the distance of every test
composition from the nearest label.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.download import COMMIT
from data.leakage import NEAR
from data.sources import DOWNLOAD_DIR, relative
from data.tables import LARGEST_TC_K, read_table, reject
from tc_common.cli import parse, run
from tc_common.composition import (
    LAST_Z,
    ROUNDING,
    Array,
    chemical_system,
    composition_key,
    fractions,
    nearest_distance,
    parse_formula,
)
from tc_common.download import Remote, download
from tc_common.errors import UserError
from tc_common.files import sha256, write_csv, write_json
from tc_common.labels import LABEL_COLUMNS, LABELS_FILE, report_path
from tc_common.splits import SPLITS, read_splits, split_kind, splits_sha256

ORIGIN = {
    "name": "SuperCon in the version of Stanev et al. 2018",
    "doi": "10.1038/s41524-018-0085-8",
    "licence": "CC BY 4.0",
}
TABLE = "Supercon_data_by_2018_Stanev.csv"
URL = f"https://raw.githubusercontent.com/aimat-lab/3DSC/{COMMIT}/superconductors_3D/data/source/SuperCon/raw/{TABLE}"
TABLE_SHA256 = "b34a955cc59f7a1556bc92c4b9db559bfd634c03227b7e95337a2e5d69227dd6"
# Statuses in the audit log.
REPEATED, IN_SPLITS, NEAR_HELD_OUT, HELD_OUT_SYSTEM = "repeated", "in splits", "near held-out", "held-out system"
# Below this the parents of held-out structures come back as labels with another element added.
LEAST_EXCLUDE_FOR_PARENTS = 0.10


@dataclass(frozen=True, kw_only=True)
class SuperconConfig:
    """Flags of `python -m data.supercon`."""

    source: str = "download"
    """'download', or the path of a CSV with the columns name and Tc (K)."""
    splits: Path = Path("data/processed")
    """Folder with train.csv, val.csv, test.csv and their report.json."""
    out: Path = Path("data/processed")
    """Folder for extra_labels.csv, its report, ledger and audit."""
    exclude: float = 0.01
    """No label within this fraction of the atoms of a validation or test composition (0 to 1)."""

    def __post_init__(self) -> None:
        if not 0 <= self.exclude < 1:
            raise ValueError(f"--exclude must be a fraction of the atoms, 0 or more and below 1, got {self.exclude}")


def main(config: SuperconConfig) -> None:
    """Source, splits, exclusion, audit, files: in this order."""
    splits = read_splits(config.splits)
    kind = split_kind(config.splits, splits)
    refuse_close_parents(kind, config.exclude)
    source, path = source_path(config.source), config.out / LABELS_FILE
    if source.resolve() == path.resolve():
        raise UserError(f"--source {source} would be overwritten; give another --out")
    table = read_table(source, ("name", "Tc")).rename(columns={"Tc": "tc"})[["row", "name", "tc"]]
    rows = exclude_held_out(
        drop_known(one_row_a_composition(check_labels(table)), splits), splits, config.exclude, kind
    )
    labels = labels_of(rows)
    write_csv(path, labels)
    write_csv(config.out / "extra_labels_ledger.csv", audit_log(rows))
    audited = audit(labels, splits)
    write_csv(config.out / "extra_labels_audit.csv", audited)
    report = report_of(rows, labels, splits, audited) | {"exclude": config.exclude, "split": kind}
    origin = {**ORIGIN, "table": relative(source), "table_sha256": sha256(source)}
    write_json(report_path(path), {"source": origin, "labels_sha256": sha256(path), **report})
    show(report, path)


def refuse_close_parents(kind: str, exclude: float) -> None:
    """With parent structures held out, labels close by give away what is to be tested.

    Raises:
        UserError: the exclusion is too small for such splits.
    """
    if kind == "parent" and exclude < LEAST_EXCLUDE_FOR_PARENTS:
        raise UserError(
            f"--exclude {exclude:g} leaves relatives of the held-out parent structures among the labels; "
            f"give --exclude {LEAST_EXCLUDE_FOR_PARENTS:g} or more for splits by parent"
        )


def source_path(source: str, url: str = URL, digest: str = TABLE_SHA256, folder: Path = DOWNLOAD_DIR) -> Path:
    """Where SuperCon's table lies; 'download' fetches it once, from 3DSC's repository, into `folder`.

    Raises:
        UserError: it cannot be fetched, or what was fetched is not the release.
    """
    if source != "download":
        return Path(source)
    target = folder / TABLE
    if target.is_file():
        return target

    def check(path: Path) -> None:
        if sha256(path) != digest:
            raise UserError(f"{url}: its sha256 is not {digest}; fetch the table by hand and give --source PATH")

    return download(Remote(url=url), target, check=check)


def check_labels(table: pd.DataFrame) -> pd.DataFrame:
    """Reject rows whose name is no formula or whose Tc is none; adds `status`, `reason`, `key`, `chemical_system`."""
    rows = table.assign(status="", reason="", tc=pd.to_numeric(table["tc"], errors="coerce"))
    faults = rows["name"].map({name: _fault(name) for name in rows["name"].unique()})
    rows = reject(rows, faults != "", faults)
    rows = reject(rows, ~np.isfinite(rows["tc"]), "Tc is no number")
    rows = reject(rows, rows["tc"] < 0, "Tc is below 0 K")
    rows = reject(rows, rows["tc"] > LARGEST_TC_K, f"Tc is above {LARGEST_TC_K:g} K")
    readable = rows["status"] == ""
    compositions = [
        fractions(parse_formula(name)) if good else {} for name, good in zip(rows["name"], readable, strict=True)
    ]
    return rows.assign(
        key=[composition_key(each) for each in compositions],
        chemical_system=[chemical_system(each) for each in compositions],
    )


def _fault(name: str) -> str:
    try:
        heaviest = max(element.Z for element in parse_formula(name))
    except UserError as error:
        return str(error)
    return f"{name!r} holds an element beyond Lr" if heaviest > LAST_Z else ""


def one_row_a_composition(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the first row of each composition, with the median of its positive Tc, 0 K where there is none.

    Not having seen superconductivity down to some temperature is no measurement of 0 K (as in `data.materials`).
    """
    valid = rows[rows["status"] == ""]
    positive = valid[valid["tc"] > 0].groupby("key")["tc"].median()
    first = ~valid.sort_values("row")["key"].duplicated()
    repeated = ~rows.index.isin(first[first].index)
    rows = reject(rows, pd.Series(repeated, rows.index), "same composition as another row", REPEATED)
    return rows.assign(tc=rows["tc"].where(rows["status"] != "", rows["key"].map(positive).fillna(0.0)))


def drop_known(rows: pd.DataFrame, splits: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Leave out every composition of the splits: those have a structure, and their Tc there."""
    formulas = pd.concat([splits[name]["formula"] for name in SPLITS])
    known = {composition_key(fractions(parse_formula(formula))) for formula in formulas}
    return reject(rows, rows["key"].isin(known), "composition of the splits", IN_SPLITS)


def exclude_held_out(rows: pd.DataFrame, splits: dict[str, pd.DataFrame], exclude: float, kind: str) -> pd.DataFrame:
    """Leave out rows near a validation or test composition and, with systems held out, all of their systems."""
    held_out = pd.concat([splits["val"], splits["test"]])
    if kind == "chemical-system":
        systems = set(held_out["chemical_system"])
        rows = reject(rows, rows["chemical_system"].isin(systems), "chemical system is held out", HELD_OUT_SYSTEM)
    left = rows[rows["status"] == ""]
    near = nearest_distance(left["name"].tolist(), held_out["formula"].tolist()) <= exclude + ROUNDING
    close = rows.index.isin(left.index[near])
    return reject(rows, pd.Series(close, rows.index), f"within {exclude:g} of a held-out composition", NEAR_HELD_OUT)


def labels_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows left, as `extra_labels.csv`: name as published, formula without the ones that chemists leave out."""
    left = rows[rows["status"] == ""].sort_values(["name", "row"])
    formula = left["name"].map(lambda name: re.sub(r"(?<=[A-Za-z\])])1(?![\d.])", "", name))
    return left.assign(formula=formula)[list(LABEL_COLUMNS)]


def audit_log(rows: pd.DataFrame) -> pd.DataFrame:
    """Every row of SuperCon once, in its order, with its status."""
    return rows.sort_values("row")[["row", "name", "tc", "status", "reason"]].replace({"status": {"": "included"}})


def audit(labels: pd.DataFrame, splits: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Fraction of the atoms between each test composition and the nearest label, with the extra ones and without."""
    test, train = splits["test"]["formula"].tolist(), splits["train"]["formula"].tolist()
    without = nearest_distance(test, train)
    added = np.minimum(without, nearest_distance(test, labels["formula"].tolist()))
    return pd.DataFrame({"formula": test, "without": without, "with": added})


def report_of(
    rows: pd.DataFrame, labels: pd.DataFrame, splits: dict[str, pd.DataFrame], audited: pd.DataFrame
) -> dict[str, Any]:
    """Counts, and `audit` in short."""
    return {
        "rows": rows["status"].replace("", "included").value_counts().sort_index().to_dict(),
        "labels": len(labels),
        "labels_at_0_K": int((labels["tc"] == 0).sum()),
        "splits_sha256": splits_sha256(splits),
        "distance_of_test": {name: _distances(audited[name].to_numpy(float)) for name in ("without", "with")},
    }


def _distances(nearest: Array) -> dict[str, float]:
    """Median distance, and the fraction of the test compositions within some of them."""
    within = {f"within_{limit:.0%}": round(float((nearest <= limit + ROUNDING).mean()), 4) for limit in NEAR}
    return {"median": round(float(np.median(nearest)), 5), **within}


def show(report: dict[str, Any], path: Path) -> None:
    """Counts of the rows by status, and how near test compositions are to a label."""
    print("rows: " + ", ".join(f"{count} {what}" for what, count in report["rows"].items()))
    for name, near in report["distance_of_test"].items():
        limits = ", ".join(f"{near[f'within_{limit:.0%}']:.1%} within {limit:.0%}" for limit in NEAR)
        print(f"test compositions, {name} extra labels: {limits} of a training label (fraction of the atoms)")
    print(f"wrote {report['labels']} labels ({report['labels_at_0_K']} at 0 K) to {path}")


if __name__ == "__main__":
    run(lambda: main(parse(SuperconConfig, prog="python -m data.supercon", description=__doc__)))

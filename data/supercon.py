"""SuperCon as a source of labels: measured compositions that no structure of 3DSC was matched to.

python -m data.supercon --source Supercon_data_by_2018_Stanev.csv --splits data/processed --out data/processed
python -m data.supercon --source download --splits runs/splits --out runs/splits --exclude 0.05

Writes `extra_labels.csv` for one set of split files, without any composition of the splits, without those near a
validation or test composition (`--exclude`), and, where chemical systems are held out, without theirs.
`extra_labels.json` says from what it was made and how far the test compositions are from it;
`extra_labels_ledger.csv` says of every row of SuperCon what became of it.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from data.download import COMMIT, Remote, fetch
from data.leakage import NEAR
from data.sources import DOWNLOAD_DIR, relative
from data.tables import LARGEST_TC_K, read_table, reject
from tc_common.cli import parse, run
from tc_common.composition import chemical_system, composition_key, element_fractions, fractions, parse_formula
from tc_common.elements import LAST_Z, Array
from tc_common.errors import UserError
from tc_common.files import sha256, sync, write_csv, write_json
from tc_common.labels import LABEL_COLUMNS, LABELS_FILE, report_path
from tc_common.splits import SPLITS, read_splits, splits_sha256

ORIGIN = {
    "name": "SuperCon in the version of Stanev et al. 2018",
    "doi": "10.1038/s41524-018-0085-8",
    "licence": "CC BY 4.0",
}
TABLE = "Supercon_data_by_2018_Stanev.csv"
URL = f"https://raw.githubusercontent.com/aimat-lab/3DSC/{COMMIT}/superconductors_3D/data/source/SuperCon/raw/{TABLE}"
TABLE_SHA256 = "b34a955cc59f7a1556bc92c4b9db559bfd634c03227b7e95337a2e5d69227dd6"
# Reasons in the ledger.
REPEATED, IN_SPLITS, NEAR_HELD_OUT, HELD_OUT_SYSTEM = "repeated", "in splits", "near held-out", "held-out system"
# Below this the parents of held-out structures come back as labels with another element added.
LEAST_EXCLUDE_FOR_PARENTS = 0.10
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class SuperconConfig:
    """Flags of `python -m data.supercon`."""

    source: str = "download"
    """'download', or the path of a CSV with the columns name and Tc (K)."""
    splits: Path = Path("data/processed")
    """Folder with train.csv, val.csv, test.csv and their report.json."""
    out: Path = Path("data/processed")
    """Folder for extra_labels.csv, extra_labels.json and extra_labels_ledger.csv."""
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
    write_csv(config.out / "extra_labels_ledger.csv", ledger(rows))
    report = report_of(rows, labels, splits) | {"exclude": config.exclude, "split": kind}
    origin = {**ORIGIN, "table": relative(source), "table_sha256": sha256(source)}
    write_json(report_path(path), {"source": origin, "labels_sha256": sha256(path), **report})
    show(report, path)


def split_kind(folder: Path, splits: dict[str, pd.DataFrame]) -> str:
    """What never stands on two sides of these splits, by the report beside them (or one folder up, of folds).

    Raises:
        UserError: there is no report, or it is of other splits.
    """
    for path in (folder / "report.json", folder.parent / "report.json"):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            known = {division["splits_sha256"] for division in report["divisions"].values()}
            kind = str(report["config"]["split"])
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} cannot be read as a report; make it with: python -m data.prepare") from error
        if splits_sha256(splits) in known:
            return kind
    raise UserError(f"{folder}: no report.json of these splits; make them again with: python -m data.prepare")


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
    partial = fetch(Remote(url=url), folder / f".{TABLE}.part")
    if sha256(partial) != digest:
        partial.unlink()
        raise UserError(f"{url}: its sha256 is not {digest}; fetch the table by hand and give --source PATH")
    sync(partial)
    return partial.replace(target)


def check_labels(table: pd.DataFrame) -> pd.DataFrame:
    """Reject rows whose name is no formula or whose Tc is none; adds `fate`, `reason`, `key`, `chemical_system`."""
    rows = table.assign(fate="", reason="", tc=pd.to_numeric(table["tc"], errors="coerce"))
    faults = rows["name"].map({name: _fault(name) for name in rows["name"].unique()})
    rows = reject(rows, faults != "", faults)
    rows = reject(rows, ~np.isfinite(rows["tc"]), "Tc is no number")
    rows = reject(rows, rows["tc"] < 0, "Tc is below 0 K")
    rows = reject(rows, rows["tc"] > LARGEST_TC_K, f"Tc is above {LARGEST_TC_K:g} K")
    used = rows["fate"] == ""
    shares = [fractions(parse_formula(name)) if good else {} for name, good in zip(rows["name"], used, strict=True)]
    return rows.assign(
        key=[composition_key(share) for share in shares], chemical_system=[chemical_system(share) for share in shares]
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
    valid = rows[rows["fate"] == ""]
    positive = valid[valid["tc"] > 0].groupby("key")["tc"].median()
    first = ~valid.sort_values("row")["key"].duplicated()
    repeated = ~rows.index.isin(first[first].index)
    rows = reject(rows, pd.Series(repeated, rows.index), "same composition as another row", REPEATED)
    return rows.assign(tc=rows["tc"].where(rows["fate"] != "", rows["key"].map(positive).fillna(0.0)))


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
    left = rows[rows["fate"] == ""]
    near = nearest_distance(left["name"].tolist(), held_out["formula"].tolist()) <= exclude + ROUNDING
    close = rows.index.isin(left.index[near])
    return reject(rows, pd.Series(close, rows.index), f"within {exclude:g} of a held-out composition", NEAR_HELD_OUT)


def nearest_distance(formulas: list[str], others: list[str]) -> Array:
    """Fraction of the atoms (n,) that lies between each formula and the nearest of the others; 1 with none of them."""
    if not formulas or not others:
        return np.ones(len(formulas))
    found = cdist(element_fractions(formulas), element_fractions(others), "cityblock") / 2
    return np.asarray(found.min(axis=1))


def labels_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows left, as `extra_labels.csv`: name as published, formula without the ones that chemists leave out."""
    left = rows[rows["fate"] == ""].sort_values(["name", "row"])
    formula = left["name"].map(lambda name: re.sub(r"(?<=[A-Za-z\])])1(?![\d.])", "", name))
    return left.assign(formula=formula)[list(LABEL_COLUMNS)]


def ledger(rows: pd.DataFrame) -> pd.DataFrame:
    """Every row of SuperCon once, in its order, with what became of it."""
    return rows.sort_values("row")[["row", "name", "tc", "fate", "reason"]].replace({"fate": {"": "used"}})


def report_of(rows: pd.DataFrame, labels: pd.DataFrame, splits: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Counts, and how far the test compositions are from the nearest label, with the extra ones and without."""
    train, test, extra = splits["train"]["formula"].tolist(), splits["test"]["formula"].tolist(), labels["formula"]
    without = nearest_distance(test, train)
    added = np.minimum(without, nearest_distance(test, extra.tolist()))
    return {
        "rows": rows["fate"].replace("", "used").value_counts().sort_index().to_dict(),
        "labels": len(labels),
        "labels_at_0_K": int((labels["tc"] == 0).sum()),
        "splits_sha256": splits_sha256(splits),
        "distance_of_test": {"without": _distances(without), "with": _distances(added)},
    }


def _distances(nearest: Array) -> dict[str, float]:
    """Median distance, and the fraction of the test compositions within some of them."""
    within = {f"within_{limit:.0%}": round(float((nearest <= limit + ROUNDING).mean()), 4) for limit in NEAR}
    return {"median": round(float(np.median(nearest)), 5), **within}


def show(report: dict[str, Any], path: Path) -> None:
    """What became of the rows, and how near test compositions are to a label."""
    print("rows: " + ", ".join(f"{count} {what}" for what, count in report["rows"].items()))
    for name, near in report["distance_of_test"].items():
        limits = ", ".join(f"{near[f'within_{limit:.0%}']:.1%} within {limit:.0%}" for limit in NEAR)
        print(f"test compositions, {name} extra labels: {limits} of a training label (share of the atoms)")
    print(f"wrote {report['labels']} labels ({report['labels_at_0_K']} at 0 K) to {path}")


if __name__ == "__main__":
    run(
        lambda: main(
            parse(SuperconConfig, prog="python -m data.supercon", description=(__doc__ or "").partition("\n")[0])
        )
    )

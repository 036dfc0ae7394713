"""What became of every row and why: report.json, and a few lines of it for the terminal."""

from pathlib import Path
from typing import Any

import pandas as pd

from data.materials import multiple_tc
from data.tables import REJECTED
from tc_common.files import printable, table_text
from tc_common.splits import SPLITS, TC_RANGES, splits_sha256, tc_strata

ROWS_SHOWN = 10


def rows_report(rows: pd.DataFrame) -> dict[str, Any]:
    """What became of every row of the source: counts, and each one that was rejected, altered or merged."""
    statuses = rows["status"].replace("", "included").value_counts().sort_index()
    columns = ["row", "material_id", "formula", "reason"]
    altered = rows[(rows["status"] == "") & (rows["remark"] != "")]
    return {
        "rows": {"in source": len(rows), **{str(status): int(count) for status, count in statuses.items()}},
        "rejected": rows[rows["status"] == REJECTED].sort_values("row")[columns].to_dict("records"),
        "altered": altered.sort_values("row")[[*columns[:3], "remark"]].to_dict("records"),
        "retracted": rows[rows["retraction"] != ""]
        .sort_values("row")[[*columns[:3], "retraction"]]
        .to_dict("records"),
        "multiple_tc": multiple_tc(rows),
    }


def audit_log(rows: pd.DataFrame) -> pd.DataFrame:
    """Every row of the source once, in its order, with its status: nothing is lost without being listed."""
    table = rows.sort_values("row")[["row", "material_id", "formula", "tc", "status", "reason"]]
    texts = {column: table[column].map(table_text) for column in ("material_id", "formula", "reason")}
    return table.assign(**texts).replace({"status": {"": "included"}})


def split_report(splits: dict[str, pd.DataFrame], others: pd.DataFrame, leakage: dict[str, Any]) -> dict[str, Any]:
    """Sizes, balance, fingerprint, other structures and leakage of one division."""
    return {
        "materials": {name: len(splits[name]) for name in SPLITS},
        "balance": {name: balance(splits[name]) for name in SPLITS},
        "splits_sha256": splits_sha256(splits),
        "other_structures": {name: structures_beyond(others[others["split"] == name]) for name in SPLITS},
        "leakage": leakage,
    }


def structures_beyond(others: pd.DataFrame) -> dict[str, int]:
    """Number of compositions with further structures than the chosen one, and of those structures."""
    return {"compositions": int(others["key"].nunique()), "structures": len(others)}


def balance(materials: pd.DataFrame) -> dict[str, float]:
    """Mean Tc (K) and the fraction of materials in each range of Tc."""
    strata = tc_strata(materials["tc"])
    shares = {name: round(float((strata == number).mean()), 4) for number, name in enumerate(TC_RANGES)}
    return {"mean_tc_K": round(float(materials["tc"].mean()), 3)} | shares


def show_rows(report: dict[str, Any], out: Path) -> None:
    """The rows' statuses, and the first rejected and altered ones."""
    print("rows: " + ", ".join(f"{count} {what}" for what, count in report["rows"].items()))
    for kind, text in (("rejected", "reason"), ("altered", "remark"), ("retracted", "retraction")):
        for entry in report[kind][:ROWS_SHOWN]:
            name, why = printable(entry["material_id"])[:44], printable(entry[text])
            print(f"  {kind} row {entry['row']:>6}  {name:<44}  {why}")
        if len(report[kind]) > ROWS_SHOWN:
            print(f"  {len(report[kind]) - ROWS_SHOWN} more {kind} rows in {out / 'report.json'}")
    for entry in report["multiple_tc"][:ROWS_SHOWN]:
        formulas = printable(" = ".join(entry["formulas"]))
        print(f"  {formulas} is listed with Tc {entry['listed_K']} K, included as {entry['included_K']} K")


def show_division(name: str, report: dict[str, Any]) -> None:
    """Sizes, other structures and the audit of one division, on four lines."""
    leakage = report["leakage"]
    probe = leakage["nearest_composition_probe"]["all"]
    sizes = ", ".join(f"{part} {count}" for part, count in report["materials"].items())
    near = ", ".join(f"{share:.1%} within {limit}" for limit, share in leakage["nearest_within"].items())
    print(f"{name}: {sizes}; sha256 {report['splits_sha256'][:12]}")
    print(
        "  compositions with other structures: "
        + ", ".join(
            f"{part} {found['compositions']} ({found['structures']} structures)"
            for part, found in report["other_structures"].items()
        )
    )
    print(
        f"  test known from train: {near} of a training composition; {leakage['shared_parents']:.1%} share a parent, "
        f"{leakage['shared_systems']:.1%} a chemical system"
    )
    print(
        f"  copying the nearest composition's Tc: MAE {probe['mae_K']:.2f} K, R2 {probe['r2']:.3f}, MSLE "
        f"{probe['msle']:.3f} (training median: MAE {probe['median_mae_K']:.2f} K)"
    )


def show_folds(out: Path, divisions: dict[str, dict[str, Any]]) -> None:
    """Mean and standard deviation over the folds of what `show_division` prints for one."""
    audits = [division["leakage"] for division in divisions.values()]
    probes = pd.DataFrame([audit["nearest_composition_probe"]["all"] for audit in audits])
    shares = pd.DataFrame([{"parent": a["shared_parents"], "chemical system": a["shared_systems"]} for a in audits])
    print(f"{out}: {len(audits)} folds of {min(a['test'] for a in audits)} to {max(a['test'] for a in audits)} tested")
    print("  shared with train: " + ", ".join(f"{shares[what].mean():.1%} a {what}" for what in shares))
    scores = (f"{key} {probes[key].mean():.3f} ± {probes[key].std():.3f}" for key in ("mae_K", "r2", "msle"))
    print("  copying the nearest composition's Tc: " + ", ".join(scores))

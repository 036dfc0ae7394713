"""Extra labels: measured compositions without a structure, made for one set of split files.

`python -m data.supercon` writes them. Every reader checks that they belong to its splits, so that no label near a
validation or test composition is learned from by mistake.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tc_common.composition import ROUNDING, nearest_distance
from tc_common.errors import UserError
from tc_common.files import read_csv, read_json, sha256
from tc_common.splits import read_splits, splits_sha256

LABEL_COLUMNS = ("name", "formula", "tc", "chemical_system")
LABELS_FILE = "extra_labels.csv"
MADE_BY = "python -m data.supercon"


@dataclass(frozen=True, eq=False)
class ExtraLabels:
    """Compositions with their Tc, and what was kept away from the held-out ones."""

    table: pd.DataFrame
    """One row per composition: `name`, `formula`, `tc` (K), `chemical_system`."""
    exclude: float
    """Every label is farther than this fraction of the atoms from every validation and test composition."""
    split: str
    """Kind of the splits; in `chemical-system` no label is of a held-out system either."""

    def away_from(self, materials: pd.DataFrame, systems: bool = True) -> "ExtraLabels":
        """Those that may be learned from where these materials (and their chemical systems) are held out too."""
        distance = nearest_distance(self.table["formula"].tolist(), materials["formula"].tolist())
        theirs = self.table["chemical_system"].isin(set(materials["chemical_system"]) if systems else ())
        kept = self.table[(distance > self.exclude + ROUNDING) & ~theirs]
        return replace(self, table=kept.reset_index(drop=True))

    def metadata(self) -> dict[str, Any]:
        """What metrics, tables and cards say of them."""
        return {"extra_labels": len(self.table), "extra_labels_exclude": self.exclude}


def with_labels(materials: pd.DataFrame, labels: ExtraLabels | None) -> pd.DataFrame:
    """`formula` and `tc` (K) of materials and of extra labels, in this order."""
    own = materials[["formula", "tc"]]
    return own if labels is None else pd.concat([own, labels.table[["formula", "tc"]]], ignore_index=True)


def report_path(labels: Path) -> Path:
    """Where the report of a file of labels lies."""
    return labels.with_suffix(".json")


def read_extra_labels(
    path: Path,
    data_dir: Path,
    columns: tuple[str, ...] = LABEL_COLUMNS,
    made_by: str = MADE_BY,
    splits_flag: str = "--splits",
) -> ExtraLabels:
    """Labels made for the split files in `data_dir`.

    Args:
        columns: what the file must have, beginning with `LABEL_COLUMNS`.
        made_by: the command that makes it; splits_flag: its flag that names the split files' folder.

    Raises:
        UserError: file or report is missing, was changed, has other columns or a Tc that is none, or belongs to other
            splits.
    """
    table = read_csv(path, columns, made_by)
    table = table.assign(tc=pd.to_numeric(table["tc"], errors="coerce"))
    wrong = ~(np.isfinite(table["tc"]) & (table["tc"] >= 0))
    if wrong.any():
        row = table[wrong].iloc[0]
        raise UserError(f"{path}: Tc of {row['name']} is no temperature in kelvin; make it again with: {made_by}")
    report = _report(path, made_by)
    if report["labels_sha256"] != sha256(path):
        raise UserError(f"{path} is not the file that {report_path(path)} describes; make it again with: {made_by}")
    if report["splits_sha256"] != splits_sha256(read_splits(data_dir)):
        raise UserError(
            f"{path} keeps away from the held-out materials of other splits than {data_dir}; "
            f"make it with: {made_by} {splits_flag} {data_dir}"
        )
    return ExtraLabels(table, float(report["exclude"]), str(report["split"]))


def _report(labels: Path, made_by: str) -> dict[str, Any]:
    path = report_path(labels)
    try:
        report = read_json(path)
        return {name: report[name] for name in ("labels_sha256", "splits_sha256", "exclude", "split")}
    except (UserError, KeyError) as error:
        raise UserError(f"{path}, the report of {labels.name}, cannot be read; make both with: {made_by}") from error

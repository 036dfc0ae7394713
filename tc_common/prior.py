"""Prior: the pair's Tc of every material, made by `python -m baselines.prior`, as an input of a network.

A training material's prior comes from a pair that has not seen it, as those of validation and test materials do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tc_common.errors import UserError
from tc_common.files import read_csv, read_json, sha256
from tc_common.splits import read_splits, splits_sha256

PRIOR_COLUMNS = ("material_id", "formula", "prior_K", "learned")
PRIOR_FILE = "prior.csv"
MADE_BY = "python -m baselines.prior"
# What the report says of a prior, and from there metrics, checkpoints and cards; the last two only with extra labels.
FACTS = ("prior_sha256", "prior_folds", "extra_labels", "extra_labels_exclude")


@dataclass(frozen=True, eq=False)
class Prior:
    """The pair's prediction by material, and where it comes from."""

    path: Path
    prior_K: dict[str, float]
    """Kelvin by material id: training (out of fold), validation, test, their other structures, the literature."""
    learned: frozenset[str]
    """Ids of materials whose own composition the pair was fitted on: crystals from the literature."""
    facts: dict[str, Any]
    """Those of `FACTS` that apply."""

    def of(self, material_ids: Iterable[str]) -> NDArray[np.float64]:
        """Prior (n,) in K of these materials.

        Raises:
            UserError: there is none of a material.
        """
        ids = list(material_ids)
        if missing := [each for each in ids if each not in self.prior_K]:
            raise UserError(f"{self.path} has no prior of {missing[0]} ({len(missing)} missing); make it: {MADE_BY}")
        return np.array([self.prior_K[each] for each in ids])


def read_prior(path: Path, data_dir: Path) -> Prior:
    """The prior made for the split files in `data_dir`.

    Raises:
        UserError: file or report is missing, was changed, has other columns, an id twice or a prior that is no
            temperature, or belongs to other splits.
    """
    table = read_csv(path, PRIOR_COLUMNS, MADE_BY)
    report = _report(path)
    if report["prior_sha256"] != sha256(path):
        raise UserError(
            f"{path} is not the file that {path.with_suffix('.json')} describes; make both with: {MADE_BY}"
        )
    if report["splits_sha256"] != splits_sha256(read_splits(data_dir)):
        raise UserError(
            f"{path} was made for other splits than {data_dir}; make it with: {MADE_BY} --data-dir {data_dir}"
        )
    return Prior(path, _kelvin(table, path), _learned(table), {key: report[key] for key in FACTS if key in report})


def _kelvin(table: pd.DataFrame, path: Path) -> dict[str, float]:
    prior_K = pd.to_numeric(table["prior_K"], errors="coerce")
    wrong = table["material_id"].duplicated() | ~(np.isfinite(prior_K) & (prior_K >= 0))
    if wrong.any():
        raise UserError(
            f"{path}: {table.loc[wrong, 'material_id'].iloc[0]} is listed twice or has no temperature in kelvin; "
            f"make it again with: {MADE_BY}"
        )
    return dict(zip(table["material_id"].astype(str), prior_K.astype(float), strict=True))


def _learned(table: pd.DataFrame) -> frozenset[str]:
    return frozenset(table.loc[table["learned"].astype(str) == "True", "material_id"].astype(str))


def _report(path: Path) -> dict[str, Any]:
    report = path.with_suffix(".json")
    try:
        content = read_json(report)
        return {**content, **{name: content[name] for name in ("prior_sha256", "splits_sha256", "prior_folds")}}
    except (UserError, KeyError) as error:
        raise UserError(f"{report}, the report of {path.name}, cannot be read; make both with: {MADE_BY}") from error

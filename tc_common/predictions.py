"""Prediction files: one row per material, the only thing that models share with the comparison."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from tc_common.errors import UserError
from tc_common.files import read_csv, write_csv

PREDICTION_COLUMNS = ("material_id", "formula", "tc", "tc_pred")
OPTIONAL_COLUMNS = ("tc_std", "tc_lower", "tc_upper")
MADE_BY = "the model's train command"
# Two files state the same measured Tc if they differ by no more than float32 rounding.
SAME_TC_K = 1e-3
MODEL_NAME_RULE = (
    "a letter, then letters, digits and _, not ending in _val, nor beginning with ensemble, which the comparison makes"
)


def is_model_name(name: str) -> bool:
    """May `<name>_predictions.csv` be a model's? `x_val` would look like the validation predictions of `x`."""
    return bool(re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII)) and not name.endswith("_val") and name[:8] != "ensemble"


def write_predictions(path: Path, predictions: pd.DataFrame) -> None:
    """Write `material_id,formula,tc,tc_pred` and the uncertainties there are (all in K), sorted by id."""
    check_predictions(predictions, path)
    columns = [*PREDICTION_COLUMNS, *(column for column in OPTIONAL_COLUMNS if column in predictions)]
    write_csv(path, predictions[columns].sort_values("material_id"))


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a prediction file, sorted by id.

    Raises:
        UserError: missing file or column, a repeated id, or a temperature that is not a finite number.
    """
    predictions = read_csv(path, PREDICTION_COLUMNS, MADE_BY)
    check_predictions(predictions, path)
    return predictions.sort_values("material_id", ignore_index=True)


def check_predictions(predictions: pd.DataFrame, path: Path) -> None:
    """Refuse an empty table, ids that are missing or repeated, and temperatures that are not finite kelvins."""
    if predictions.empty:
        raise UserError(f"{path} has no rows; train the model again")
    if predictions["material_id"].isna().any():
        raise UserError(f"{path}: row {int(predictions['material_id'].isna().argmax()) + 2} has no material_id")
    repeated = predictions["material_id"][predictions["material_id"].duplicated()]
    if len(repeated):
        raise UserError(f"{path}: material {repeated.iloc[0]} stands twice; one row per material is needed")
    for column in ("tc", "tc_pred", *(column for column in OPTIONAL_COLUMNS if column in predictions)):
        _check_kelvins(predictions, column, path)
    if (predictions["tc"] < 0).any():
        row = predictions[predictions["tc"] < 0].iloc[0]
        raise UserError(f"{path}: tc of {row['material_id']} is {row['tc']}, below 0 K")


def _check_kelvins(predictions: pd.DataFrame, column: str, path: Path) -> None:
    wrong = ~np.isfinite(pd.to_numeric(predictions[column], errors="coerce"))
    if wrong.any():
        row = predictions[wrong].iloc[0]
        raise UserError(f"{path}: {column} of {row['material_id']} is {row[column]}, not a number of kelvins")


def average_samples(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per material, by id: mean prediction over its samples and, where there are several, their SD (K).

    A prediction that is not finite makes its material's mean not finite (pandas' own mean would leave it out).
    """
    material, ids = pd.factorize(rows["material_id"], sort=True)
    pred_K, samples = rows["tc_pred"].to_numpy(), np.bincount(material)
    mean_K = np.bincount(material, weights=pred_K) / samples
    averaged = pd.DataFrame({"material_id": ids, "tc": rows.groupby(material)["tc"].first(), "tc_pred": mean_K})
    if samples.max() > 1:
        averaged["tc_std"] = np.sqrt(np.bincount(material, weights=(pred_K - mean_K[material]) ** 2) / samples)
    return averaged


def align(predictions: pd.DataFrame, truth: pd.DataFrame, path: Path, truth_name: str) -> pd.DataFrame:
    """Put predictions in the order of `truth`; only `material_id` decides which row is which.

    Raises:
        UserError: an id is missing or unknown, or a measured Tc is not that of `truth`.
    """
    missing = sorted(set(truth["material_id"]) - set(predictions["material_id"]))
    unknown = sorted(set(predictions["material_id"]) - set(truth["material_id"]))
    if missing or unknown:
        parts = [f"lacks {_some(missing)}"] * bool(missing) + [f"has also {_some(unknown)}"] * bool(unknown)
        raise UserError(f"{path} and {truth_name} hold different materials: it {' and '.join(parts)}")
    aligned = predictions.set_index("material_id").loc[truth["material_id"]].reset_index()
    differs = (aligned["tc"] - truth["tc"].to_numpy()).abs() > SAME_TC_K
    if differs.any():
        row = aligned[differs].iloc[0]
        tc_K = truth["tc"].to_numpy()[differs][0]
        raise UserError(f"{path}: tc of {row['material_id']} is {row['tc']} K, but {tc_K} K in {truth_name}")
    return aligned


def _some(ids: Iterable[str]) -> str:
    """The first few ids and how many more there are."""
    ids = list(ids)
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")

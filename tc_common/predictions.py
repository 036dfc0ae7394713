"""Prediction files: one row per material, the only interface between models and comparison."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tc_common.composition import formula_distance, fractions, parse_formula
from tc_common.errors import UserError
from tc_common.files import read_csv, write_csv

PREDICTION_COLUMNS = ("material_id", "formula", "tc", "tc_pred")
OPTIONAL_COLUMNS = ("tc_std", "tc_lower", "tc_upper")
NOT_NEGATIVE = ("tc", "tc_std")
MADE_BY = "the model's train command"
# No material superconducts within orders of magnitude of this; a larger prediction is a number gone wrong.
LARGEST_K = 1e6
# Two files state the same measured Tc if they differ by no more than float32 rounding.
SAME_TC_K = 1e-3
SAME_FRACTION = 1e-3
MODEL_NAME_RULE = (
    "a letter, then letters, digits and _, not ending in _val, _other_structures or _literature, nor beginning with "
    "ensemble, which the comparison makes"
)
# `<name><ending>_predictions.csv` holds a model's predictions of other materials than the test materials.
NOT_TEST = ("_val", "_other_structures", "_literature")


def is_model_name(name: str) -> bool:
    """May `<name>_predictions.csv` be a model's? `x_val` would look like the validation predictions of `x`."""
    return (
        bool(re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII)) and not name.endswith(NOT_TEST) and name[:8] != "ensemble"
    )


def write_predictions(path: Path, predictions: pd.DataFrame, facts: Sequence[str] = ()) -> None:
    """Write `material_id,formula,tc,tc_pred`, the uncertainties (all in K) and `facts` there are, sorted by id."""
    check_predictions(predictions, path)
    columns = [*PREDICTION_COLUMNS, *(column for column in (*OPTIONAL_COLUMNS, *facts) if column in predictions)]
    write_csv(path, predictions[columns].sort_values("material_id"))


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a prediction file, sorted by id.

    Raises:
        UserError: missing file or column, a repeated id, or a temperature that cannot be (see `check_predictions`).
    """
    predictions = read_csv(path, PREDICTION_COLUMNS, MADE_BY)
    check_predictions(predictions, path)
    return predictions.sort_values("material_id", ignore_index=True)


def check_predictions(predictions: pd.DataFrame, path: Path) -> None:
    """Refuse an empty table, ids that are missing or repeated, and temperatures that cannot be.

    Raises:
        UserError: the file, the material, its value, and what to do.
    """
    if predictions.empty:
        raise UserError(f"{path} has no rows; train the model again")
    if predictions["material_id"].isna().any():
        raise UserError(f"{path}: row {int(predictions['material_id'].isna().argmax()) + 2} has no material_id")
    repeated = predictions["material_id"][predictions["material_id"].duplicated()]
    if len(repeated):
        raise UserError(f"{path}: material {repeated.iloc[0]} is there twice; one row per material is needed")
    for column in ("tc", "tc_pred", *(column for column in OPTIONAL_COLUMNS if column in predictions)):
        _check_kelvins(predictions, column, path)
        if column in NOT_NEGATIVE:
            _refuse(predictions, column, predictions[column] < 0, path, "below 0 K")
    if {"tc_lower", "tc_upper"} <= set(predictions):
        crossed = predictions["tc_lower"] > predictions["tc_upper"]
        _refuse(predictions, "tc_lower", crossed, path, "above its tc_upper")


def _check_kelvins(predictions: pd.DataFrame, column: str, path: Path) -> None:
    kelvin = pd.to_numeric(predictions[column], errors="coerce")
    _refuse(predictions, column, ~np.isfinite(kelvin), path, "not a number of kelvins")
    _refuse(predictions, column, kelvin.abs() > LARGEST_K, path, f"beyond {LARGEST_K:g} K")


def _refuse(predictions: pd.DataFrame, column: str, wrong: pd.Series, path: Path, fault: str) -> None:
    """Name the first wrong value, if there is one."""
    if wrong.any():
        row = predictions[wrong].iloc[0]
        raise UserError(
            f"{path}: {column} of {row['material_id']} is {row[column]}, {fault}; correct it, or run the model again"
        )


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
        UserError: an id is missing or unknown, or a formula or measured Tc is not that of `truth`.
    """
    missing = sorted(set(truth["material_id"]) - set(predictions["material_id"]))
    unknown = sorted(set(predictions["material_id"]) - set(truth["material_id"]))
    if missing or unknown:
        parts = [f"lacks {_some(missing)}"] * bool(missing) + [f"has also {_some(unknown)}"] * bool(unknown)
        raise UserError(f"{path} and {truth_name} hold different materials: it {' and '.join(parts)}")
    aligned = predictions.set_index("material_id").loc[truth["material_id"]].reset_index()
    if "formula" in truth:
        _refuse_other(aligned, "formula", truth, _other_formula(aligned, truth), path, truth_name)
    differs = (aligned["tc"] - truth["tc"].to_numpy()).abs() > SAME_TC_K
    _refuse_other(aligned, "tc", truth, differs, path, truth_name)
    return aligned


def _refuse_other(
    aligned: pd.DataFrame, column: str, truth: pd.DataFrame, differs: pd.Series, path: Path, truth_name: str
) -> None:
    """Name the first material of which two files state something else, if there is one."""
    if differs.any():
        row, stated = aligned[differs].iloc[0], truth[column].to_numpy()[differs][0]
        raise UserError(
            f"{path}: {column} of {row['material_id']} is {row[column]}, but {stated} in {truth_name}; "
            "the files are of different data: run the model again on these splits"
        )


def _other_formula(aligned: pd.DataFrame, truth: pd.DataFrame) -> pd.Series:
    """Whose formula is another composition, not merely spelled otherwise."""
    pairs = zip(aligned["formula"].astype(str), truth["formula"].astype(str), strict=True)
    return pd.Series([ours != theirs and not _same_composition(ours, theirs) for ours, theirs in pairs])


def _same_composition(a: str, b: str) -> bool:
    try:
        return formula_distance(fractions(parse_formula(a)), fractions(parse_formula(b))) < SAME_FRACTION
    except UserError:  # one of them is no formula
        return False


def _some(ids: Iterable[str]) -> str:
    """The first few ids and how many more there are."""
    ids = list(ids)
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")

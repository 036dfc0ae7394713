"""Prediction files: one row per material, the only thing that models share with the comparison."""

from pathlib import Path

import numpy as np
import pandas as pd

from tc_common.errors import UserError
from tc_common.files import read_csv, write_csv

PREDICTION_COLUMNS = ("material_id", "formula", "tc", "tc_pred")
OPTIONAL_COLUMNS = ("tc_std", "tc_lower", "tc_upper")


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
    predictions = read_csv(path, PREDICTION_COLUMNS, "the model's train command")
    check_predictions(predictions, path)
    return predictions.sort_values("material_id", ignore_index=True)


def check_predictions(predictions: pd.DataFrame, path: Path) -> None:
    """Refuse an empty table, repeated ids and temperatures that are not finite numbers of kelvins."""
    if predictions.empty:
        raise UserError(f"{path} has no rows; train the model again")
    repeated = predictions["material_id"][predictions["material_id"].duplicated()]
    if len(repeated):
        raise UserError(f"{path}: material {repeated.iloc[0]} stands twice; one row per material is needed")
    for column in ("tc", "tc_pred"):
        values = pd.to_numeric(predictions[column], errors="coerce")
        if not np.isfinite(values).all():
            row = predictions[~np.isfinite(values)].iloc[0]
            raise UserError(f"{path}: {column} of {row['material_id']} is {row[column]!r}, not a number of kelvins")

"""What a comparison keeps beside its numbers, so that they can be made again without the data set."""

from pathlib import Path
from typing import Any

import pandas as pd

from comparison.repeats import Run
from tc_common.files import read_csv, write_csv
from tc_common.metrics import score
from tc_common.splits import SPLITS

SPLITS_FILE = "splits.csv.gz"
RUNS_FILE = "runs_predictions.csv.gz"
TRAINING_COLUMNS = ("run", "training_median_K", "n_train")
SPLIT_COLUMNS = ("split", "material_id", "formula", "tc", "chemical_system", "family", "weight")
MADE_BY = "python compare_models.py"


def write_kept_splits(folder: Path, splits: dict[str, pd.DataFrame]) -> None:
    """Write who is in which split, with all that numbers need: measured Tc (K), chemical system, family, weight."""
    table = pd.concat([splits[name].assign(split=name) for name in SPLITS])
    write_csv(folder / SPLITS_FILE, table[list(SPLIT_COLUMNS)])


def read_kept_splits(folder: Path) -> dict[str, pd.DataFrame]:
    """`train`, `val` and `test` as the comparison in `folder` saw them.

    Raises:
        UserError: the file is missing or damaged.
    """
    table = read_csv(folder / SPLITS_FILE, SPLIT_COLUMNS, MADE_BY)
    return {name: table[table["split"] == name].drop(columns="split").reset_index(drop=True) for name in SPLITS}


def write_kept_runs(folder: Path, runs: dict[str, Run], splits: dict[str, dict[str, pd.DataFrame]]) -> None:
    """Write the predictions of all runs as one table: run, training median (K) and size, material, Tc, every model."""
    tables = []
    for name, run in runs.items():
        train = splits[name]["train"]
        table = run.predictions.assign(run=name, training_median_K=train["tc"].median(), n_train=len(train))
        tables.append(table[[*TRAINING_COLUMNS, *run.predictions.columns]])
    write_csv(folder / RUNS_FILE, pd.concat(tables))


def read_kept_runs(folder: Path) -> dict[str, Run]:
    """Every run of `write_kept_runs`.

    Raises:
        UserError: the file is missing or damaged.
    """
    made_by = "the benchmark that wrote comparison.json"
    table = read_csv(folder / RUNS_FILE, (*TRAINING_COLUMNS, "material_id", "tc"), made_by)
    return {str(name): _run(part) for name, part in table.groupby("run", sort=False)}


def _run(table: pd.DataFrame) -> Run:
    """One run of the kept table."""
    predictions = table.drop(columns=list(TRAINING_COLUMNS)).reset_index(drop=True)
    models = [name for name in predictions if name not in ("material_id", "tc")]
    tc_K, median_K = predictions["tc"], float(table["training_median_K"].iloc[0])
    median_mae_K = score(tc_K, tc_K, median_K)["median_mae_K"]
    n_train: Any = table["n_train"].iloc[0]
    return Run(
        predictions=predictions,
        median_mae_K=dict.fromkeys(models, median_mae_K),
        n_train=dict.fromkeys(models, float(n_train)),
    )

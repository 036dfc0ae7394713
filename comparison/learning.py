"""Learning curves: error over the number of training compositions.

Subsets are nested (each holds the smaller ones) and drawn by composition, so that a curve falls because materials are
added, not exchanged. `python -m benchmarks.learning_curve` fits the models that need no structure and writes the
table; comparisons over runs of different training sizes make one by themselves.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tc_common.files import read_csv
from tc_common.splits import composition_keys

LEARNING_FILE = "learning_curve.csv"
COLUMNS = ("model", "n_train", "mae_K", "low_K", "high_K")
MADE_BY = "python -m benchmarks.learning_curve --results-dir FOLDER"
# Folds of one data set differ by a few materials in size; that is no learning curve.
LEAST_RATIO = 1.5


def nested_subsets(train: pd.DataFrame, parts: Sequence[float], seed: int) -> Iterator[pd.DataFrame]:
    """The first of the shuffled compositions, so many of them that they are each part (0 to 1) of all."""
    keys = pd.Series(composition_keys(train), index=train.index)
    order = np.random.default_rng(seed).permutation(keys.unique())
    for part in parts:
        kept = set(order[: max(1, round(part * len(order)))])
        yield train[keys.isin(kept)].reset_index(drop=True)


def read_learning_curve(folder: Path) -> pd.DataFrame | None:
    """The table of a results folder; None where it has none.

    Raises:
        UserError: it is damaged.
    """
    path = folder / LEARNING_FILE
    return read_csv(path, COLUMNS, MADE_BY) if path.exists() else None


def sizes_of_runs(runs: pd.DataFrame) -> pd.DataFrame | None:
    """Mean MAE by model and training size; None where the sizes are unknown or about the same.

    Args:
        runs: `run, model, mae_K, n_train`.
    """
    known = runs.dropna(subset=["n_train"])
    if known.empty or known["n_train"].max() < LEAST_RATIO * known["n_train"].min():
        return None
    return known.groupby(["model", "n_train"], as_index=False)["mae_K"].mean()

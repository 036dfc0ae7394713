"""Read the predictions and metrics of all models in a results folder, aligned on the same materials."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype

from tc_common.errors import UserError
from tc_common.files import read_csv, read_json, write_csv
from tc_common.further import FURTHER_TESTS, LITERATURE, OTHERS
from tc_common.predictions import NOT_TEST, align, read_predictions
from tc_common.results import ENDING, METRICS_ENDING, VAL_ENDING, further_path
from tc_common.splits import SPLITS, read_splits, splits_sha256

Predictions: TypeAlias = dict[str, pd.DataFrame]
# Made by the comparison itself from other models' files, hence never an input of it.
OWN_MODELS = ("ensemble", "ensemble_equal")
DEFAULT_DATA_DIR = Path("data/processed")
# Who is in which split, with measured Tc (K), chemical system, family and weight.
SPLITS_FILE = "splits.csv.gz"
KEPT_COLUMNS = ("split", "material_id", "formula", "tc", "chemical_system", "family", "weight")
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Results:
    """Content of one results folder; all tables of a split hold the same ids in the same order."""

    truth: dict[str, pd.DataFrame]
    """`test` and, where there is one, `val`: `material_id, formula, tc, chemical_system, family, weight`."""
    test: Predictions
    """Test predictions of each model."""
    val: Predictions
    """Validation predictions of those models that wrote them."""
    further: dict[str, Predictions] = field(default_factory=dict)
    """By further test (`tc_common.further`), predictions of those models that wrote them, with the test's facts."""
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Content of `<model>_metrics.json`."""
    history: Predictions = field(default_factory=dict)
    """One row an epoch, from `<model>_history.csv`."""
    training_median_K: float = float("nan")
    """Median Tc of the training set; NaN where the split files are unknown."""
    training_size: int | None = None
    splits_sha256: str = ""
    splits: Predictions = field(default_factory=dict)
    """`train`, `val` and `test` where the split files are known."""
    ensembles: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Models and weights of the ensembles made by the comparison."""
    notes: tuple[str, ...] = ()
    """Remarks for the reader."""

    def column(self, name: str) -> np.ndarray[Any, Any]:
        """One column of the test materials."""
        return self.truth["test"][name].to_numpy()


def gather(results_dir: Path, data_dir: Path | None = None, limit: int | None = None) -> Results:
    """Read `<model>_predictions.csv` of every model in `results_dir`, and what belongs to them.

    Args:
        data_dir: folder of the split files; without it `data/processed`, or the splits that an earlier comparison
            kept in `results_dir`, if they hold these materials.
        limit: the models saw only so many rows of each split (the trainers' `--limit`).

    Raises:
        UserError: no predictions, differing or repeated materials, or numbers from different splits.
    """
    splits = read_splits(data_dir, limit) if data_dir else _default_splits(results_dir, limit)
    return gather_on(results_dir, splits)


def gather_on(results_dir: Path, splits: Predictions | None) -> Results:
    """The same on splits that were read already, or on none.

    Raises:
        UserError: as `gather`.
    """
    paths = prediction_files(results_dir)
    val_paths = {name: path for name in paths if (path := results_dir / f"{name}{VAL_ENDING}").exists()}
    test, truth = read_aligned(paths, splits["test"] if splits else None, "test.csv")
    val, val_truth = read_aligned(val_paths, splits["val"] if splits else None, "val.csv") if val_paths else ({}, None)
    if val_truth is None and splits:
        val_truth = splits["val"]
    known_truth = {"test": truth, **({"val": val_truth} if val_truth is not None else {})}
    results = Results(
        truth=known_truth,
        test=test,
        val=val,
        further=read_further(results_dir, list(paths), known_truth),
        metrics={name: read_metrics(results_dir / f"{name}{METRICS_ENDING}") for name in paths},
        history=_histories(results_dir, list(paths)),
    )
    return _with_splits(results, splits)


def read_aligned(
    paths: dict[str, Path], truth: pd.DataFrame | None = None, truth_name: str = ""
) -> tuple[Predictions, pd.DataFrame]:
    """Prediction tables in the order of `truth`, or where that is unknown of the first of them; and the truth.

    Raises:
        UserError: a file is damaged, or two of them hold different materials.
    """
    tables = {name: read_predictions(path) for name, path in paths.items()}
    if truth is None:
        first = next(iter(tables))
        truth, truth_name = _truth_of(tables[first]), paths[first].name
    return {name: align(table, truth, paths[name], truth_name) for name, table in tables.items()}, truth


def read_further(results_dir: Path, models: list[str], truth: dict[str, pd.DataFrame]) -> dict[str, Predictions]:
    """Predictions of the further tests; the materials of one test are the same for all models that have it.

    Raises:
        UserError: a file is damaged, holds other materials, or structures of materials that are not in its split.
    """
    further = {}
    for test in FURTHER_TESTS:
        paths = {name: path for name in models if (path := further_path(results_dir, name, test)).exists()}
        if paths:
            further[test] = read_aligned(paths)[0]
        for name, table in further.get(test, {}).items():
            _check_further(table, test, truth, paths[name])
    return further


def _check_further(table: pd.DataFrame, test: str, truth: dict[str, pd.DataFrame], path: Path) -> None:
    """Refuse a table without the facts of its test, or of materials that are not in its split."""
    needed = ("known", "split", "family") if test == LITERATURE else ("chosen",)
    if missing := [column for column in needed if column not in table]:
        raise UserError(f"{path} lacks {', '.join(missing)}; predict the further tests again")
    if test == LITERATURE:
        if not is_bool_dtype(table["known"]):
            raise UserError(f"{path}: known is not True or False everywhere; predict the further tests again")
        return
    split = OTHERS[test]
    unknown = set(table["chosen"]) - set(truth[split]["material_id"] if split in truth else [])
    if unknown:
        raise UserError(
            f"{path}: {min(map(str, unknown))} is no material of {split}.csv; predict the further tests again"
        )


def write_kept_splits(folder: Path, splits: Predictions) -> None:
    """Save who is in which split, so that results can be recomputed without the raw data."""
    table = pd.concat([splits[name].assign(split=name) for name in SPLITS])
    write_csv(folder / SPLITS_FILE, table[list(KEPT_COLUMNS)])


def read_kept_splits(folder: Path) -> Predictions:
    """`train`, `val` and `test` as the comparison in `folder` saw them.

    Raises:
        UserError: the file is missing or damaged.
    """
    table = read_csv(folder / SPLITS_FILE, KEPT_COLUMNS, "python compare_models.py")
    return {name: table[table["split"] == name].drop(columns="split").reset_index(drop=True) for name in SPLITS}


def prediction_files(results_dir: Path, ensembles: bool = False) -> dict[str, Path]:
    """Path of each model's test predictions, by model name; with or without those that a comparison made.

    Raises:
        UserError: there are none.
    """
    found = {path.name.removesuffix(ENDING): path for path in sorted(results_dir.glob(f"*{ENDING}"))}
    paths = {name: path for name, path in found.items() if not name.endswith(NOT_TEST)}
    if not ensembles:
        paths = {name: path for name, path in paths.items() if name not in OWN_MODELS}
    if not paths:
        raise UserError(f"{results_dir} holds no <model>{ENDING}; train a model or run: python -m baselines")
    return paths


def _default_splits(results_dir: Path, limit: int | None) -> Predictions | None:
    """`data/processed` or the splits kept by an earlier comparison, if these predictions are of their materials.

    That is seen by the fingerprint in a metrics file, or by the ids of the test materials.
    """
    paths = prediction_files(results_dir)
    fingerprints = {read_metrics(results_dir / f"{name}{METRICS_ENDING}").get("splits_sha256") for name in paths}
    ids = set(read_predictions(next(iter(paths.values())))["material_id"])
    found = []
    if all((DEFAULT_DATA_DIR / f"{name}.csv").exists() for name in SPLITS):
        found.append(read_splits(DEFAULT_DATA_DIR, limit))
    if limit is None and (results_dir / SPLITS_FILE).exists():
        found.append(read_kept_splits(results_dir))
    fitting = (s for s in found if set(s["test"]["material_id"]) == ids or splits_sha256(s) in fingerprints)
    return next(fitting, None)


def _truth_of(predictions: pd.DataFrame) -> pd.DataFrame:
    """Measured Tc as a prediction file states it; families and systems are unknown."""
    known = predictions[["material_id", "formula", "tc"]]
    return known.assign(chemical_system=known["material_id"], family=UNKNOWN, weight=1.0)


def read_metrics(path: Path) -> dict[str, Any]:
    """Content of a metrics file, empty where the model wrote none.

    Raises:
        UserError: it is there and cannot be read.
    """
    return read_json(path) if path.exists() else {}


def _histories(results_dir: Path, models: list[str]) -> Predictions:
    paths = {name: results_dir / f"{name}_history.csv" for name in models}
    return {name: read_csv(path, ("epoch",), "the train command") for name, path in paths.items() if path.exists()}


def _with_splits(results: Results, splits: Predictions | None) -> Results:
    """Add what only the split files know, or a note that they are missing."""
    if splits is None:
        note = (
            "Without the split files there is no skill, no family and no chemical system; "
            "name their folder with --data-dir."
        )
        return replace(results, notes=(*results.notes, note))
    fingerprint = splits_sha256(splits)
    for name, metrics in results.metrics.items():
        if metrics.get("splits_sha256", fingerprint) != fingerprint:
            raise UserError(
                f"{name} was trained on other splits (splits_sha256 differs); train it again on these, "
                "or name its own with --data-dir"
            )
    return replace(
        results,
        training_median_K=float(splits["train"]["tc"].median()),
        training_size=len(splits["train"]),
        splits_sha256=fingerprint,
        splits=splits,
    )

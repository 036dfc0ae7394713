"""From files to rows: predictions are streamed in batches of 16 crystals.

Legend: n crystals of a batch, M base models.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymatgen.core import Structure

from prediction.load import Predictor
from prediction.models import CRYSTALS_AT_ONCE, Array, Prediction
from prediction.novelty import Distance, warning
from tc_common.composition import fractions_formula, shown_formula
from tc_common.conformal import conformal_intervals
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tc_common.files import printable
from tc_common.metrics import mean_and_spread
from tc_common.results import COVERAGE

ReadFile = Callable[[Path], Structure]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Results for one file; empty where there is none."""

    file: str
    formula: str = ""
    tc_K: float | None = None
    tc_lower_K: float | None = None
    tc_upper_K: float | None = None
    nearest_formula: str = ""
    nearest_tc_K: float | None = None
    composition_distance: float | None = None
    composition_percentile: float | None = None
    graph_distance: float | None = None
    graph_percentile: float | None = None
    warning: str = ""
    error: str = ""


@dataclass(frozen=True, eq=False)
class Reading:
    """One crystal with the input of each base model."""

    file: str
    formula: str
    fractions: str
    prepared: list[Any]


def rows_of(predictor: Predictor, files: Iterable[Path], read_file: ReadFile = read_crystal) -> Iterator[Row]:
    """One row for every file, in their order; one batch of crystals is in memory at a time."""
    stream = iter(files)
    while batch := list(islice(stream, CRYSTALS_AT_ONCE)):
        readings = [read(predictor, path, read_file) for path in batch]
        predicted = iter(predict(predictor, [reading for reading in readings if isinstance(reading, Reading)]))
        yield from (next(predicted) if isinstance(reading, Reading) else reading for reading in readings)


def read(predictor: Predictor, path: Path, read_file: ReadFile = read_crystal) -> Reading | Row:
    """A crystal prepared for every base model, or the row with the reason why not."""
    try:
        structure = read_file(path)
        formula, fractions = shown_formula(structure), fractions_formula(structure)
        prepared = [model.prepare(structure) for model in predictor.base_models]
    except UserError as error:
        return Row(file=printable(path), error=_reason(error, path))
    return Reading(printable(path), formula, fractions, prepared)


def _reason(error: UserError, path: Path) -> str:
    """What is wrong, without the file's name, on one line."""
    text = str(error)
    for name in (f"{path}: ", f"{str(path)!r}: "):
        text = text.removeprefix(name)
    return printable(" ".join(text.split()))


def predict(predictor: Predictor, readings: list[Reading]) -> list[Row]:
    """Rows of n prepared crystals."""
    if not readings:
        return []
    predictions = [
        model.predict([reading.prepared[number] for reading in readings])
        for number, model in enumerate(predictor.base_models)
    ]
    combined = combine(predictions, predictor.weights)
    finite = np.isfinite(combined["tc_pred"].to_numpy())
    bounds = _bounds(predictor, combined)
    near = predictor.training.by_composition([reading.fractions for reading in readings])
    vectors = _vectors(predictor, predictions)
    graphs = [None] * len(readings) if vectors is None else predictor.training.by_graph(vectors)
    return [
        _row(predictor, reading, combined["tc_pred"].iloc[n], bounds.iloc[n], near[n], graphs[n])
        if finite[n]
        else Row(file=reading.file, formula=reading.formula, error="the model's prediction is not a finite number")
        for n, reading in enumerate(readings)
    ]


def combine(predictions: list[Prediction], weights: Array | None = None) -> pd.DataFrame:
    """`tc_pred` and where known `tc_std` (K) of n crystals.

    A single model's own; of more than one the weighted mean and the weighted SD about it, as in `comparison.ensemble`.
    """
    if len(predictions) == 1:
        table = pd.DataFrame({"tc_pred": predictions[0].tc_K})
        return table if predictions[0].std_K is None else table.assign(tc_std=predictions[0].std_K)
    assert weights is not None, "a mean of models needs weights"
    mean_K, spread_K = mean_and_spread(np.stack([prediction.tc_K for prediction in predictions], axis=1), weights)
    return pd.DataFrame({"tc_pred": mean_K, "tc_std": spread_K})


def _bounds(predictor: Predictor, combined: pd.DataFrame) -> pd.DataFrame:
    """`tc_lower, tc_upper` (K), NaN without validation predictions."""
    bounds = None if predictor.validation is None else conformal_intervals(predictor.validation, combined, COVERAGE)
    return pd.DataFrame(np.nan, combined.index, ["tc_lower", "tc_upper"]) if bounds is None else bounds


def _vectors(predictor: Predictor, predictions: list[Prediction]) -> Any:
    """Crystal vectors of the network that made the training set's vectors, if it is one of the base models."""
    pairs = zip(predictor.base_models, predictions, strict=True)
    return next((prediction.vectors for model, prediction in pairs if model.name == "alignn"), None)


def _row(
    predictor: Predictor, reading: Reading, pred_K: float, bounds: pd.Series, near: Distance, graph: Distance | None
) -> Row:
    nearest = predictor.training.table.iloc[near.row]
    warnings = [warning("composition", near, predictor.training)]
    warnings += [warning("graph", graph, predictor.training)] if graph else []
    return Row(
        file=reading.file,
        formula=reading.formula,
        tc_K=max(float(pred_K), 0.0),
        tc_lower_K=_known(bounds["tc_lower"]),
        tc_upper_K=_known(bounds["tc_upper"]),
        nearest_formula=nearest["formula"],
        nearest_tc_K=float(nearest["tc"]),
        composition_distance=near.value,
        composition_percentile=near.percentile,
        graph_distance=graph.value if graph else None,
        graph_percentile=graph.percentile if graph else None,
        warning="; ".join(filter(None, warnings)),
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

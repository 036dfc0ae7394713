"""From files to rows: what is read is predicted batch by batch and given away before the next batch is read.

Legend: n crystals of a batch, M members.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prediction.inputs import cell, printable
from prediction.load import COVERAGE, Predictor
from prediction.models import CRYSTALS_AT_ONCE, Array, Prediction
from prediction.novelty import Distance, warning
from tc_common.composition import fractions_formula, shown_formula
from tc_common.conformal import conformal_intervals
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tc_common.metrics import mean_and_spread


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of one file; empty where it is not."""

    file: str
    formula: str = ""
    tc_K: float | None = None
    tc_lower_K: float | None = None
    tc_upper_K: float | None = None
    nearest_formula: str = ""
    nearest_tc_K: float | None = None
    composition_distance: float | None = None
    composition_rank: float | None = None
    graph_distance: float | None = None
    graph_rank: float | None = None
    warning: str = ""
    error: str = ""


@dataclass(frozen=True, eq=False)
class Reading:
    """One crystal, and what each member computes from."""

    file: str
    formula: str
    fractions: str
    prepared: list[Any]


def rows_of(predictor: Predictor, files: Iterable[Path]) -> Iterator[Row]:
    """One row for every file, in their order; no more than a batch of crystals is held at a time."""
    stream = iter(files)
    while batch := list(islice(stream, CRYSTALS_AT_ONCE)):
        readings = [read(predictor, path) for path in batch]
        predicted = iter(predict(predictor, [reading for reading in readings if isinstance(reading, Reading)]))
        yield from (next(predicted) if isinstance(reading, Reading) else reading for reading in readings)


def read(predictor: Predictor, path: Path) -> Reading | Row:
    """A crystal that every member can compute, or the row that says why not."""
    try:
        structure = read_crystal(path)
        formula, fractions = shown_formula(structure), fractions_formula(structure)
        prepared = [member.prepare(structure, path.stem) for member in predictor.members]
    except UserError as error:
        return Row(file=cell(path), error=_reason(error, path))
    return Reading(cell(path), formula, fractions, prepared)


def _reason(error: UserError, path: Path) -> str:
    """What is wrong, without the file's name, on one line."""
    text = str(error)
    for name in (f"{path}: ", f"{str(path)!r}: "):
        text = text.removeprefix(name)
    return printable(" ".join(text.split()))


def predict(predictor: Predictor, readings: list[Reading]) -> list[Row]:
    """Rows of n crystals that can be computed."""
    if not readings:
        return []
    estimates = [
        member.predict([reading.prepared[number] for reading in readings])
        for number, member in enumerate(predictor.members)
    ]
    combined = combine(estimates, predictor.weights)
    finite = np.isfinite(combined["tc_pred"].to_numpy())
    bounds = _bounds(predictor, combined)
    near = predictor.training.by_composition([reading.fractions for reading in readings])
    vectors = _vectors(predictor, estimates)
    graphs = [None] * len(readings) if vectors is None else predictor.training.by_graph(vectors)
    return [
        _row(predictor, reading, combined["tc_pred"].iloc[n], bounds.iloc[n], near[n], graphs[n])
        if finite[n]
        else Row(file=reading.file, formula=reading.formula, error="the model's prediction is not a finite number")
        for n, reading in enumerate(readings)
    ]


def combine(estimates: list[Prediction], weights: Array | None = None) -> pd.DataFrame:
    """`tc_pred` and where known `tc_std` (K) of n crystals.

    One member speaks for itself. Of several the prediction is the weighted mean and the SD the spread about it, as
    `comparison.ensemble` makes them.
    """
    if len(estimates) == 1:
        table = pd.DataFrame({"tc_pred": estimates[0].tc_K})
        return table if estimates[0].std_K is None else table.assign(tc_std=estimates[0].std_K)
    assert weights is not None, "several members need weights"
    pred_K = np.stack([estimate.tc_K for estimate in estimates], axis=1)
    mean_K, spread_K = mean_and_spread(pred_K, weights)
    return pd.DataFrame({"tc_pred": mean_K, "tc_std": spread_K})


def _bounds(predictor: Predictor, combined: pd.DataFrame) -> pd.DataFrame:
    """`tc_lower, tc_upper` (K), NaN without validation predictions."""
    bounds = None if predictor.validation is None else conformal_intervals(predictor.validation, combined, COVERAGE)
    return pd.DataFrame(np.nan, combined.index, ["tc_lower", "tc_upper"]) if bounds is None else bounds


def _vectors(predictor: Predictor, estimates: list[Prediction]) -> Any:
    """Crystal vectors of the network that the training materials' vectors come from, if it takes part."""
    return next((e.vectors for m, e in zip(predictor.members, estimates, strict=True) if m.name == "alignn"), None)


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
        composition_rank=near.rank,
        graph_distance=graph.value if graph else None,
        graph_rank=graph.rank if graph else None,
        warning="; ".join(filter(None, warnings)),
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

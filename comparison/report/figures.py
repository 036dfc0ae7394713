"""Which figures a comparison can fill, and why the others are left out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from comparison.gather import Results
from comparison.learning import LEAST_RATIO, MADE_BY, read_learning_curve, sizes_of_runs
from comparison.novelty import LEAST_MATERIALS, error_by_distance
from comparison.report.plots import chemistry, groups, intervals, pairs, ranking, scores, structures, training
from comparison.report.style import Chart, leaders
from comparison.report.tables import calibrations
from comparison.series import LEAST_IN_SERIES, Series, doping_series
from tc_common.composition import element_fractions
from tc_common.errors import UserError

Build: TypeAlias = Callable[[], Chart]
NO_SPLITS = "the split files are unknown; name their folder with --data-dir"
ONE_MODEL = "there is one model only"
NO_INTERVALS = "no model has prediction intervals: <model>_val_predictions.csv is missing or too short"
NO_HIGH_TC = f"fewer than {ranking.LEAST_POSITIVE} test materials reach {ranking.THRESHOLDS_K[0]:g} K"
NO_COST = "no model states its time of training"
NO_HISTORY = "no <model>_history.csv with val_mae_K"
FEW = f"no range of distance holds {LEAST_MATERIALS} test materials"
FEW_FORMULAS = "there are fewer than 3 formulas"
NO_SERIES = f"no line of compositions has {LEAST_IN_SERIES} validation and test materials"
NO_SPREAD = "no model that reads structures has predicted other structures of the test compositions"
NO_SIZES = f"there is no learning_curve.csv; make it with: {MADE_BY}"
ONE_SIZE = f"the runs' training sets are known not to differ by {LEAST_RATIO:g} times in size, or are unknown"


@dataclass(eq=False)
class Figures:
    """Builders by file name, and the reasons (by file name) why others are left out."""

    builders: dict[str, Build] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, build: Build, missing: str = "") -> None:
        """A figure, or where something is missing the reason that there is none."""
        if missing:
            self.left_out[name] = missing
        else:
            self.builders[name] = build


def figures_of(folder: Path, results: Results, comparison: dict[str, Any]) -> Figures:
    """All figures of one comparison."""
    found = Figures()
    _errors(found, results, comparison)
    _chemistry(found, results, comparison)
    _intervals(found, results, comparison)
    _training(found, results, comparison)
    curve = read_learning_curve(folder)
    found.add("learning_curve", partial(training.learning_curve, curve), NO_SIZES if curve is None else "")
    return found


def figures_of_runs(runs: pd.DataFrame, comparison: dict[str, Any]) -> Figures:
    """All figures of a comparison over runs."""
    found = Figures()
    found.add("runs", partial(training.scores_over_runs, runs, list(comparison["models"])))
    _pairs(found, comparison)
    curve = sizes_of_runs(runs)
    found.add("learning_curve", partial(training.learning_curve, curve), ONE_SIZE if curve is None else "")
    return found


def _pairs(found: Figures, comparison: dict[str, Any]) -> None:
    missing = "" if len(comparison["models"]) > 1 else ONE_MODEL
    found.add("forest", partial(pairs.forest, comparison), missing)
    found.add("differences", partial(pairs.differences, comparison), missing)


def _errors(found: Figures, results: Results, comparison: dict[str, Any]) -> None:
    """Predictions against measurements, and errors by group."""
    models = list(comparison["models"])
    _pairs(found, comparison)
    found.add(f"parity_{models[0]}", partial(scores.parity_of, results, models[0]))
    found.add("parity", partial(scores.parity, results, models))
    found.add("residuals", partial(scores.residuals, results, models))
    found.add("cumulative_error", partial(scores.cumulative_error, results, models))
    found.add("compression", partial(scores.compression, results, models))
    found.add("error_by_range", partial(groups.error_by_group, comparison, "by_range"))
    no_family = "" if comparison["models"][models[0]]["by_family"] else NO_SPLITS
    found.add("error_by_family", partial(groups.error_by_group, comparison, "by_family"), no_family)
    found.add(f"error_map_{models[0]}", partial(groups.error_map, results, models[0]))
    no_high_tc = "" if ranking.thresholds(results) else NO_HIGH_TC
    found.add("precision_recall", partial(ranking.precision, results, leaders(models)), no_high_tc)
    found.add("enrichment", partial(ranking.enriched, results, leaders(models)), no_high_tc)


def _chemistry(found: Figures, results: Results, comparison: dict[str, Any]) -> None:
    """Figures that need formulas to be chemical ones, and other structures."""
    models = list(comparison["models"])
    best, level = models[0], comparison["uncertainty"]["level"]
    unread = _unread_formulas(results)
    no_splits = unread or ("" if results.splits else NO_SPLITS)
    errors = pd.DataFrame() if no_splits else error_by_distance(results, leaders(models), level)
    found.add("error_by_distance", partial(chemistry.distance, errors), no_splits or (FEW if errors.empty else ""))
    axes = results.splits.get("train", results.truth["test"])["formula"].nunique()
    found.add(
        "crystal_map", partial(chemistry.crystal_map, results, best), unread or (FEW_FORMULAS if axes < 3 else "")
    )
    materials, series = (pd.DataFrame(), []) if no_splits else _series(results, best)
    found.add("domes", partial(chemistry.domes, series, materials, best), no_splits or ("" if series else NO_SERIES))
    no_spread = "" if structures.structure_spreads(results, models) else NO_SPREAD
    found.add("structure_spread", partial(structures.spread, results, models), no_spread)


def _unread_formulas(results: Results) -> str:
    """Why a formula of the test or training materials cannot be read; empty where all can."""
    try:
        element_fractions(results.column("formula").tolist())
        element_fractions(results.splits["train"]["formula"].tolist() if results.splits else [])
    except UserError as error:
        return str(error)
    return ""


def _series(results: Results, model: str) -> tuple[pd.DataFrame, list[Series]]:
    """All materials, with predictions of `model` for those held out, and the doping series among them."""
    train = results.splits["train"].assign(tc_pred=np.nan)
    held_out = [
        results.truth[split].assign(tc_pred=predictions[model]["tc_pred"].to_numpy())
        for split, predictions in (("val", results.val), ("test", results.test))
        if model in predictions
    ]
    materials = pd.concat([train, *held_out], ignore_index=True)[["formula", "tc", "tc_pred"]]
    return materials, doping_series(materials["formula"].tolist(), materials["tc_pred"].notna().to_numpy())


def _intervals(found: Figures, results: Results, comparison: dict[str, Any]) -> None:
    calibrated = calibrations(comparison)
    missing, models = "" if calibrated else NO_INTERVALS, leaders(list(calibrated))
    nominal = next((each["nominal_coverage"] for each in calibrated.values()), 0.9)
    found.add("coverage", partial(intervals.coverage, results, comparison), missing)
    found.add("calibration", partial(intervals.calibration_curves, results, models), missing)
    found.add("rejection", partial(intervals.rejection, results, models, nominal), missing)


def _training(found: Figures, results: Results, comparison: dict[str, Any]) -> None:
    models = comparison["models"]
    timed = any(model["cost"]["train_seconds"] for model in models.values())
    found.add("accuracy_over_cost", partial(training.accuracy_over_cost, comparison), "" if timed else NO_COST)
    watched = [name for name in models if "val_mae_K" in results.history.get(name, ())]
    found.add("training_curves", partial(training.training_curves, results, watched), "" if watched else NO_HISTORY)

"""Ensembles of models: weights fitted on validation predictions, scored on test predictions.

Legend: n validation materials, M models.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from comparison.evaluate import costs, total_costs
from comparison.gather import OWN_MODELS, Predictions, Results
from comparison.weights import FITTINGS, Array, Validation, fit_equal
from tc_common.errors import UserError
from tc_common.further import FACTS
from tc_common.metrics import mean_and_spread
from tc_common.results import metrics_of, with_intervals, write_further, write_results

# Further structures of the validation materials, on which weights are fitted too.
VAL_OTHERS = "val_other_structures"
MEASURED = ["material_id", "formula", "tc"]
# A model of the plain mean errs by less than this times what a constant does on validation.
MOST_OF_A_CONSTANT = 0.9


def base_models(results: Results) -> list[str]:
    """Models that can be combined: those with validation predictions.

    Raises:
        UserError: fewer than two.
    """
    models = [name for name in results.test if name in results.val and name not in OWN_MODELS]
    if len(models) < 2:
        found = ", ".join(models) or "none"
        raise UserError(
            f"--ensemble needs the validation predictions (<model>_val_predictions.csv) of at least two models, "
            f"found: {found}; train another model or drop --ensemble"
        )
    return models


def combine(
    results: Results, name: str, seed: int, fitting: str = "grouped"
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Predictions of one ensemble by split and further test, and what it is made of.

    The validation predictions are cross-fitted (each fold with the weights of the others), so that their residuals are
    as honest as those of the models combined. `tc_std` is the weighted SD of the models' predictions.

    Args:
        fitting: one of `FITTINGS`; the plain mean needs none.
    """
    models = base_models(results)
    if name != "ensemble":
        models = better_than_a_constant(results, models)
    rows = validation_rows(results, models)
    facts: dict[str, Any] = {"models": models}
    if name == "ensemble":
        weights, val_K = FITTINGS[fitting](rows, seed)
        facts["weights"] = dict(zip(models, weights.tolist(), strict=True))
        if fitting != "ungrouped":
            facts |= {"fitting": fitting, "other_structures": len(rows.tc_K) - len(rows)}
    else:
        weights, val_K = fit_equal(rows, seed)
    tables = {
        split: _weighted(predictions, models, weights, results.truth[split][MEASURED])
        for split, predictions in (("val", results.val), ("test", results.test))
    }
    tables["val"] = tables["val"].assign(tc_pred=val_K)
    return {**tables, **_combined_further(results, models, weights)}, facts


def better_than_a_constant(results: Results, models: list[str]) -> list[str]:
    """Models whose validation MAE is a tenth below that of one number for all materials; all where fewer than two are.

    Fitted weights leave a useless model out, the plain mean would not, as a zero-shot network that never saw the data.
    """
    tc_K = results.truth["val"]["tc"].to_numpy(float)
    constant_K = np.abs(tc_K - np.median(tc_K)).mean()
    errors_K = np.abs(_matrix(results.val, models) - tc_K[:, None]).mean(axis=0)
    useful = [
        model for model, error_K in zip(models, errors_K, strict=True) if error_K < MOST_OF_A_CONSTANT * constant_K
    ]
    return useful if len(useful) > 1 else models


def validation_rows(results: Results, models: list[str]) -> Validation:
    """Validation materials and, where all models predicted them, their other structures."""
    truth = results.truth["val"]
    others = results.further.get(VAL_OTHERS, {})
    pred_K, tc_K = _matrix(results.val, models), truth["tc"].to_numpy(float)
    number = dict(zip(truth["material_id"], range(len(truth)), strict=True))
    material = np.arange(len(truth))
    if all(model in others for model in models):
        first = others[models[0]]
        pred_K = np.concatenate([pred_K, _matrix(others, models)])
        tc_K = np.concatenate([tc_K, first["tc"].to_numpy(float)])
        material = np.concatenate([material, first["chosen"].map(number).to_numpy()])
    return Validation(pred_K, tc_K, truth["chemical_system"].to_numpy(str)[material], material)


def _combined_further(results: Results, models: list[str], weights: Array) -> dict[str, pd.DataFrame]:
    """Predictions of the further tests that every model with a weight has."""
    used = [model for model, weight in zip(models, weights, strict=True) if weight > 0]
    tables = {}
    for test, predictions in results.further.items():
        if all(model in predictions for model in used):
            facts = predictions[used[0]]
            facts = facts[[*MEASURED, *(fact for fact in FACTS if fact in facts)]]
            if "known" in facts:
                facts = facts.assign(known=np.any([predictions[model]["known"] for model in used], axis=0))
            tables[test] = _weighted(predictions, used, weights[weights > 0], facts)
    return tables


def _weighted(predictions: Predictions, models: list[str], weights: Array, known: pd.DataFrame) -> pd.DataFrame:
    """Weighted mean and spread (K) of the models' predictions beside what is known of the materials."""
    mean_K, spread_K = mean_and_spread(_matrix(predictions, models), weights)
    return known.assign(tc_pred=mean_K, tc_std=spread_K)


def with_ensembles(results: Results, names: Sequence[str], seed: int, fitting: str = "grouped") -> Results:
    """The same results with the named ensembles as further models."""
    for name in names:
        tables, facts = combine(results, name, seed, fitting)
        facts["left_out"] = [model for model in results.test if model not in (*facts["models"], *OWN_MODELS)]
        weights = facts.get("weights", {})  # a model without a weight need not be trained or run
        used = [model for model in facts["models"] if weights.get(model, 1.0) > 0]
        cost = total_costs([costs(results.metrics[model]) for model in used])
        known = {"init": f"{name} of {', '.join(facts['models'])}", "seeds": [seed], **cost, **facts}
        results = replace(
            results,
            test=results.test | {name: tables["test"]},
            val=results.val | {name: tables["val"]},
            further={
                test: predictions | ({name: tables[test]} if test in tables else {})
                for test, predictions in results.further.items()
            },
            metrics=results.metrics | {name: metrics_of(name, results.splits, tables, known)},
            ensembles=results.ensembles | {name: facts},
            notes=(*results.notes, *_notes(results, facts)),
        )
    return results


def _notes(results: Results, facts: dict[str, Any]) -> list[str]:
    """Who kept the weights from being fitted on other structures too, where some models predicted them."""
    others = results.further.get(VAL_OTHERS, {})
    if not others or facts.get("other_structures", 1):
        return []
    lacking = ", ".join(model for model in facts["models"] if model not in others)
    return [f"Ensemble weights were fitted on chosen structures alone: no predictions of other ones by {lacking}."]


def write_ensembles(results: Results, results_dir: Path, coverage: float) -> None:
    """Write each ensemble's predictions, with intervals, and metrics, as any model does."""
    for name in results.ensembles:
        predicted = ensemble_predictions(results, name, coverage)
        write_results(results_dir, name, predicted, results.metrics[name])
        write_further(results_dir, name, predicted)


def ensemble_predictions(results: Results, name: str, coverage: float) -> Predictions:
    """Predictions of an ensemble by split and further test, with conformal intervals where there are any."""
    val, test = results.val[name], results.test[name]
    further = {test: predictions[name] for test, predictions in results.further.items() if name in predictions}
    bounded = {split: with_intervals(val, table, coverage) for split, table in {"test": test, **further}.items()}
    return {"val": val, **bounded}


def _matrix(tables: dict[str, pd.DataFrame], models: list[str]) -> Array:
    """Predictions (n, M) of the models."""
    return np.stack([tables[name]["tc_pred"].to_numpy(float) for name in models], axis=1)

"""Ensembles of models: weights fitted on validation predictions, scored on test predictions.

Legend: n validation materials, M models.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import eye_array, hstack, vstack

from comparison.evaluate import costs, total_costs
from comparison.gather import OWN_MODELS, Predictions, Results
from tc_common.errors import UserError
from tc_common.metrics import mean_and_spread
from tc_common.results import metrics_of, with_intervals, write_results

Array: TypeAlias = NDArray[np.float64]
# Predictions (n, M) and Tc (n,), in K, to weights (M,).
Fit: TypeAlias = Callable[[Array, Array], Array]
FOLDS = 5
# A model with a smaller weight is left out: what it adds is noise, and its cost is not.
LEAST_WEIGHT = 0.01


def fit_weights(pred_K: Array, tc_K: Array) -> Array:
    """Weights (M,), each 0 or at least `LEAST_WEIGHT`, summing to 1, with the least MAE of the weighted mean."""
    weights = _least_absolute_error(pred_K, tc_K)
    while (slight := (weights > 0) & (weights < LEAST_WEIGHT)).any():
        kept = (weights > 0) & ~slight
        weights[~kept] = 0.0
        weights[kept] = _least_absolute_error(pred_K[:, kept], tc_K)
    return weights


def _least_absolute_error(pred_K: Array, tc_K: Array) -> Array:
    """A linear programme: minimise the sum of t under -t <= Tc - P w <= t, with w >= 0 and the sum of w 1."""
    n, models = pred_K.shape
    cost = np.concatenate([np.zeros(models), np.ones(n)])
    above, below = hstack([-pred_K, -eye_array(n)]), hstack([pred_K, -eye_array(n)])
    solution = linprog(
        cost,
        A_ub=vstack([above, below], format="csr"),
        b_ub=np.concatenate([-tc_K, tc_K]),
        A_eq=np.concatenate([np.ones(models), np.zeros(n)])[None],
        b_eq=[1.0],
        bounds=(0, None),
    )
    assert solution.status == 0, solution.message
    weights = np.maximum(solution.x[:models], 0.0)
    return weights / weights.sum()


def equal_weights(pred_K: Array, tc_K: Array) -> Array:
    """The plain mean. Nothing is fitted, so nothing is lost where validation and test materials are not alike."""
    return np.full(pred_K.shape[1], 1 / pred_K.shape[1])


WEIGHTS: dict[str, Fit] = {"ensemble": fit_weights, "ensemble_equal": equal_weights}


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


def combine(results: Results, name: str, seed: int) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Validation and test predictions of one ensemble, and what it is made of.

    The validation predictions are cross-fitted (each fold with the weights of the others), so that their residuals are
    as honest as those of the models combined. `tc_std` is the weighted SD of the models' predictions.
    """
    models = base_models(results)
    val_tc_K = results.truth["val"]["tc"].to_numpy(float)
    matrices = {"val": _matrix(results.val, models), "test": _matrix(results.test, models)}
    fit = WEIGHTS[name]
    weights = fit(matrices["val"], val_tc_K)
    facts: dict[str, Any] = {"models": models}
    if name == "ensemble":
        facts["weights"] = dict(zip(models, weights.tolist(), strict=True))
    tables = {}
    for split, matrix in matrices.items():
        mean_K, spread_K = mean_and_spread(matrix, weights)
        pred_K = mean_K if split == "test" else _cross_fitted(fit, matrix, val_tc_K, seed)
        known = results.truth[split][["material_id", "formula", "tc"]]
        tables[split] = known.assign(tc_pred=pred_K, tc_std=spread_K)
    return tables, facts


def with_ensembles(results: Results, names: list[str], seed: int) -> Results:
    """The same results with the named ensembles as further models."""
    for name in names:
        tables, facts = combine(results, name, seed)
        facts["left_out"] = [model for model in results.test if model not in (*facts["models"], *OWN_MODELS)]
        cost = total_costs([costs(results.metrics[model]) for model in facts["models"]])
        known = {"init": f"{name} of {', '.join(facts['models'])}", "seeds": [seed], **cost, **facts}
        results = replace(
            results,
            test=results.test | {name: tables["test"]},
            val=results.val | {name: tables["val"]},
            metrics=results.metrics | {name: metrics_of(name, results.splits, tables, known)},
            ensembles=results.ensembles | {name: facts},
        )
    return results


def write_ensembles(results: Results, results_dir: Path, coverage: float) -> None:
    """Write each ensemble's predictions, with intervals, and metrics, as any model does."""
    for name in results.ensembles:
        write_results(results_dir, name, ensemble_predictions(results, name, coverage), results.metrics[name])


def ensemble_predictions(results: Results, name: str, coverage: float) -> Predictions:
    """Validation and test predictions of an ensemble, the latter with conformal intervals where there are any."""
    val, test = results.val[name], results.test[name]
    return {"val": val, "test": with_intervals(val, test, coverage)}


def _matrix(tables: dict[str, pd.DataFrame], models: list[str]) -> Array:
    """Predictions (n, M) of the models."""
    return np.stack([tables[name]["tc_pred"].to_numpy(float) for name in models], axis=1)


def _cross_fitted(fit: Fit, pred_K: Array, tc_K: Array, seed: int) -> Array:
    """Prediction (n,) of each material with weights that were fitted without it."""
    fold = np.random.default_rng(seed).permutation(len(tc_K)) % min(FOLDS, len(tc_K))
    combined = np.empty(len(tc_K))
    for number in np.unique(fold):
        held_out = fold == number
        combined[held_out] = pred_K[held_out] @ fit(pred_K[~held_out], tc_K[~held_out])
    return combined

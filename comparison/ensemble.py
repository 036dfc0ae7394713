"""Several models as one: weights fitted on validation predictions, judged on test predictions.

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
from sklearn.linear_model import RidgeCV

from comparison.evaluate import costs, total_costs
from comparison.gather import OWN_MODELS, Results
from tc_common.conformal import conformal_intervals
from tc_common.environment import git_commit
from tc_common.errors import UserError
from tc_common.files import plain, write_json
from tc_common.metrics import score
from tc_common.predictions import write_predictions

Array: TypeAlias = NDArray[np.float64]
# Fit: predictions (n, M) and Tc (n,) to a function from predictions (m, M) to Tc (m,), all in K.
Combiner: TypeAlias = Callable[[Array], Array]
FOLDS = 5
# A member that would count for less is left out: what it adds is noise, and its cost is not.
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


def weighted_mean(pred_K: Array, tc_K: Array) -> Combiner:
    """Combine by `fit_weights`."""
    weights = fit_weights(pred_K, tc_K)
    return lambda wanted: wanted @ weights


def stacked_ridge(pred_K: Array, tc_K: Array) -> Combiner:
    """Combine by ridge regression, its penalty chosen by leave-one-out; predictions below 0 K are raised to 0 K."""
    mean, scale = pred_K.mean(axis=0), pred_K.std(axis=0) + 1e-9
    ridge = RidgeCV(alphas=np.logspace(-2, 4, 13)).fit((pred_K - mean) / scale, tc_K)
    return lambda wanted: np.maximum(ridge.predict((wanted - mean) / scale), 0.0)


def plain_mean(pred_K: Array, tc_K: Array) -> Combiner:
    """Combine by the mean. Nothing is fitted, so nothing is lost where validation and test materials are not alike."""
    return lambda wanted: wanted.mean(axis=1)


COMBINERS: dict[str, Callable[[Array, Array], Combiner]] = {
    "ensemble": weighted_mean,
    "ensemble_ridge": stacked_ridge,
    "ensemble_equal": plain_mean,
}


def members_of(results: Results) -> list[str]:
    """Models that can be combined: those with validation predictions.

    Raises:
        UserError: fewer than two.
    """
    members = [name for name in results.test if name in results.val and name not in OWN_MODELS]
    if len(members) < 2:
        found = ", ".join(members) or "none"
        raise UserError(
            f"--ensemble needs the validation predictions (<model>_val_predictions.csv) of at least two models, "
            f"found: {found}; train another model or drop --ensemble"
        )
    return members


def combine(results: Results, name: str, seed: int) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Validation and test predictions of one ensemble, and what it is made of.

    The validation predictions are cross-fitted (each fold by weights of the others), so that their residuals are as
    honest as those of the members. `tc_std` is the spread of the members, weighted as they are.
    """
    members = members_of(results)
    val_tc_K = results.truth["val"]["tc"].to_numpy(float)
    val, test = (_matrix(tables, members) for tables in (results.val, results.test))
    fit = COMBINERS[name]
    combined = {"val": _cross_fitted(fit, val, val_tc_K, seed), "test": fit(val, val_tc_K)(test)}
    facts: dict[str, Any] = {"members": members}
    weights = np.full(len(members), 1 / len(members))
    if name == "ensemble":
        weights = fit_weights(val, val_tc_K)
        facts["weights"] = dict(zip(members, weights.tolist(), strict=True))
    tables = {
        split: results.truth[split][["material_id", "formula", "tc"]].assign(
            tc_pred=combined[split], tc_std=_spread(matrix, weights)
        )
        for split, matrix in (("val", val), ("test", test))
    }
    return tables, facts


def _spread(pred_K: Array, weights: Array) -> Array:
    """SD (n,) of the members' predictions about their weighted mean, in K."""
    return np.sqrt((pred_K - (pred_K @ weights)[:, None]) ** 2 @ weights)


def with_ensembles(results: Results, names: list[str], seed: int) -> Results:
    """The same results with the named ensembles as further models."""
    for name in names:
        tables, facts = combine(results, name, seed)
        facts["left_out"] = [model for model in results.test if model not in (*facts["members"], *OWN_MODELS)]
        cost = total_costs([costs(results.metrics[member]) for member in facts["members"]])
        metrics = {"model": name, "init": f"{name} of {', '.join(facts['members'])}", "seed": seed, **cost}
        results = replace(
            results,
            test=results.test | {name: tables["test"]},
            val=results.val | {name: tables["val"]},
            metrics=results.metrics | {name: metrics},
            ensembles=results.ensembles | {name: facts},
        )
    return results


def write_ensembles(results: Results, results_dir: Path, coverage: float) -> None:
    """Write each ensemble's predictions, with intervals, and metrics, as any model does."""
    for name in results.ensembles:
        write_predictions(results_dir / f"{name}_val_predictions.csv", results.val[name])
        write_predictions(results_dir / f"{name}_predictions.csv", ensemble_predictions(results, name, coverage))
        metrics = {**results.metrics[name], "git_commit": git_commit(), **ensemble_metrics(results, name)}
        write_json(results_dir / f"{name}_metrics.json", plain(metrics))


def ensemble_predictions(results: Results, name: str, coverage: float) -> pd.DataFrame:
    """Test predictions of an ensemble, with conformal intervals where validation materials suffice."""
    bounds = conformal_intervals(results.val[name], results.test[name], coverage)
    return results.test[name] if bounds is None else results.test[name].join(bounds)


def ensemble_metrics(results: Results, name: str) -> dict[str, Any]:
    """What follows from the members' predictions: scores, members, weights."""
    scores = score(results.column("tc"), results.test[name]["tc_pred"], results.training_median_K)
    return {**scores, "splits_sha256": results.splits_sha256, **results.ensembles[name]}


def _matrix(tables: dict[str, pd.DataFrame], members: list[str]) -> Array:
    """Predictions (n, M) of the members."""
    return np.stack([tables[name]["tc_pred"].to_numpy(float) for name in members], axis=1)


def _cross_fitted(fit: Callable[[Array, Array], Combiner], pred_K: Array, tc_K: Array, seed: int) -> Array:
    """Prediction (n,) of each material by a combiner that did not see it."""
    fold = np.random.default_rng(seed).permutation(len(tc_K)) % min(FOLDS, len(tc_K))
    combined = np.empty(len(tc_K))
    for number in np.unique(fold):
        held_out = fold == number
        combined[held_out] = fit(pred_K[~held_out], tc_K[~held_out])(pred_K[held_out])
    return combined

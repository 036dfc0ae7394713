"""Weights of an ensemble, fitted on validation predictions.

Legend: n validation materials, r rows (the materials, then other structures of them), M models.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import eye_array, hstack, vstack
from sklearn.model_selection import GroupKFold

Array: TypeAlias = NDArray[np.float64]
FOLDS = 5
# A model with a smaller weight is left out: what it adds is noise, and its cost is not.
LEAST_WEIGHT = 0.01


@dataclass(frozen=True)
class Validation:
    """What weights are fitted on; the first n rows are the materials, the others follow."""

    pred_K: Array
    """Predictions (r, M)."""
    tc_K: Array
    """Measured Tc (r,)."""
    system: NDArray[np.str_]
    """Chemical system (r,)."""
    material: NDArray[np.int64]
    """Material that each row is a structure of (r,), from 0."""

    def __len__(self) -> int:
        return int(self.material.max(initial=-1)) + 1


# Weights (M,), and for each of the n materials the weighted mean (K) by weights fitted without it.
Fitted: TypeAlias = tuple[Array, Array]
Fit: TypeAlias = Callable[[Validation, int], Fitted]


def fit_grouped(rows: Validation, seed: int) -> Fitted:
    """Mean of the weights fitted without each fold of chemical systems; every composition counts alike.

    Weights fitted once on one structure a composition fit that structure's noise: often a single model gets all. Rows
    of one system err together, so a fold holds whole systems.
    """
    count = np.bincount(rows.material)[rows.material]
    parts, cross_fitted = [], np.full(len(rows), np.nan)
    for known, held_out in _folds(rows, seed):
        weights = fit_weights(rows.pred_K[known], rows.tc_K[known], 1 / count[known])
        materials = held_out[held_out < len(rows)]
        cross_fitted[materials] = rows.pred_K[materials] @ weights
        parts.append(weights)
    mean = np.mean(parts, axis=0)
    mean[mean < LEAST_WEIGHT] = 0.0
    return mean / mean.sum(), cross_fitted


def _folds(rows: Validation, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to fit on and rows held out; a chemical system (where there is but one, a material) is on one side only."""
    groups = rows.system if len(set(rows.system)) > 1 else rows.material
    folds = GroupKFold(min(FOLDS, len(set(groups))), shuffle=True, random_state=seed)
    yield from folds.split(rows.pred_K, groups=groups)


def fit_ungrouped(rows: Validation, seed: int) -> Fitted:
    """Weights fitted once on the materials' chosen structures, as ensembles were before `fit_grouped`."""
    pred_K, tc_K = rows.pred_K[: len(rows)], rows.tc_K[: len(rows)]
    return fit_weights(pred_K, tc_K), cross_fitted(fit_weights, pred_K, tc_K, seed)


def fit_equal(rows: Validation, seed: int) -> Fitted:
    """The plain mean. Nothing is fitted, so nothing is lost where validation and test materials are not alike."""
    weights = np.full(rows.pred_K.shape[1], 1 / rows.pred_K.shape[1])
    return weights, rows.pred_K[: len(rows)] @ weights


# By the name that an ensemble's metrics record; those without one were fitted ungrouped.
FITTINGS: dict[str, Fit] = {"grouped": fit_grouped, "ungrouped": fit_ungrouped}


def fit_weights(pred_K: Array, tc_K: Array, counts: Array | None = None) -> Array:
    """Weights (M,), each 0 or at least `LEAST_WEIGHT`, summing to 1, with the least MAE of the weighted mean.

    Args:
        pred_K: predictions (r, M); `tc_K`: Tc (r,); `counts`: how much each row counts (r,), by default 1.
    """
    counts = np.ones(len(tc_K)) if counts is None else counts
    weights = _least_absolute_error(pred_K, tc_K, counts)
    while (slight := (weights > 0) & (weights < LEAST_WEIGHT)).any():
        kept = (weights > 0) & ~slight
        weights[~kept] = 0.0
        weights[kept] = _least_absolute_error(pred_K[:, kept], tc_K, counts)
    return weights


def _least_absolute_error(pred_K: Array, tc_K: Array, counts: Array) -> Array:
    """A linear programme: minimise the sum of c t under -t <= Tc - P w <= t, with w >= 0 and the sum of w 1."""
    n, models = pred_K.shape
    cost = np.concatenate([np.zeros(models), counts])
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


def cross_fitted(fit: Callable[[Array, Array], Array], pred_K: Array, tc_K: Array, seed: int) -> Array:
    """Prediction (n,) of each material with weights that were fitted without it."""
    fold = np.random.default_rng(seed).permutation(len(tc_K)) % min(FOLDS, len(tc_K))
    combined = np.empty(len(tc_K))
    for number in np.unique(fold):
        held_out = fold == number
        combined[held_out] = pred_K[held_out] @ fit(pred_K[~held_out], tc_K[~held_out])
    return combined

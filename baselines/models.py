"""Baselines on composition features: training median, nearest composition, extra trees, gradient boosting.

Legend: n training materials, m materials to predict, F features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from tc_common.composition import LAST_Z, Array

# Predictor: features (m, F) -> Tc (m,) in K, and their SD (m,) in K where the model knows one.
Predictor: TypeAlias = Callable[[Array], tuple[Array, Array | None]]
# Fit: features (n, F), Tc (n,) in K and a seed to predictors by name.
Fit: TypeAlias = Callable[[Array, Array, int], dict[str, Predictor]]
TREES = 500


def fit_median(features: Array, tc_K: Array, seed: int) -> dict[str, Predictor]:
    """Always the median of the training set: skill 0 by definition."""
    return {"median": lambda wanted: (np.full(len(wanted), np.median(tc_K)), None)}


def fit_nearest_composition(features: Array, tc_K: Array, seed: int) -> dict[str, Predictor]:
    """Tc of the training composition with the fewest atoms to exchange (L1 distance of fractions); ties averaged."""

    def predict(wanted: Array) -> tuple[Array, None]:
        distance = cdist(wanted[:, -LAST_Z:], features[:, -LAST_Z:], "cityblock")
        nearest = distance <= distance.min(axis=1, keepdims=True) + 1e-9
        return (nearest @ tc_K) / nearest.sum(axis=1), None

    return {"nearest_composition": predict}


@dataclass(frozen=True, eq=False)
class Forest:
    """Fitted extra trees. Of their votes the mean has the least squared error, the median the least absolute one."""

    model: ExtraTreesRegressor
    columns: NDArray[np.bool_]
    """Features (F,) that the trees read."""
    root: bool = False
    """Whether they learned the square root of Tc."""

    def mean(self, wanted: Array) -> tuple[Array, Array]:
        """Mean and SD (K) of the votes for features (m, F)."""
        votes = self.votes(wanted)
        return votes.mean(axis=0), votes.std(axis=0)

    def median(self, wanted: Array) -> tuple[Array, Array]:
        """Median and SD (K) of the votes for features (m, F)."""
        votes = self.votes(wanted)
        return np.median(votes, axis=0), votes.std(axis=0)

    def votes(self, wanted: Array) -> Array:
        """Tc in K that each tree says: (trees, m)."""
        rows = wanted[:, self.columns].astype(np.float32)
        # tree by tree in a fixed order: the forest's own parallel sum differs in its last digits
        votes = np.stack([tree.predict(rows) for tree in self.model.estimators_])
        return votes**2 if self.root else votes


def fit_extra_trees(features: Array, tc_K: Array, seed: int) -> dict[str, Predictor]:
    """Extremely randomized trees (Geurts et al. 2006, doi 10.1007/s10994-006-6226-1)."""
    forest = published_forest(features, tc_K, seed)
    return {"extra_trees": forest.mean, "extra_trees_median": forest.median}


def published_forest(features: Array, tc_K: Array, seed: int, trees: int = TREES) -> Forest:
    """The trees of `fit_extra_trees`; fewer are the first of them."""
    model = ExtraTreesRegressor(trees, max_features=0.5, random_state=seed, n_jobs=-1).fit(features, tc_K)
    return Forest(model, np.full(features.shape[1], True))


def fit_gradient_boosting(features: Array, tc_K: Array, seed: int) -> dict[str, Predictor]:
    """Histogram gradient boosting on squared error; predictions below 0 K are raised to 0 K."""
    boosting = HistGradientBoostingRegressor(max_iter=200, learning_rate=0.1, random_state=seed)
    with threadpool_limits(1):  # its threads wait for each other: on a busy machine two take longer than one
        boosting.fit(features, tc_K)
    return {"gradient_boosting": lambda wanted: (np.maximum(boosting.predict(wanted), 0.0), None)}


FITS: tuple[Fit, ...] = (fit_median, fit_nearest_composition, fit_extra_trees, fit_gradient_boosting)

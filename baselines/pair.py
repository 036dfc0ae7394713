"""The pair: the plain mean of extra trees and LightGBM on doping features, also fitted with extra labels.

Extremely randomized trees split at random and vote (their median); boosted trees fit what the ones before have left,
on absolute error. Both learn the root of Tc. Their errors differ, so the mean has a lower one than either.

Legend: n training materials, m materials to predict, F features.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import GroupKFold, KFold

from baselines.models import Fit, Forest, Predictor
from tc_common.chemistry import FeatureKind, composition_features
from tc_common.composition import Array
from tc_common.labels import ExtraLabels, with_labels

if TYPE_CHECKING:
    import lightgbm

KIND: FeatureKind = "physics"
TREES, MAX_FEATURES = 80, 0.25
# Absolute error, many small steps of large trees, each on a part of rows and features. One thread: the same bytes
# whatever the machine, and no threads that wait for each other on a busy one.
BOOSTING = {
    "objective": "l1", "num_leaves": 255, "learning_rate": 0.05, "min_data_in_leaf": 2, "lambda_l2": 1.0,
    "feature_fraction": 0.15, "bagging_fraction": 0.8, "bagging_freq": 1, "max_bin": 127,
    "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbose": -1,
}  # fmt: skip
ROUNDS = 600
FOLDS = 5
FoldKind: TypeAlias = Literal["grouped", "random"]


@dataclass(frozen=True, eq=False)
class Pair:
    """Fitted trees and boosted trees, both on the root of Tc and on the features that vary."""

    forest: Forest
    boosting: "lightgbm.Booster"

    def boosted(self, wanted: Array) -> tuple[Array, None]:
        """Tc (m,) in K by the boosted trees alone."""
        root = np.asarray(self.boosting.predict(wanted[:, self.forest.columns]))
        return np.maximum(root, 0.0) ** 2, None

    def predict(self, wanted: Array) -> tuple[Array, Array]:
        """Mean of both (m,) in K, and the SD of the trees' votes."""
        median, std = self.forest.median(wanted)
        return (median + self.boosted(wanted)[0]) / 2, std


def fit_pair(features: Array, tc_K: Array, seed: int) -> dict[str, Predictor]:
    """Trees, boosted trees and their mean, on the features of `KIND`; the SD is that of the trees' votes."""
    pair = fitted_pair(features, tc_K, seed)
    return {"pair_trees": pair.forest.median, "pair_boosting": pair.boosted, "pair": pair.predict}


def fitted_pair(features: Array, tc_K: Array, seed: int) -> Pair:
    """The pair of `fit_pair`."""
    import lightgbm  # of the extra `study`: whoever only imports this module needs none

    varies = np.ptp(features, axis=0) > 0
    learned, root = features[:, varies], np.sqrt(tc_K)
    model = ExtraTreesRegressor(TREES, max_features=MAX_FEATURES, random_state=seed, n_jobs=-1).fit(learned, root)
    boosting = lightgbm.train({**BOOSTING, "seed": seed}, lightgbm.Dataset(learned, root), ROUNDS)
    return Pair(Forest(model, varies, root=True), boosting)


def out_of_fold(
    materials: pd.DataFrame,
    seed: int,
    labels: ExtraLabels | None = None,
    fit: Fit = fit_pair,
    name: str = "pair",
    kind: FoldKind = "grouped",
) -> Array:
    """Tc (n,) in K of training materials, each by a model that has not seen it: for stacking.

    Labels within their own exclusion of a fold's compositions, and in grouped folds of its chemical systems, are left
    out of its fit, as they are for test materials.

    Args:
        materials: `formula`, `tc` (K), `chemical_system` of the training materials.
        fit: learner on the features of `KIND`; `name`: which of its predictors.
        kind: grouped folds hold out whole chemical systems, random ones single compositions.
    """
    predicted = np.full(len(materials), np.nan)
    for known, unseen in folds_of(materials, kind, seed):
        held_out = materials.iloc[unseen]
        away = None if labels is None else labels.away_from(held_out, systems=kind == "grouped")
        learned = with_labels(materials.iloc[known], away)
        predictor = fit(_features(learned), learned["tc"].to_numpy(float), seed)[name]
        predicted[unseen] = predictor(_features(held_out))[0]
    return predicted


def folds_of(
    materials: pd.DataFrame, kind: FoldKind, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to learn from and rows to predict, five times, every row predicted once."""
    if kind == "grouped":
        return grouped_folds(materials["chemical_system"], seed)
    folds = KFold(min(FOLDS, len(materials)), shuffle=True, random_state=seed)
    return cast(Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]], folds.split(materials))


def grouped_folds(groups: pd.Series, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to learn from and rows to predict, five times; a group is on one side only, every row predicted once."""
    folds = GroupKFold(min(FOLDS, groups.nunique()), shuffle=True, random_state=seed)
    yield from folds.split(groups, groups=groups)


def _features(table: pd.DataFrame) -> Array:
    return composition_features(table["formula"].tolist(), KIND)

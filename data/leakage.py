"""How much of a test set is known from training: near compositions, shared parents, shared systems.

On this data a model can score well by remembering doping series. The audit says how well: a probe that knows nothing
but the Tc of the nearest training composition.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from tc_common.composition import Array, element_fractions
from tc_common.metrics import score

NEAR = (0.01, 0.05, 0.10)  # fraction of the atoms to exchange


def audit(splits: dict[str, pd.DataFrame], parents: dict[str, set[str]]) -> dict[str, Any]:
    """Audit of test against train; validation counts as neither.

    Args:
        splits: materials of each split, with `key`.
        parents: for each composition key the parent structures of all its structures, chosen or not.
    """
    train, test = splits["train"], splits["test"]
    ours, theirs = (element_fractions(part["formula"].tolist()) for part in (test, train))
    distances = cdist(ours, theirs, "cityblock") / 2
    copied_K = _copied_K(distances, train["tc"].to_numpy(float))
    known_parents = set().union(*(parents.get(key, set()) for key in train["key"]))
    share_parent = [bool(parents.get(key, set()) & known_parents) for key in test["key"]]
    return {
        "test": len(test),
        "nearest_within": {f"{limit:.0%}": _mean(distances.min(axis=1) < limit) for limit in NEAR},
        "shared_parents": _mean(share_parent),
        "shared_systems": _mean(test["chemical_system"].isin(set(train["chemical_system"]))),
        "nearest_composition_probe": _probe_scores(train, test, copied_K),
    }


def _copied_K(distances: Array, tc_K: Array) -> Array:
    """Tc of the nearest training composition, the mean of all that are equally near (or have no element in common)."""
    nearest = distances <= distances.min(axis=1, keepdims=True) + 1e-9
    mean_K: Array = nearest @ tc_K / nearest.sum(axis=1)
    return mean_K


def _mean(flags: Any) -> float:
    return round(float(np.mean(flags)), 4)


def _probe_scores(train: pd.DataFrame, test: pd.DataFrame, copied_K: Array) -> dict[str, dict[str, float]]:
    """Scores of copying, over all of the test and over its superconductors."""
    tc_K = test["tc"].to_numpy(float)
    median_K = float(train["tc"].median())
    subsets = {"all": np.ones(len(tc_K), dtype=bool), "tc_above_zero": tc_K > 0}
    return {name: score(tc_K[rows], copied_K[rows], median_K) for name, rows in subsets.items() if rows.any()}


def parents_of(rows: pd.DataFrame) -> dict[str, set[str]]:
    """Parent structures of each composition, through any of its structures."""
    known = rows[(rows["key"] != "") & (rows["parent"] != "")]
    return {str(key): set(group) for key, group in known.groupby("key")["parent"]}


def neighbourhood(materials: pd.DataFrame) -> dict[str, float]:
    """Fraction of the materials that share their chemical system, or a chain of parents, with another one."""
    return {column: _mean(materials[column].duplicated(keep=False)) for column in ("chemical_system", "parent_group")}

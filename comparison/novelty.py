"""Errors by distance from the training compositions, and a map of compositions.

Legend: n materials, m training materials, M models, F features.
"""

from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from comparison.bootstrap import bootstrap
from comparison.gather import Results
from tc_common.chemistry import composition_features
from tc_common.composition import nearest_distance

Array: TypeAlias = NDArray[np.float64]
# Edges of the bins: fraction of the atoms to exchange. The same for every split, so that reports can be compared.
DISTANCE_EDGES = (0.005, 0.02, 0.05, 0.15, 0.3)
# A mean over fewer materials says little, whatever its interval.
LEAST_MATERIALS = 5
RESAMPLES, SEED = 2_000, 0


def distances(results: Results) -> Array:
    """Distance (n,) of each test composition from the nearest training composition, 0 to 1.

    It is the fraction of the atoms to exchange (`tc_common.composition.formula_distance`).

    Raises:
        UserError: a text that is no formula.
    """
    train = results.splits["train"]["formula"].tolist()
    return nearest_distance(results.column("formula").tolist(), train)


def distance_bins(distance: Array) -> list[tuple[str, NDArray[np.bool_]]]:
    """Name of, and which materials (n,) are in, the bins of distance with at least `LEAST_MATERIALS`."""
    number = np.digitize(distance, DISTANCE_EDGES)
    names = [
        f"{100 * low:g}–{100 * high:g}" for low, high in zip((0.0, *DISTANCE_EDGES), DISTANCE_EDGES, strict=False)
    ]
    names.append(f"over {100 * DISTANCE_EDGES[-1]:g}")
    bins = [(name, number == position) for position, name in enumerate(names)]
    return [(name, inside) for name, inside in bins if inside.sum() >= LEAST_MATERIALS]


def error_by_distance(results: Results, models: list[str], level: float) -> pd.DataFrame:
    """MAE (K) of each model in each bin of distance with its bootstrap interval, and that of the training median.

    Columns: `bin, n, median_mae_K, model, mae_K, low_K, high_K`.
    """
    tc_K = results.column("tc").astype(float)
    pred_K = np.stack([results.test[name]["tc_pred"].to_numpy(float) for name in models], axis=1)
    rows, median_K = [], results.training_median_K
    for name, inside in distance_bins(distances(results)):
        mae_K = bootstrap(tc_K[inside], pred_K[inside], median_K, resamples=RESAMPLES, seed=SEED)["mae_K"]
        facts = {"bin": name, "n": int(inside.sum()), "median_mae_K": float(np.abs(tc_K[inside] - median_K).mean())}
        for model, value, (low, high) in zip(models, mae_K.point, mae_K.interval(level).T, strict=True):
            rows.append({**facts, "model": model, "mae_K": value, "low_K": low, "high_K": high})
    return pd.DataFrame(rows)


def composition_map(results: Results) -> tuple[Array, Array]:
    """The test compositions (n, 2) in the first two principal components, and their parts (2,) of the variance.

    The components are those of the training compositions' standardised features (statistics of element properties and
    features of doping), without split files of the test compositions' own.

    Raises:
        UserError: a text that is no formula.
    """
    wanted = composition_features(results.column("formula").tolist(), "physics")
    known = composition_features(results.splits["train"]["formula"].tolist(), "physics") if results.splits else wanted
    return principal_components(known, wanted)


def principal_components(known: Array, wanted: Array) -> tuple[Array, Array]:
    """`wanted` (n, F) in the first two principal components of `known` (m, F), each column standardised.

    Returns:
        coordinates (n, 2), each component's largest weight being positive; parts (2,) of the variance of `known`.
    """
    mean, std = known.mean(axis=0), known.std(axis=0)
    varies = std > 0
    scaled = (known[:, varies] - mean[varies]) / std[varies]
    variance, axes = np.linalg.eigh(scaled.T @ scaled / len(known))
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])
    return (wanted[:, varies] - mean[varies]) / std[varies] @ axes, variance[::-1][:2] / variance.sum()

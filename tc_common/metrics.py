"""The one scorer: predictions in, numbers with units out.

Legend: n materials. Everything is in K unless a name says otherwise.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Kelvins: TypeAlias = NDArray[np.float64]


def score(
    tc_K: ArrayLike, pred_K: ArrayLike, training_median_K: float, weights: ArrayLike | None = None
) -> dict[str, float]:
    """Errors of predictions (n,) against measured Tc (n,).

    - `msle`: mean squared difference of log(1 + Tc), negative predictions counted as 0 K (a Tc below 0 K has no
      logarithm).
    - `median_mae_K`: MAE of always saying the training median; `skill` = 1 - MAE / `median_mae_K`; both are NaN
      where that median is (unknown).
    - `bias_K`, `residual_sd_K`: mean and SD of prediction - measurement.
    - `pearson`, `spearman`: 0 where measurements or predictions are all the same.

    Args:
        weights: weight of each material (such as 1 / number of its structures), not negative; default all equal.
    """
    tc, pred = np.asarray(tc_K, float), np.asarray(pred_K, float)
    weight = np.ones(len(tc)) if weights is None else np.asarray(weights, float)
    assert tc.shape == pred.shape == weight.shape and weight.sum() > 0, "one prediction and weight per material"
    residual = pred - tc
    mae_K, median_mae_K = _mean(np.abs(residual), weight), _mean(np.abs(training_median_K - tc), weight)
    return {
        "n": len(tc),
        "mae_K": mae_K,
        "rmse_K": _mean(residual**2, weight) ** 0.5,
        "r2": r2(tc, pred, weight),
        "msle": _mean(squared_log_error(tc, pred), weight),
        "median_absolute_error_K": weighted_median(np.abs(residual), weight),
        "bias_K": _mean(residual, weight),
        "residual_sd_K": _mean((residual - _mean(residual, weight)) ** 2, weight) ** 0.5,
        "pearson": correlation(tc, pred, weight),
        "spearman": correlation(ranks(tc), ranks(pred), weight),
        "median_mae_K": median_mae_K,
        "skill": 1 - mae_K / median_mae_K if median_mae_K != 0 else 0.0,
    }


def _mean(values: Kelvins, weight: Kelvins) -> float:
    return float(np.average(values, weights=weight))


def squared_log_error(tc_K: Kelvins, pred_K: Kelvins) -> NDArray[np.float64]:
    """(log(1 + prediction) - log(1 + Tc))² of each material, negative predictions counted as 0 K."""
    return (np.log1p(np.maximum(pred_K, 0)) - np.log1p(tc_K)) ** 2


def r2(tc_K: Kelvins, pred_K: Kelvins, weight: Kelvins | None = None) -> float:
    """Coefficient of determination; 0 where every measured Tc is the same (nothing to explain)."""
    weight = np.ones(len(tc_K)) if weight is None else weight
    above_first = tc_K - tc_K[0]  # the mean of equal large numbers may round to another number: then spread > 0
    spread = float(np.sum(weight * (above_first - _mean(above_first, weight)) ** 2))
    return 1 - float(np.sum(weight * (pred_K - tc_K) ** 2)) / spread if spread > 0 else 0.0


def weighted_median(values: Kelvins, weight: Kelvins) -> float:
    """Value that half of the weight lies below, averaged with the next one where it splits the weight evenly."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weight[order]) / weight.sum()
    low = int(np.searchsorted(share, 0.5 - 1e-12))
    high = int(np.searchsorted(share, 0.5 + 1e-12, side="right"))
    return float((values[order[low]] + values[order[min(high, len(values) - 1)]]) / 2)


def mean_and_spread(pred_K: Kelvins, weights: Kelvins, unbiased: bool = False) -> tuple[Kelvins, Kelvins]:
    """Weighted mean (n,) of the predictions (n, M) of M models, and their weighted SD (n,) about it.

    Args:
        weights: (M,), summing to 1.
        unbiased: divide the variance by 1 - sum of weights² (equal weights: n - 1 instead of n).
    """
    mean = pred_K @ weights
    variance = (pred_K - mean[:, None]) ** 2 @ weights
    return mean, np.sqrt(variance / (1 - np.sum(weights**2)) if unbiased else variance)


def ranks(values: Kelvins) -> Kelvins:
    """Rank (n,) of each value from 1, equal ones averaged."""
    return pd.Series(values).rank().to_numpy()


def correlation(a: Kelvins, b: Kelvins, weight: Kelvins) -> float:
    """Pearson's coefficient, 0 where one of the two does not vary."""
    a, b = a - _mean(a, weight), b - _mean(b, weight)
    largest_a, largest_b = np.abs(a).max(), np.abs(b).max()
    if np.ptp(a) == 0 or np.ptp(b) == 0 or 0 in (largest_a, largest_b):
        return 0.0
    a, b = a / largest_a, b / largest_b  # squares of tiny values would vanish
    return _mean(a * b, weight) / (_mean(a**2, weight) * _mean(b**2, weight)) ** 0.5


def errors_by_group(groups: Sequence[str] | NDArray[np.int64], tc_K: Kelvins, pred_K: Kelvins) -> pd.DataFrame:
    """Where the error sits: `group, n, mae_K, rmse_K, bias_K, error_share` (of the sum of absolute errors)."""
    residual = pd.Series(pred_K - tc_K)
    table = pd.DataFrame({"group": groups, "bias_K": residual, "mae_K": residual.abs(), "square": residual**2})
    means = table.groupby("group", sort=True).mean()
    count = table.groupby("group", sort=True).size()
    total = float(residual.abs().sum())
    share = count * means["mae_K"] / total if total > 0 else 0.0 * count
    return means.assign(n=count, rmse_K=means["square"] ** 0.5, error_share=share).reset_index()[
        ["group", "n", "mae_K", "rmse_K", "bias_K", "error_share"]
    ]

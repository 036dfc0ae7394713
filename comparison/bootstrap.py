"""Bootstrap intervals and p-values over materials or chemical systems, paired between models.

Every statistic here is a function of sums over materials, so a resample is a row of counts times a table of sums,
and all of them together are one matrix product. BCa and its acceleration: Efron 1987, doi 10.2307/2289144.

Legend: C clusters (materials, or groups of them), S sums, M models, B resamples.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from tc_common.metrics import Kelvins, squared_log_error

Array: TypeAlias = NDArray[np.float64]
METRICS = ("mae_K", "rmse_K", "r2", "msle", "skill")
RESAMPLES_AT_ONCE = 1_000


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """A statistic of M models: as measured (M,), in B resamples (B, M), and without each cluster (C, M)."""

    point: Array
    resampled: Array
    left_out: Array

    def minus(self, a: int, b: int) -> "Distribution":
        """Paired difference of model a and model b: the same resamples for both, as one column."""
        pick = lambda values: values[..., a : a + 1] - values[..., b : b + 1]  # noqa: E731
        return Distribution(point=pick(self.point), resampled=pick(self.resampled), left_out=pick(self.left_out))

    def interval(self, level: float) -> Array:
        """Bounds (2, M) of the BCa interval of nominal coverage `level`."""
        z = norm.ppf([(1 - level) / 2, (1 + level) / 2])[:, None]
        bias, acceleration = self._corrections()
        ranks = np.nan_to_num(norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))))  # an unknown stays NaN
        columns = range(len(self.point))
        return np.stack([np.quantile(self.resampled[:, column], ranks[:, column]) for column in columns], axis=1)

    def p_value(self) -> Array:
        """Two-sided p (M,) of the value being 0: the level at which `interval` would just touch 0.

        Never below 1 / (B + 1): that many resamples cannot show more.
        """
        below = np.mean(self.resampled < 0, axis=0) + np.mean(self.resampled == 0, axis=0) / 2
        least = 1 / (len(self.resampled) + 1)
        bias, acceleration = self._corrections()
        shift = norm.ppf(np.clip(below, least / 2, 1 - least / 2)) - bias
        z = shift / (1 + acceleration * shift) - bias
        return np.clip(2 * norm.sf(np.abs(z)), least, 1.0)

    def _corrections(self) -> tuple[Array, Array]:
        """Bias z0 and acceleration a, each (M,)."""
        below = np.mean(self.resampled < self.point, axis=0) + np.mean(self.resampled == self.point, axis=0) / 2
        least = 1 / (len(self.resampled) + 1)
        influence = self.left_out.mean(axis=0) - self.left_out
        scale = np.sum(influence**2, axis=0) ** 1.5
        acceleration = np.sum(influence**3, axis=0) / np.where(scale > 0, 6 * scale, 1)
        return norm.ppf(np.clip(below, least, 1 - least)), acceleration


def bootstrap(
    tc_K: Kelvins,
    pred_K: Array,
    training_median_K: float,
    *,
    resamples: int,
    seed: int,
    clusters: NDArray[np.str_] | None = None,
    weights: Array | None = None,
) -> dict[str, Distribution]:
    """Distribution of every metric in `METRICS` over resampled materials.

    Args:
        tc_K: measured (n,).
        pred_K: predictions of all models (n, M), in the same order.
        clusters: label of each material; those of one label are drawn together. Default: each for itself.
        weights: weight of each material (n,).
    """
    labels = np.arange(len(tc_K)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    sums = _cluster_sums(tc_K, pred_K, training_median_K, labels, np.ones(len(tc_K)) if weights is None else weights)
    total, models = sums.sum(axis=0), pred_K.shape[1]
    point = _statistics(total, models)
    resampled = _statistics(_resampled_sums(sums, resamples, np.random.default_rng(seed)), models)
    # a single cluster cannot be left out; then there is nothing to learn about the acceleration either
    left_out = _statistics(total - sums if len(sums) > 1 else sums, models)
    return {
        name: Distribution(point=point[name], resampled=resampled[name], left_out=left_out[name]) for name in METRICS
    }


def _cluster_sums(tc_K: Kelvins, pred_K: Array, median_K: float, labels: NDArray[np.int64], weights: Array) -> Array:
    """Sums (C, S = 4 + 3 M): weight, |median - Tc|, Tc, Tc², then |error|, error², squared log error by model."""
    centred = tc_K - tc_K.mean()  # Tc² is summed about the mean: subtracting two large sums would lose digits
    error = pred_K - tc_K[:, None]
    log_error = squared_log_error(tc_K[:, None], pred_K)
    shared = np.stack([np.ones_like(tc_K), np.abs(median_K - tc_K), centred, centred**2], axis=1)
    columns = weights[:, None] * np.hstack([shared, np.abs(error), error**2, log_error])
    sums = np.zeros((labels.max() + 1, columns.shape[1]))
    np.add.at(sums, labels, columns)
    return sums


def _resampled_sums(sums: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Sums (B, S) over clusters drawn with replacement, as many as there are."""
    clusters, parts = len(sums), []
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        rows = min(RESAMPLES_AT_ONCE, resamples - start)
        drawn = rng.integers(clusters, size=(rows, clusters)) + clusters * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters)
        parts.append(counts.astype(float) @ sums)
    return np.concatenate(parts)


def _statistics(sums: Array, models: int) -> dict[str, Array]:
    """Metrics (..., M) from sums (..., S)."""
    weight, median_error, tc, tc_squared = (sums[..., column, None] for column in range(4))
    absolute, square, log_error = (sums[..., 4 + k * models : 4 + (k + 1) * models] for k in range(3))
    spread = tc_squared - tc**2 / weight
    return {
        "mae_K": absolute / weight,
        "rmse_K": np.sqrt(square / weight),
        "r2": 1 - _ratio(square, spread),
        "msle": log_error / weight,
        "skill": 1 - _ratio(absolute, median_error),
    }


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Quotient, 1 where the denominator is 0 (so that R² and skill are 0 where there is nothing to explain)."""
    there = ~(np.abs(denominator) <= 1e-12)
    return np.where(there, numerator / np.where(there, denominator, 1), 1.0)


def holm(p_values: Array) -> Array:
    """p-values corrected for multiple comparisons: Holm 1979, Scand. J. Stat. 6, 65."""
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(steps)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected

"""The one scorer: predictions in, numbers with units out."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Kelvins: TypeAlias = NDArray[np.float64]


def score(tc_K: Kelvins, pred_K: Kelvins, training_median_K: float) -> dict[str, float]:
    """Errors of predictions against measured Tc.

    `msle` is the mean squared difference of log(1 + Tc) with negative predictions counted as 0 (a Tc below 0 K
    has no logarithm); `skill` is 1 - MAE / MAE of always saying the training median.
    """
    residual_K = pred_K - tc_K
    mae_K = float(np.mean(np.abs(residual_K)))
    median_model_mae_K = float(np.mean(np.abs(training_median_K - tc_K)))
    return {
        "n": len(tc_K),
        "mae_K": mae_K,
        "rmse_K": float(np.sqrt(np.mean(residual_K**2))),
        "r2": r2(tc_K, pred_K),
        "msle": float(np.mean((np.log1p(np.maximum(pred_K, 0)) - np.log1p(tc_K)) ** 2)),
        "median_mae_K": median_model_mae_K,
        "skill": 1 - mae_K / median_model_mae_K if median_model_mae_K > 0 else 0.0,
    }


def r2(tc_K: Kelvins, pred_K: Kelvins) -> float:
    """Coefficient of determination; 0 where every measured Tc is the same (nothing to explain)."""
    spread = float(np.sum((tc_K - tc_K.mean()) ** 2))
    return 1 - float(np.sum((pred_K - tc_K) ** 2)) / spread if spread > 0 else 0.0

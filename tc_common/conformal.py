"""Split-conformal prediction intervals from validation residuals.

Lei et al. 2018, doi 10.1080/01621459.2017.1307116, section 5.2 for residuals divided by a local scale. The nominal
coverage is guaranteed for materials exchangeable with the validation materials. It is lost where a grouped split makes
the test materials less similar to the training set, or where the validation set was used for training.
"""

from math import ceil

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Added to every `tc_std`: an ensemble's spread may be far smaller than its error.
SCALE_FLOOR_K = 1.0


def conformal_intervals(val: pd.DataFrame, test: pd.DataFrame, coverage: float) -> pd.DataFrame | None:
    """`tc_lower`, `tc_upper` (K) of each test row, cut at 0 K; None where `val` has too few rows for this coverage.

    Widths follow `tc_std` where both tables have it, else they are the same for all.
    """
    both = all("tc_std" in table for table in (val, test))
    val_scale, test_scale = (_scale(table, both) for table in (val, test))
    factor = conformal_factor((val["tc"] - val["tc_pred"]).abs().to_numpy() / val_scale, coverage)
    if factor is None:
        return None
    radius = factor * test_scale
    pred_K = test["tc_pred"].to_numpy(float)
    bounds = {"tc_lower": np.maximum(pred_K - radius, 0.0), "tc_upper": np.maximum(pred_K + radius, 0.0)}
    return pd.DataFrame(bounds, index=test.index)


def conformal_factor(ratios: NDArray[np.float64], coverage: float) -> float | None:
    """What bounds a new residual's ratio to its scale with probability `coverage`, from those (n,) of the validation.

    None where they are too few.
    """
    rank = conformal_rank(len(ratios), coverage)
    return float(np.sort(ratios)[rank - 1]) if rank <= len(ratios) else None


def conformal_rank(validation: int, coverage: float) -> int:
    """Rank (from 1) of the sorted validation residual that bounds a new one with probability `coverage`."""
    return ceil((validation + 1) * coverage - 1e-9)


def _scale(table: pd.DataFrame, by_std: bool) -> NDArray[np.float64]:
    """Unit of a residual: the model's own SD plus a floor, or 1 K."""
    return table["tc_std"].to_numpy(float) + SCALE_FLOOR_K if by_std else np.ones(len(table))

"""Numbers of the further tests: other structures of the test compositions, crystals from the literature.

Legend: n structures.
"""

from typing import Any

import numpy as np
import pandas as pd

from comparison.calibration import covered
from comparison.gather import Results
from tc_common.conformal import conformal_intervals
from tc_common.further import LITERATURE

OTHER_STRUCTURES = "other_structures"
HIGH_TC_K = 20.0


def further_numbers(results: Results, model: str, coverage: float) -> dict[str, Any]:
    """`{"further": {test: numbers}}` of the tests that a model predicted; empty where there are none.

    Args:
        coverage: nominal coverage of the intervals, which come from the validation materials.
    """
    found: dict[str, Any] = {}
    if (others := results.further.get(OTHER_STRUCTURES, {}).get(model)) is not None:
        found[OTHER_STRUCTURES] = _other_structures(
            _with_bounds(results, model, others, coverage), results.test[model]
        )
    if (crystals := results.further.get(LITERATURE, {}).get(model)) is not None:
        found[LITERATURE] = _literature(_with_bounds(results, model, crystals, coverage))
    return {"further": found} if found else {}


def _with_bounds(results: Results, model: str, table: pd.DataFrame, coverage: float) -> pd.DataFrame:
    table = table.drop(columns=["tc_lower", "tc_upper"], errors="ignore")
    bounds = conformal_intervals(results.val[model], table, coverage) if model in results.val else None
    return table if bounds is None else table.join(bounds)


def _other_structures(others: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    """Errors (K) on other and on chosen structures of the same compositions, and the spread between them."""
    chosen_K = test.set_index("material_id")["tc_pred"]
    others = others.assign(chosen_pred=chosen_K[others["chosen"]].to_numpy())
    spread_K = spreads(pd.concat([others[["chosen", "tc_pred"]], _chosen_rows(others)]))
    return {
        "compositions": len(spread_K),
        "all": _ratio("all", others),
        "above_20_K": _ratio("above 20 K", others[others["tc"] > HIGH_TC_K]),
        "spread_K": float(spread_K.mean()),
    }


def _chosen_rows(others: pd.DataFrame) -> pd.DataFrame:
    return others[["chosen", "chosen_pred"]].drop_duplicates("chosen").rename(columns={"chosen_pred": "tc_pred"})


def spreads(structures: pd.DataFrame) -> pd.Series:
    """Mean |difference| (K) of the predictions over all pairs of structures of each composition (`chosen`)."""

    def mean_difference(pred_K: pd.Series) -> float:
        values = pred_K.to_numpy(float)
        pairs = np.abs(values[:, None] - values)
        return float(pairs.sum() / (len(values) * (len(values) - 1)))

    return structures.groupby("chosen")["tc_pred"].agg(mean_difference)


def _ratio(name: str, others: pd.DataFrame) -> dict[str, Any]:
    """Errors on n other structures, and on the chosen one counted once for each; empty without any."""
    if others.empty:
        return {}
    chosen_K = float((others["chosen_pred"] - others["tc"]).abs().mean())
    found = _group(name, others)
    return {**found, "chosen_mae_K": chosen_K, "ratio": found["mae_K"] / chosen_K if chosen_K > 0 else None}


def _literature(crystals: pd.DataFrame) -> dict[str, Any]:
    known = crystals["known"]
    parts = {"all": crystals, "known": crystals[known], "new": crystals[~known]}
    families = {str(family): table for family, table in crystals.groupby("family")}
    return {
        "groups": [_group(name, table) for name, table in parts.items() if len(table)],
        "by_family": [_group(name, table) for name, table in families.items()],
    }


def _group(name: str, table: pd.DataFrame) -> dict[str, Any]:
    """Count, MAE, bias (K) and, where there are intervals, coverage and mean width (K)."""
    error_K = table["tc_pred"] - table["tc"]
    found = {"group": name, "n": len(table), "mae_K": float(error_K.abs().mean()), "bias_K": float(error_K.mean())}
    return {**covered(name, table), **found} if "tc_lower" in table else found

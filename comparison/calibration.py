"""Nominal and empirical coverage of prediction intervals: overall, by range of Tc, by family."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import beta, betabinom

from comparison.formatting import display
from comparison.gather import UNKNOWN, Results
from tc_common.conformal import conformal_intervals, conformal_rank
from tc_common.splits import TC_RANGES, tc_range

Flags: TypeAlias = NDArray[np.bool_]
Array: TypeAlias = NDArray[np.float64]
CONFIDENCE = 0.95


def intervals_of(results: Results, model: str, coverage: float) -> pd.DataFrame | None:
    """Test predictions with conformal `tc_lower`, `tc_upper`; None without (enough) validation predictions."""
    if model not in results.val:
        return None
    bounds = conformal_intervals(results.val[model], results.test[model], coverage)
    if bounds is None:
        return None
    kept = results.test[model].drop(columns=["tc_lower", "tc_upper"], errors="ignore")
    return kept.assign(tc=results.column("tc"), tc_lower=bounds["tc_lower"], tc_upper=bounds["tc_upper"])


def calibration(results: Results, model: str, coverage: float) -> dict[str, Any]:
    """Empirical coverage and mean width (K) of a model's intervals; empty where it has none."""
    table = intervals_of(results, model, coverage)
    if table is None:
        return {}
    inside = _inside(table)
    width_K = (table["tc_upper"] - table["tc_lower"]).to_numpy()
    families = results.column("family").astype(str).tolist()
    overall = _covered("all", inside, width_K)
    return {
        "nominal_coverage": coverage,
        "normalised": "tc_std" in table and "tc_std" in results.val[model],
        "overall": overall,
        "by_range": _by_group(tc_range(table["tc"]), TC_RANGES, inside, width_K),
        "by_family": [] if set(families) == {UNKNOWN} else _by_group(families, sorted(set(families)), inside, width_K),
        "conclusion": _conclusion(model, coverage, overall, len(results.val[model])),
    }


def all_intervals(results: Results, comparison: dict[str, Any]) -> pd.DataFrame | None:
    """Prediction intervals of all models, one below the other; None where no model has any."""
    tables = []
    for name, model in comparison["models"].items():
        if model["calibration"]:
            table = intervals_of(results, name, model["calibration"]["nominal_coverage"])
            assert table is not None, name
            tables.append(table.assign(model=name))
    if not tables:
        return None
    columns = ["model", "material_id", "formula", "tc", "tc_pred", "tc_lower", "tc_upper"]
    return pd.concat(tables)[columns]


def coverage_curve(results: Results, model: str, nominal: Sequence[float]) -> list[float]:
    """Empirical coverage for each nominal one; NaN where validation materials are too few."""
    tables = [intervals_of(results, model, coverage) for coverage in nominal]
    return [float("nan") if table is None else float(_inside(table).mean()) for table in tables]


# Edges of predicted Tc (K): predictions are hardly ever 0 K, so the first range takes what is nearly that.
PREDICTED_EDGES_K = (1.0, 5.0, 15.0, 40.0)
PREDICTED_RANGES = ("below 1 K", "1–5 K", "5–15 K", "15–40 K", "over 40 K")


def coverage_by_prediction(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Empirical coverage and mean width (K) by range of predicted Tc: what a reader of one prediction relies on."""
    number = np.digitize(table["tc_pred"], PREDICTED_EDGES_K)
    labels = [PREDICTED_RANGES[position] for position in number]
    return _by_group(labels, PREDICTED_RANGES, _inside(table), (table["tc_upper"] - table["tc_lower"]).to_numpy())


def rejection_curve(error_K: Array, width_K: Array) -> tuple[Array, Array]:
    """MAE (K) of the materials that are left when those with the widest intervals are rejected.

    Materials of equal width have the mean error of their group, so that their order changes nothing.

    Returns:
        rejected fraction (n,) from 0 on, and the MAE (n,) of the others.
    """
    _, group, count = np.unique(width_K, return_inverse=True, return_counts=True)
    alike = (np.bincount(group, error_K) / count)[group]
    kept = np.arange(1, len(error_K) + 1)
    mae_K = np.cumsum(alike[np.argsort(width_K, kind="stable")]) / kept
    return 1 - kept[::-1] / len(error_K), mae_K[::-1]


def covered(group: str, table: pd.DataFrame) -> dict[str, Any]:
    """Empirical coverage and mean width (K) of the intervals `tc_lower` to `tc_upper` of a group's materials."""
    return _covered(group, _inside(table), (table["tc_upper"] - table["tc_lower"]).to_numpy())


def _inside(table: pd.DataFrame) -> Flags:
    return table["tc"].between(table["tc_lower"], table["tc_upper"]).to_numpy()


def _by_group(labels: list[str], order: Sequence[str], inside: Flags, width_K: Array) -> list[dict[str, Any]]:
    groups = [(name, np.array(labels) == name) for name in order]
    return [_covered(name, inside[rows], width_K[rows]) for name, rows in groups if rows.any()]


def _covered(group: str, inside: Flags, width_K: Array) -> dict[str, Any]:
    """Fraction inside with its 95 % interval (Clopper and Pearson 1934, doi 10.1093/biomet/26.4.404), mean width."""
    hits, count, tail = int(inside.sum()), len(inside), (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, count - hits)) if hits < count else 1.0
    return {
        "group": group,
        "n": count,
        "coverage": hits / count,
        "coverage_interval": [low, high],
        "mean_width_K": float(width_K.mean()),
    }


def _conclusion(model: str, nominal: float, overall: dict[str, Any], validation: int) -> str:
    """Whether the empirical coverage is consistent with the nominal one.

    For exchangeable materials the number inside follows a beta-binomial law, in which both the `validation` materials
    and the test materials are samples (Vovk 2013, doi 10.1007/s10994-013-5355-6).
    """
    low, high = overall["coverage_interval"]
    hits, rank = round(overall["n"] * overall["coverage"]), conformal_rank(validation, nominal)
    law, tail = betabinom(overall["n"], rank, validation + 1 - rank), (1 - CONFIDENCE) / 2
    numbers = f"{display(model)}: coverage {100 * overall['coverage']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    if law.cdf(hits) < tail:
        return f"{numbers}, below the nominal {100 * nominal:g} %"
    relation = "above" if law.sf(hits - 1) < tail else "consistent with"
    return f"{numbers}, {relation} the nominal {100 * nominal:g} %"

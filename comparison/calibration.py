"""Do prediction intervals hold what they promise, and for whom?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta, betabinom

from comparison.gather import UNKNOWN, Results
from comparison.wording import display
from tc_common.conformal import conformal_intervals, conformal_rank
from tc_common.splits import TC_RANGES, tc_range

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
    """Coverage and mean width (K) of a model's intervals: overall, by Tc range, by family; with what it promised."""
    table = intervals_of(results, model, coverage)
    if table is None:
        return {}
    inside = ((table["tc"] >= table["tc_lower"]) & (table["tc"] <= table["tc_upper"])).to_numpy()
    width_K = (table["tc_upper"] - table["tc_lower"]).to_numpy()
    families = results.column("family").astype(str).tolist()
    overall = _covered("all", inside, width_K)
    return {
        "promised": coverage,
        "normalised": "tc_std" in table and "tc_std" in results.val[model],
        "overall": overall,
        "by_range": _by_group(tc_range(table["tc"]), TC_RANGES, inside, width_K),
        "by_family": [] if set(families) == {UNKNOWN} else _by_group(families, sorted(set(families)), inside, width_K),
        "verdict": _verdict(model, coverage, overall, len(results.val[model])),
    }


def all_intervals(results: Results, comparison: dict[str, Any]) -> pd.DataFrame | None:
    """Prediction intervals of all models, one below the other; None where no model has any."""
    tables = []
    for name, model in comparison["models"].items():
        if model["calibration"]:
            table = intervals_of(results, name, model["calibration"]["promised"])
            assert table is not None, name
            tables.append(table.assign(model=name))
    if not tables:
        return None
    columns = ["model", "material_id", "formula", "tc", "tc_pred", "tc_lower", "tc_upper"]
    return pd.concat(tables)[columns]


def coverage_curve(results: Results, model: str, promised: Sequence[float]) -> list[float]:
    """Share of test materials inside the intervals for each promised share; NaN where validation is too small."""
    tc_K, shares = results.column("tc"), []
    for coverage in promised:
        table = intervals_of(results, model, coverage)
        inside = None if table is None else (tc_K >= table["tc_lower"]) & (tc_K <= table["tc_upper"])
        shares.append(float("nan") if inside is None else float(inside.mean()))
    return shares


def _by_group(
    labels: list[str], order: Sequence[str], inside: np.ndarray[Any, Any], width_K: np.ndarray[Any, Any]
) -> list[dict[str, Any]]:
    members = [(name, np.array(labels) == name) for name in order]
    return [_covered(name, inside[member], width_K[member]) for name, member in members if member.any()]


def _covered(group: str, inside: np.ndarray[Any, Any], width_K: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Share inside with its 95 % interval (Clopper and Pearson 1934, doi 10.1093/biomet/26.4.404), mean width."""
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


def _verdict(model: str, promised: float, overall: dict[str, Any], validation: int) -> str:
    """Whether the promise was kept, as far as this many materials can tell.

    Were the test materials drawn like the `validation` ones, the number inside would follow a beta-binomial law that
    knows both samples' chance (Vovk 2013, doi 10.1007/s10994-013-5355-6).
    """
    low, high = overall["coverage_interval"]
    hits, rank = round(overall["n"] * overall["coverage"]), conformal_rank(validation, promised)
    law = betabinom(overall["n"], rank, validation + 1 - rank)
    said = (
        f"{display(model)}: {100 * overall['coverage']:.1f} % [{100 * low:.1f}, {100 * high:.1f}] "
        f"inside intervals of {100 * promised:g} %"
    )
    tail = (1 - CONFIDENCE) / 2
    if law.cdf(hits) < tail:
        return f"{said}: they under-cover"
    return f"{said}: they over-cover" if law.sf(hits - 1) < tail else f"{said}: as promised"

"""Compute the numbers of `comparison.json` from predictions."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, TypeAlias

import numpy as np

from comparison.bootstrap import METRICS, Distribution, bootstrap
from comparison.calibration import calibration
from comparison.formatting import display, number, with_conclusions
from comparison.further import further_numbers
from comparison.gather import UNKNOWN, Results
from tc_common.environment import git_commit
from tc_common.metrics import correlation, errors_by_group, score
from tc_common.splits import TC_RANGES, tc_range

Cluster: TypeAlias = Literal["material", "chemical-system"]


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """How intervals are made."""

    resamples: int = 10_000
    level: float = 0.95
    cluster: Cluster = "material"
    seed: int = 42


def evaluate(
    results: Results, uncertainty: Uncertainty, coverage: float = 0.9, weighted: bool = False
) -> dict[str, Any]:
    """All numbers of the comparison, models ordered by MAE.

    Args:
        coverage: nominal coverage of the prediction intervals.
        weighted: count each material with the weight of its split file instead of 1.
    """
    weights = results.column("weight").astype(float) if weighted else None
    scores = {name: _score(results, name, weights) for name in results.test}
    order = sorted(scores, key=lambda name: (scores[name]["mae_K"], name))
    distributions = _distributions(results, order, uncertainty, weights)
    intervals = {metric: distributions[metric].interval(uncertainty.level) for metric in METRICS}
    return {
        "git_commit": git_commit(),
        "n": len(results.truth["test"]),
        "splits_sha256": results.splits_sha256,
        "training_median_K": results.training_median_K,
        "uncertainty": {"method": "bca", **vars(uncertainty)},
        "weighted": weighted,
        "notes": list(results.notes),
        "models": {
            name: {
                "score": scores[name],
                "interval": {metric: intervals[metric][:, column].tolist() for metric in METRICS},
                **_details(results, name),
                "calibration": calibration(results, name, coverage),
                **further_numbers(results, name, coverage),
                "cost": costs(results.metrics[name]),
                "init": results.metrics[name].get("init"),
            }
            for column, name in enumerate(order)
        },
        "differences": _differences(distributions["mae_K"], order, uncertainty.level),
        "worst": worst_misses(results, order[0]),
        "ensembles": results.ensembles,
    }


def _score(results: Results, name: str, weights: np.ndarray[Any, Any] | None) -> dict[str, float]:
    return score(results.column("tc"), results.test[name]["tc_pred"], results.training_median_K, weights)


def _distributions(
    results: Results, order: list[str], uncertainty: Uncertainty, weights: np.ndarray[Any, Any] | None
) -> dict[str, Distribution]:
    by_system = uncertainty.cluster == "chemical-system"
    return bootstrap(
        results.column("tc").astype(float),
        np.stack([results.test[name]["tc_pred"].to_numpy(float) for name in order], axis=1),
        results.training_median_K,
        resamples=uncertainty.resamples,
        seed=uncertainty.seed,
        clusters=results.column("chemical_system").astype(str) if by_system else None,
        weights=weights,
    )


def _details(results: Results, name: str) -> dict[str, Any]:
    """Error by Tc range and family, score of the superconductors alone, compression."""
    tc_K, pred_K = results.column("tc").astype(float), results.test[name]["tc_pred"].to_numpy(float)
    by_range = errors_by_group(tc_range(tc_K), tc_K, pred_K).sort_values("group", key=lambda g: g.map(TC_RANGES.index))
    families = results.column("family").astype(str).tolist()
    known = set(families) != {UNKNOWN}
    return {
        "superconductors": score(tc_K[tc_K > 0], pred_K[tc_K > 0], results.training_median_K) if any(tc_K > 0) else {},
        "by_range": by_range.to_dict("records"),
        "by_family": errors_by_group(families, tc_K, pred_K).to_dict("records") if known else [],
        "compression": compression(tc_K, pred_K),
    }


def compression(tc_K: np.ndarray[Any, Any], pred_K: np.ndarray[Any, Any]) -> dict[str, float]:
    """How far predictions are pulled towards their mean.

    `sd_ratio` = SD of predictions / SD of Tc; `slope` of the least-squares line of predictions over Tc. Both are 1
    for a perfect model and 0 for a constant one.
    """
    spread = float(np.std(tc_K))
    ratio = float(np.std(pred_K)) / spread if spread > 0 else 0.0
    return {"sd_ratio": ratio, "slope": ratio * correlation(tc_K, pred_K, np.ones(len(tc_K)))}


def _differences(mae: Distribution, order: list[str], level: float) -> list[dict[str, Any]]:
    """Paired difference in MAE of every two models: interval, p, Holm's p, conclusion."""
    rows = []
    for a, b in combinations(range(len(order)), 2):
        pair = mae.minus(a, b)
        numbers = {"mae_difference_K": float(pair.point[0]), "interval_K": pair.interval(level)[:, 0].tolist()}
        rows.append({"a": order[a], "b": order[b], **numbers, "p": float(pair.p_value()[0])})
    return with_conclusions(rows, level)


def worst_misses(results: Results, model: str, count: int = 20) -> list[dict[str, Any]]:
    """The materials that `model` misses by most, with what every model predicted (K)."""
    table = results.truth["test"][["material_id", "formula", "family", "tc"]].reset_index(drop=True)
    predicted = {name: predictions["tc_pred"].to_numpy() for name, predictions in results.test.items()}
    error_K = (predicted[model] - table["tc"]).abs()
    order = (
        table.assign(error_K=error_K).sort_values(["error_K", "material_id"], ascending=[False, True]).index[:count]
    )
    return [
        {**table.loc[row].to_dict(), "tc_pred": {name: float(values[row]) for name, values in predicted.items()}}
        for row in order
    ]


COSTS = ("train_seconds", "inference_ms_per_sample", "parameters", "trainable_parameters", "peak_memory_MB")


def costs(metrics: dict[str, Any]) -> dict[str, Any]:
    """The costs that a model's metrics file states; None where it does not."""
    return {name: metrics.get(name) for name in (*COSTS, "device")}


def total_costs(models: list[dict[str, Any]]) -> dict[str, Any]:
    """Costs of all models together: sums, but the largest memory (they can run one after the other)."""
    total: dict[str, Any] = {}
    for name in COSTS:
        known = [model.get(name) for model in models]
        there = [value for value in known if value is not None]
        total[name] = None if len(there) < len(known) else (max if name == "peak_memory_MB" else sum)(there)
    return total | {"device": ", ".join(sorted({str(model.get("device") or "?") for model in models}))}


def cost_rows(comparison: dict[str, Any]) -> list[list[str]]:
    """Head and one row per model."""
    head = ["model", "MAE (K)", "training", "ms / material", "parameters", "trained", "memory (MB)", "device"]
    return [head] + [
        [display(name), number(model["score"]["mae_K"]), _duration(model["cost"]["train_seconds"])]
        + [number(model["cost"]["inference_ms_per_sample"], 3)]
        + [_count(model["cost"][key]) for key in ("parameters", "trainable_parameters", "peak_memory_MB")]
        + [model["cost"]["device"] or "–"]
        for name, model in comparison["models"].items()
    ]


def _duration(seconds: float | None) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds is None:
        return "–"
    unit, length = next(((u, s) for u, s in (("h", 3600), ("min", 60)) if seconds >= 2 * s), ("s", 1))
    return f"{seconds / length:.1f} {unit}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"

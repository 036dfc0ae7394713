"""What a model costs, beside what it achieves."""

from typing import Any

from comparison.wording import display, number

COSTS = ("train_seconds", "inference_ms_per_sample", "parameters", "trainable_parameters", "peak_memory_MB")


def costs(metrics: dict[str, Any]) -> dict[str, Any]:
    """The costs that a model's metrics file states; None where it does not."""
    return {name: metrics.get(name) for name in (*COSTS, "device")}


def total_costs(members: list[dict[str, Any]]) -> dict[str, Any]:
    """Costs of running all members: sums, but the largest memory (they can run one after the other)."""
    total: dict[str, Any] = {}
    for name in COSTS:
        known = [member.get(name) for member in members]
        there = [value for value in known if value is not None]
        total[name] = None if len(there) < len(known) else (max if name == "peak_memory_MB" else sum)(there)
    return total | {"device": ", ".join(sorted({str(member.get("device") or "?") for member in members}))}


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

"""Sentences that follow from numbers; no conclusion is written in code."""

from typing import Any

DISPLAY_NAMES = {
    "dinov3": "DINOv3",
    "alignn": "ALIGNN",
    "pretrained_alignn": "ALIGNN zero-shot",
    "composition": "composition trees",
    "ensemble": "ensemble",
    "ensemble_ridge": "ensemble (ridge)",
}


def display(model: str) -> str:
    """A model's name as people write it."""
    return DISPLAY_NAMES.get(model, model.replace("_", " "))


def verdict(difference: dict[str, Any], level: float) -> str:
    """What a paired difference in MAE allows to say.

    Two models are told apart only if 0 lies outside the interval and p, corrected by Holm, is below 1 - level.
    """
    a, b = display(difference["a"]), display(difference["b"])
    low, high = difference["interval_K"]
    numbers = (
        f"{a} − {b} = {difference['mae_difference_K']:+.2f} K [{low:+.2f}, {high:+.2f}], "
        f"p = {format_p(difference['p_holm'])}"
    )
    if low <= 0 <= high or difference["p_holm"] >= 1 - level:
        return f"{numbers}: not distinguishable"
    return f"{numbers}: {a if high < 0 else b} has the lower MAE"


def format_p(p: float) -> str:
    """p to two digits, never rounded to 0."""
    return f"{p:.2f}" if p >= 0.095 else f"{p:.3f}" if p >= 0.00095 else f"{p:.0e}"

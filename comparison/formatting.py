"""Formatting: display names of models, numbers, p-values, and the conclusion from a paired difference."""

import re
from typing import Any

import numpy as np

from comparison.bootstrap import holm

NOT_KNOWN = "–"
DISPLAY_NAMES = {
    "dinov3": "ViT",
    "alignn": "ALIGNN",
    "alignn_neighbours": "ALIGNN + neighbours",
    "alignn_prior": "ALIGNN correcting the pair",
    "dinov3_neighbours": "vision + neighbours",
    "dinov3_composition": "vision + composition",
    "dinov3_composition_neighbours": "vision + composition + neighbours",
    "alignn_with_labels": "ALIGNN with labels",
    "alignn_with_labels_neighbours": "ALIGNN with labels + neighbours",
    "dinov3_with_labels": "vision with labels",
    "pretrained_alignn": "ALIGNN zero-shot",
    "finetuned_alignn": "ALIGNN fine-tuned",
    "composition": "composition trees",
    "ensemble": "ensemble",
    "ensemble_equal": "ensemble (plain mean)",
}


def display(model: str, init: str | None = None) -> str:
    """A model's display name; the vision model is DINOv3 only if its `init` brought DINOv3's weights.

    An `init` of `mean of 3: random` is that of three trainings whose predictions are averaged.
    """
    if init and (mean := re.fullmatch(r"mean of (\d+): (.*)", init)):
        return f"{display(model, mean[2])}, mean of {mean[1]}"
    if model == "dinov3" and init:
        return "ViT (from scratch)" if init == "random" else "DINOv3" if "dinov3" in init else "ViT"
    return DISPLAY_NAMES.get(model, model.replace("_", " "))


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """A number, or a dash where it is not known; never `-0.00`; minus as typeset."""
    if value is None or value != value:
        return NOT_KNOWN
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return (text.lstrip("+-") if float(text) == 0 else text).replace("-", "−")


def format_p(p: float) -> str:
    """p to two digits, never rounded to 0."""
    return f"{p:.2f}" if p >= 0.095 else f"{p:.3f}" if p >= 0.00095 else f"{p:.0e}"


def distinguishable(difference: dict[str, Any], level: float) -> bool:
    """Whether 0 lies outside the interval and p, corrected by Holm, is below 1 - level."""
    low, high = difference["interval_K"]
    return not (low <= 0 <= high or difference["p_holm"] >= 1 - level)


def conclusion(difference: dict[str, Any], level: float) -> str:
    """The sentence that a paired difference in MAE supports (`distinguishable`)."""
    a, b = display(difference["a"]), display(difference["b"])
    low, high = difference["interval_K"]
    numbers = (
        f"{a} − {b} = {number(difference['mae_difference_K'], sign=True)} K "
        f"[{number(low, sign=True)}, {number(high, sign=True)}], "
        f"p = {format_p(difference['p_holm'])}"
    )
    if not distinguishable(difference, level):
        return f"{numbers}: not distinguishable"
    return f"{numbers}: {a if high < 0 else b} has the lower MAE"


def with_conclusions(differences: list[dict[str, Any]], level: float) -> list[dict[str, Any]]:
    """Paired differences with their p corrected by Holm over all of them, and the conclusion from each."""
    corrected = holm(np.array([row["p"] for row in differences]))
    rows = [{**row, "p_holm": float(p)} for row, p in zip(differences, corrected, strict=True)]
    return [{**row, "conclusion": conclusion(row, level)} for row in rows]

"""Sentences that follow from numbers; no conclusion is written in code."""

from typing import Any

from comparison.wording import display, format_p, number


def verdict(difference: dict[str, Any], level: float) -> str:
    """What a paired difference in MAE allows to say.

    Two models are told apart only if 0 lies outside the interval and p, corrected by Holm, is below 1 - level.
    """
    a, b = display(difference["a"]), display(difference["b"])
    low, high = difference["interval_K"]
    numbers = (
        f"{a} − {b} = {number(difference['mae_difference_K'], sign=True)} K "
        f"[{number(low, sign=True)}, {number(high, sign=True)}], "
        f"p = {format_p(difference['p_holm'])}"
    )
    if low <= 0 <= high or difference["p_holm"] >= 1 - level:
        return f"{numbers}: not distinguishable"
    return f"{numbers}: {a if high < 0 else b} has the lower MAE"

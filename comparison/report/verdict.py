"""The two sentences that a comparison comes to: which model errs least, and what an ensemble adds."""

from typing import Any

from comparison.formatting import display, distinguishable, number
from comparison.gather import OWN_MODELS


def verdict(comparison: dict[str, Any]) -> tuple[str, str]:
    """Which model has the lowest error and from which it is not distinguishable; the ensemble's gain over the best
    single model."""
    return _lowest(comparison), _gain(comparison)


def confidence(comparison: dict[str, Any]) -> float:
    """Level of the intervals, of one comparison or of one over runs."""
    return float(comparison["level"] if "runs" in comparison else comparison["uncertainty"]["level"])


def _lowest(comparison: dict[str, Any]) -> str:
    best, *others = comparison["models"]
    alike = [name for name in others if not distinguishable(_between(comparison, best, name), confidence(comparison))]
    names = listed([display(name) for name in alike])
    relation = "it is the only model" if not others else f"not distinguishable from {names}"
    if others and not alike:
        relation = "every other model's error is higher"
    return f"Lowest error: {display(best)}, {_error(comparison, best)}; {relation}."


def _error(comparison: dict[str, Any], model: str) -> str:
    """MAE with its interval, over runs with its SD."""
    found = comparison["models"][model]
    if "runs" in comparison:
        return (
            f"MAE {number(found['mae_K']['mean'])} ± {number(found['mae_K']['sd'])} K over {comparison['runs']} runs"
        )
    low, high = found["interval"]["mae_K"]
    return f"MAE {number(found['score']['mae_K'])} K [{number(low)}, {number(high)}]"


def _gain(comparison: dict[str, Any]) -> str:
    ensembles = [name for name in OWN_MODELS if name in comparison["models"]]
    singles = [name for name in comparison["models"] if name not in OWN_MODELS]
    if not ensembles or not singles:
        return "No ensemble is compared; python compare_models.py --ensemble makes one."
    ensemble, single = ensembles[0], singles[0]
    difference = _between(comparison, single, ensemble)
    low, high = difference["interval_K"]
    numbers = (
        f"{number(difference['mae_difference_K'], sign=True)} K [{number(low, sign=True)}, {number(high, sign=True)}]"
    )
    apart = distinguishable(difference, confidence(comparison))
    relation = "not distinguishable" if not apart else f"{display(ensemble if low > 0 else single)} has the lower MAE"
    return f"Gain of the {display(ensemble)} over {display(single)}, the best single model: {numbers}: {relation}."


def _between(comparison: dict[str, Any], a: str, b: str) -> dict[str, Any]:
    """The paired difference MAE(a) - MAE(b), in whichever order it is recorded."""
    for row in comparison["differences"]:
        if (row["a"], row["b"]) == (a, b):
            return dict(row)
        if (row["a"], row["b"]) == (b, a):
            low, high = row["interval_K"]
            return {**row, "a": a, "b": b, "mae_difference_K": -row["mae_difference_K"], "interval_K": [-high, -low]}
    raise KeyError(f"no difference of {a} and {b}")


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

"""Zero-shot analysis: compression, bias, error by Tc range, and the shift from training to test distribution.

Everything is in K unless a name says otherwise.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tc_common.composition import fractions, parse_formula
from tc_common.files import atomic_write
from tc_common.metrics import errors_by_group
from tc_common.splits import TC_EDGES_K, tc_strata

Kelvins: TypeAlias = NDArray[np.float64]
HOT_K, VERY_HOT_K = 20.0, 40.0
HISTOGRAM_EDGES_K = np.arange(0.0, 201.0)


def analyse(tc_K: Kelvins, pred_K: Kelvins) -> dict[str, Any]:
    """Compression, bias, and where the error lies.

    `variance_ratio` is the variance of the predictions over that of the measurements: below 1 they are compressed.
    `slope` is that of the least-squares line of predictions on measurements (1 = not compressed).
    """
    return {
        "measured": spread(tc_K),
        "predicted": spread(pred_K),
        "variance_ratio": _ratio(float(pred_K.var()), float(tc_K.var())),
        "slope": _ratio(float(np.mean((pred_K - pred_K.mean()) * (tc_K - tc_K.mean()))), float(tc_K.var())),
        "bias_K": float(np.mean(pred_K - tc_K)),
        "pearson": pearson(tc_K, pred_K),
        "pearson_above_40_K": pearson(tc_K[tc_K > VERY_HOT_K], pred_K[tc_K > VERY_HOT_K]),
        "ranges": error_by_range(tc_K, pred_K),
    }


def spread(values_K: Kelvins) -> dict[str, float]:
    """Range, mean, median and SD, and the shares above 20 and 40 K."""
    return {
        "n": len(values_K),
        "least_K": float(values_K.min()),
        "most_K": float(values_K.max()),
        "mean_K": float(values_K.mean()),
        "median_K": float(np.median(values_K)),
        "sd_K": float(values_K.std()),
        "share_above_20_K": float(np.mean(values_K > HOT_K)),
        "share_above_40_K": float(np.mean(values_K > VERY_HOT_K)),
    }


def error_by_range(tc_K: Kelvins, pred_K: Kelvins) -> list[dict[str, float | None]]:
    """MAE, bias and share of the total absolute error in each range of measured Tc: (0, 5], (5, 15], …; 0 apart."""
    edges = [None, *TC_EDGES_K, None]
    return [
        {
            "above_K": edges[row.group],
            "up_to_K": edges[row.group + 1],
            "n": int(row.n),
            "mae_K": row.mae_K,
            "bias_K": row.bias_K,
            "share_of_error": row.error_share,
        }
        for row in errors_by_group(tc_strata(tc_K), tc_K, pred_K).itertuples()
    ]


def pearson(a: Kelvins, b: Kelvins) -> float | None:
    """Correlation, None where it is not defined (fewer than three values, or all the same)."""
    if len(a) < 3 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


# ---- training distribution and test distribution ----------------------------------------------------------------


def distribution(materials: pd.DataFrame) -> dict[str, Any]:
    """Tc (K) of a table of crystals, and how many of them contain each element, in few numbers for a card."""
    values = materials["tc"].to_numpy(float)
    elements = [element for formula in materials["formula"] for element in fractions(parse_formula(formula))]
    counts = pd.Series(elements).value_counts()
    return {
        **spread(values),
        "histogram_of_1_K": np.histogram(np.clip(values, 0, HISTOGRAM_EDGES_K[-1]), HISTOGRAM_EDGES_K)[0].tolist(),
        "crystals_with_element": {str(symbol): int(counts[symbol]) for symbol in sorted(counts.index)},
    }


def compare_distributions(trained: Mapping[str, Any], tested: Mapping[str, Any]) -> dict[str, Any]:
    """How far the test set lies from the training set.

    `tc_distance` is the largest difference of the two cumulative shares of Tc at whole kelvins (0 the same, 1
    disjoint); `element_distance` is half the summed difference of the elements' shares (total variation, 0 to 1).
    """
    ours, theirs = (_cumulative(side["histogram_of_1_K"]) for side in (tested, trained))
    shares = pd.DataFrame({"test": tested["crystals_with_element"], "train": trained["crystals_with_element"]})
    shares = shares.fillna(0).astype(float)
    unseen = sorted(shares.index[(shares["train"] == 0) & (shares["test"] > 0)])
    normalised = shares / shares.sum()
    return {
        "tc_distance": float(np.abs(ours - theirs).max()),
        "element_distance": float((normalised["test"] - normalised["train"]).abs().sum() / 2),
        "elements_never_seen": unseen,
        "highest_tc_seen_K": trained["most_K"],
        "test_share_above_highest_seen": share_above(tested["histogram_of_1_K"], trained["most_K"]),
        "more_frequent_in_test": _most_different(shares, trained["n"], tested["n"]),
    }


def _cumulative(histogram: list[int]) -> NDArray[np.float64]:
    counts = np.asarray(histogram, float)
    return np.cumsum(counts) / counts.sum()


def share_above(histogram: list[int], edge_K: float) -> float:
    """Fraction of a 1 K histogram above the first whole kelvin at or over `edge_K`."""
    counts = np.asarray(histogram, float)
    return float(counts[int(np.ceil(edge_K)) :].sum() / counts.sum())


def _most_different(shares: pd.DataFrame, n_trained: int, n_tested: int) -> dict[str, list[float]]:
    """The eight elements whose fraction of crystals grew most: [in training, in test]."""
    part = pd.DataFrame({"train": shares["train"] / n_trained, "test": shares["test"] / n_tested})
    order = (part["test"] - part["train"]).sort_values(ascending=False, kind="stable").index[:8]
    return {str(symbol): [float(part.loc[symbol, "train"]), float(part.loc[symbol, "test"])] for symbol in order}


COLOURS = {"training set": "#0072B2", "test set": "#D55E00"}  # Okabe & Ito: colour-blind readers tell them apart
ELEMENTS_SHOWN = 30


def plot_tc(path: Path, trained: Mapping[str, Any], tested: Mapping[str, Any]) -> None:
    """Cumulative fraction of crystals below each Tc."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for side, (name, colour) in zip((trained, tested), COLOURS.items(), strict=True):
        share = _cumulative(side["histogram_of_1_K"])
        axes.step(np.arange(1, len(share) + 1), share, color=colour, label=f"{name}, n = {side['n']}")
    axes.set(xlabel="Tc (K)", ylabel="fraction of crystals with a lower Tc", ylim=(0, 1.02))
    axes.set_xlim(0, 1 + max(side["most_K"] for side in (trained, tested)))
    axes.legend(loc="lower right")
    _save(figure, path)


def plot_elements(path: Path, trained: Mapping[str, Any], tested: Mapping[str, Any]) -> None:
    """Fraction of crystals that contain an element, for the elements most frequent in either set."""
    sides = (pd.Series(side["crystals_with_element"]) / side["n"] for side in (trained, tested))
    shares = pd.DataFrame(dict(zip(COLOURS, sides, strict=True))).fillna(0.0).sort_index()
    frequent = shares.max(axis=1).sort_values(ascending=False, kind="stable").index[:ELEMENTS_SHOWN]
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    axes = figure.subplots()
    for shift, (name, colour) in zip((-0.2, 0.2), COLOURS.items(), strict=True):
        axes.bar(np.arange(len(frequent)) + shift, shares.loc[frequent, name], 0.4, color=colour, label=name)
    axes.set_xticks(range(len(frequent)), frequent)
    axes.set_ylabel("fraction of crystals with the element")
    axes.legend()
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})

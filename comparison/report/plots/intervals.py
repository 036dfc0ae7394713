"""Figures of the prediction intervals: coverage by measured and by predicted Tc, calibration, rejection."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from comparison.calibration import coverage_by_prediction, coverage_curve, intervals_of, rejection_curve
from comparison.formatting import display
from comparison.gather import Results
from comparison.report.style import INK, Chart, diagonal, leaders, line, marks
from comparison.report.tables import calibrations

# Over fewer materials than this part the error of those that are left is noise.
LEAST_KEPT = 0.1


def coverage(results: Results, comparison: dict[str, Any]) -> Chart:
    """Empirical coverage of the intervals by measured and by predicted Tc; nominal coverage dashed."""
    calibrated = calibrations(comparison)
    models = leaders(list(calibrated))
    nominal = calibrated[models[0]]["nominal_coverage"]
    tables = {name: intervals_of(results, name, nominal) for name in models}
    by_prediction = {name: coverage_by_prediction(table) for name, table in tables.items() if table is not None}
    measured = {name: [calibrated[name]["overall"], *calibrated[name]["by_range"]] for name in models}
    chart = Chart(5.6)
    upper, lower = chart.subplots(2, 1)
    _covered(upper, measured, [row["group"] for row in measured[models[0]]], nominal)
    upper.set(xlabel="measured Tc", ylabel="empirical coverage (%)")
    groups = list(dict.fromkeys(row["group"] for rows in by_prediction.values() for row in rows))
    _covered(lower, by_prediction, sorted(groups, key=_first_number), nominal)
    lower.set(xlabel="predicted Tc (numbers of materials differ by model)", ylabel="empirical coverage (%)")
    chart.legend_above()
    return chart


def _first_number(group: str) -> float:
    """Order of the ranges of predicted Tc."""
    words = group.replace("–", " ").split()
    return next(float(word) for word in words if word.isdigit()) if words[0] != "below" else 0.0


def _covered(axes: Axes, rows: dict[str, list[dict[str, Any]]], groups: list[str], nominal: float) -> None:
    """One mark with its interval for each model in each group."""
    for position, (name, found) in enumerate(rows.items()):
        place = np.array([groups.index(row["group"]) for row in found]) + 0.6 * ((position + 0.5) / len(rows) - 0.5)
        part = np.array([row["coverage"] for row in found])
        low, high = np.array([row["coverage_interval"] for row in found]).T
        bars = np.maximum([part - low, high - part], 0)
        axes.errorbar(place, 100 * part, 100 * bars, label=display(name), capsize=2, **marks(name), elinewidth=1)
    axes.axhline(100 * nominal, color=INK, linestyle="--", linewidth=0.8)
    counts = {row["group"]: row["n"] for found in rows.values() for row in found}
    alike = all(row["n"] == counts[row["group"]] for found in rows.values() for row in found)
    axes.set_xticks(range(len(groups)), [f"{name}\nn = {counts[name]}" if alike else name for name in groups])
    axes.set(ylim=(0, 104), xlim=(-0.5, len(groups) - 0.5))
    axes.grid(visible=False, axis="x")


def calibration_curves(results: Results, models: list[str]) -> Chart:
    """Empirical over nominal coverage, both in percent."""
    chart = Chart(4.2, width=4.6)
    axes = chart.subplots()
    nominal = np.linspace(0.05, 0.95, 19)
    for name in models:
        shares = np.array(coverage_curve(results, name, nominal.tolist()))
        axes.plot(100 * nominal, 100 * shares, label=display(name), **line(name))
    diagonal(axes)
    axes.set(xlabel="nominal coverage (%)", ylabel="empirical coverage (%)")
    axes.set(xlim=(0, 100), ylim=(0, 100), aspect="equal")
    axes.legend(loc="upper left")
    return chart


def rejection(results: Results, models: list[str], nominal: float) -> Chart:
    """MAE (K) of what is left when the predictions with the widest intervals are rejected; dotted: by true error."""
    chart = Chart(3.6)
    axes = chart.subplots()
    for name in models:
        table = intervals_of(results, name, nominal)
        assert table is not None, name
        error_K = (table["tc_pred"] - table["tc"]).abs().to_numpy()
        rejected, mae_K = rejection_curve(error_K, (table["tc_upper"] - table["tc_lower"]).to_numpy())
        shown = rejected <= 1 - LEAST_KEPT
        axes.plot(100 * rejected[shown], mae_K[shown], label=display(name), **line(name))
        if name == models[0]:
            best = rejection_curve(error_K, error_K)[1]
            axes.plot(100 * rejected[shown], best[shown], ":", color=INK, label=f"{display(name)}, by true error")
    axes.set(
        xlabel="rejected, widest intervals first (%)", ylabel="MAE of the others (K)", ylim=(0, None), xlim=(0, 90)
    )
    axes.legend(loc="upper right")
    return chart

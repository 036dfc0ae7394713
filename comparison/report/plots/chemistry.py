"""Figures of chemistry: error by distance from the training compositions, map of compositions, doping series."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, SymLogNorm

from comparison.formatting import display
from comparison.gather import Results
from comparison.novelty import composition_map
from comparison.report.plots.scores import measured_and_predicted, point_names
from comparison.report.style import INK, Chart, look, marks, plain_numbers, readable_decades, sequential
from comparison.series import Series


def distance(errors: pd.DataFrame) -> Chart:
    """MAE (K) with its interval by distance to the nearest training composition; the training median's dashed.

    Args:
        errors: of `comparison.novelty.error_by_distance`.
    """
    models = errors["model"].unique().tolist()
    first = errors[errors["model"] == models[0]]
    chart = Chart(3.6)
    axes = chart.subplots()
    place = np.arange(len(first))
    for position, name in enumerate(models):
        rows = errors[errors["model"] == name]
        bars = np.maximum([rows["mae_K"] - rows["low_K"], rows["high_K"] - rows["mae_K"]], 0)
        shift = 0.5 * ((position + 0.5) / len(models) - 0.5)
        axes.errorbar(place + shift, rows["mae_K"], bars, label=display(name), capsize=2, elinewidth=1, **marks(name))
    median_K = first["median_mae_K"]
    axes.plot(place, median_K, "_--", color=INK, linewidth=0.8, markersize=14, label="training median")
    axes.set_xticks(place, [f"{name} %\nn = {n}" for name, n in zip(first["bin"], first["n"], strict=True)])
    axes.set(xlabel="atoms to exchange to reach the nearest training composition", ylabel="MAE (K)", yscale="log")
    readable_decades(axes.yaxis)
    axes.grid(visible=False, axis="x")
    chart.legend_above()
    return chart


def crystal_map(results: Results, model: str) -> Chart:
    """The test compositions in two principal components of their features, by measured Tc and by absolute error."""
    places, variance = composition_map(results)
    tc_K, pred_K = results.column("tc").astype(float), results.test[model]["tc_pred"].to_numpy(float)
    error_K = np.abs(pred_K - tc_K)
    chart = Chart(3.5)
    left, right = chart.subplots(1, 2, sharex=True, sharey=True)
    names = point_names(results, model)
    top = max(float(tc_K.max()), 2.0)
    _map_panel(chart, left, places, tc_K, SymLogNorm(1.0, vmin=0, vmax=top), names)
    _map_panel(chart, right, places, np.maximum(error_K, 0.1), LogNorm(0.1, max(float(error_K.max()), 1.0)), names)
    left.set(title="measured Tc (K)", ylabel=f"component 2 ({100 * variance[1]:.0f} % of variance)")
    right.set(title=f"|error| of {display(model)} (K)")
    for axes in (left, right):
        axes.set_xlabel(f"component 1 ({100 * variance[0]:.0f} % of variance)")
    return chart


def _map_panel(
    chart: Chart, axes: Axes, places: np.ndarray, value: np.ndarray, norm: Normalize, names: list[str]
) -> None:
    """Every composition a point, those of high value on top."""
    order = np.argsort(value, kind="stable")
    x, y = places[order].T
    points = axes.scatter(x, y, 11, value[order], cmap=sequential(), norm=norm, linewidths=0, alpha=0.85)
    points.set_clip_on(False)
    chart.name(points, [names[row] for row in order])
    scale = chart.colorbar(ScalarMappable(norm, sequential()), ax=axes, location="bottom", shrink=0.9, aspect=25)
    scale.ax.xaxis.set_major_formatter(plain_numbers())
    scale.ax.minorticks_off()


def domes(found: list[Series], materials: pd.DataFrame, model: str) -> Chart:
    """Tc (K) along doping series: measured, of training and of held-out materials, and predicted for the latter.

    Args:
        materials: `formula`, `tc` (K), `tc_pred` (K; NaN for training materials), by the rows of the series.
    """
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    chart = Chart(0.7 + 1.9 * rows, width=max(1.8 * columns, 3.6))
    panels = chart.subplots(rows, columns, squeeze=False).ravel()
    for axes, series in zip(panels, found, strict=False):
        _dome(chart, axes, series, materials.iloc[series.rows], model)
    for axes in panels[len(found) :]:
        axes.set_visible(False)
    chart.supylabel("Tc (K)", fontsize=9)
    chart.legend_above()
    return chart


def _dome(chart: Chart, axes: Axes, series: Series, rows: pd.DataFrame, model: str) -> None:
    known = rows["tc_pred"].isna().to_numpy()
    x, tc_K, pred_K = series.x, rows["tc"].to_numpy(), rows["tc_pred"].to_numpy()
    names = measured_and_predicted(rows["formula"][~known].tolist(), tc_K[~known], pred_K[~known])
    axes.plot(x[known], tc_K[known], ".", color=INK, alpha=0.3, markersize=4, label="measured, training")
    axes.vlines(x[~known], tc_K[~known], pred_K[~known], color=INK, alpha=0.25, linewidth=0.7)
    (measured,) = axes.plot(
        x[~known], tc_K[~known], "o", color=INK, markerfacecolor="none", markersize=4.5, label="measured, held out"
    )
    (predicted,) = axes.plot(
        x[~known],
        pred_K[~known],
        "D",
        color=look(model)["color"],
        markersize=3.5,
        label=f"predicted by {display(model)}",
    )
    chart.name(measured, names)
    chart.name(predicted, names)
    mae_K = float(np.abs(pred_K - tc_K)[~known].mean())
    top = max(float(tc_K.max()), float(np.nanmax(pred_K)), 1.0)
    axes.set_ylim(min(0.0, float(np.nanmin(pred_K))) - 0.04 * top, 1.06 * top)
    axes.set(title=series.title, xlabel=f"{series.axis}\nMAE {mae_K:.1f} K, n = {np.sum(~known)}")
    axes.xaxis.label.set_fontsize(8)

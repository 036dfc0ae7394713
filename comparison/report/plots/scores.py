"""Figures of predictions against measurements: parity, residuals, cumulative error, compression.

Legend: n test materials.
"""

from collections.abc import Sequence
from textwrap import fill
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from comparison.formatting import display, number
from comparison.gather import Results
from comparison.report.style import INK, Chart, leaders, line, look, plain_numbers, sequential
from tc_common.composition import chemical_formula, parse_formula
from tc_common.errors import UserError
from tc_common.metrics import score
from tc_common.splits import tc_strata

Array: TypeAlias = NDArray[np.float64]
# Least Tc (K) on the logarithmic axes of parity: predictions below are drawn at it.
LEAST_K = 0.1
TICKS_K = (0.1, 1, 10, 100)
# Where on the axis log10(Tc / K) the materials of 0 K are, spread over a strip of their own.
ZERO_STRIP = (-1.95, -1.35)
COLUMNS = 4


def parity_place(tc_K: Array) -> Array:
    """Place (n,) on the axis of measured Tc: log10, and for those of 0 K one after the other in their strip."""
    place, zero = np.log10(np.maximum(tc_K, LEAST_K)), tc_K <= 0
    place[zero] = np.linspace(*ZERO_STRIP, int(zero.sum()))
    return place


def parity(results: Results, models: list[str]) -> Chart:
    """Density of materials over measured and predicted Tc, one panel a model."""
    columns = min(COLUMNS, len(models))
    rows = -(-len(models) // columns)
    chart = Chart(0.5 + 2.15 * rows, width=max(0.6 + 1.8 * columns, 3.6))
    panels = chart.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    tc_K = results.column("tc").astype(float)
    for axes, model in zip(panels, models, strict=False):
        pred_K = results.test[model]["tc_pred"].to_numpy(float)
        shown = _density(axes, parity_place(tc_K), np.log10(np.maximum(pred_K, LEAST_K)))
        _parity_axes(axes, results, model)
        axes.tick_params(labelbottom=True)
    for axes in panels[len(models) :]:
        axes.set_visible(False)
    chart.supxlabel("measured Tc (K)", fontsize=9)
    chart.supylabel("predicted Tc (K)", fontsize=9)
    scale = chart.colorbar(shown, ax=panels.tolist(), label="materials", shrink=0.8, aspect=30)
    scale.ax.yaxis.set_major_formatter(plain_numbers())
    return chart


def wrapped(model: str) -> str:
    """A model's display name as the title of a small panel."""
    return fill(display(model), 22)


def _density(axes: Axes, x: Array, y: Array) -> Any:
    extent = (ZERO_STRIP[0], 2.3, np.log10(LEAST_K), 2.3)
    return axes.hexbin(
        x, y, gridsize=(26, 14), extent=extent, bins="log", mincnt=1, vmax=100, cmap=sequential(), linewidths=0.2
    )


def _parity_axes(axes: Axes, results: Results, model: str) -> None:
    """Ticks in K, the strip of 0 K, the diagonal, and MAE, R² and n."""
    tc_K, pred_K = results.column("tc").astype(float), results.test[model]["tc_pred"].to_numpy(float)
    axes.plot([-1, 2.3], [-1, 2.3], color=INK, linewidth=0.8, linestyle="--")
    axes.axvline((ZERO_STRIP[1] - 1) / 2 - 0.04, color=INK, linewidth=0.6, alpha=0.5)
    axes.set_xticks([float(np.mean(ZERO_STRIP)), *np.log10(TICKS_K)], ["0", *(f"{tick:g}" for tick in TICKS_K)])
    axes.set_yticks(np.log10(TICKS_K), [f"≤{TICKS_K[0]:g}", *(f"{tick:g}" for tick in TICKS_K[1:])])
    axes.set(xlim=(ZERO_STRIP[0] - 0.1, 2.35), ylim=(-1.12, 2.35), title=wrapped(model))
    numbers = score(tc_K, pred_K, results.training_median_K)
    text = f"MAE {number(numbers['mae_K'])} K\nR² {number(numbers['r2'])}\nn = {len(tc_K)}"
    axes.text(0.27, 0.97, text, transform=axes.transAxes, va="top", fontsize=7.5, linespacing=1.25)


def parity_of(results: Results, model: str) -> Chart:
    """Predicted over measured Tc (K) of one model, every material a point with its name."""
    chart = Chart(4.4, width=5.4)
    axes = chart.subplots()
    tc_K, pred_K = results.column("tc").astype(float), results.test[model]["tc_pred"].to_numpy(float)
    colour = look(model)["color"]
    place = parity_place(tc_K), np.log10(np.maximum(pred_K, LEAST_K))
    (points,) = axes.plot(*place, "o", markersize=4, markeredgewidth=0, alpha=0.45, color=colour, clip_on=False)
    chart.name(points, point_names(results, model))
    _parity_axes(axes, results, model)
    axes.set(xlabel="measured Tc (K); those of 0 K apart", ylabel="predicted Tc (K)")
    return chart


def point_names(results: Results, model: str) -> list[str]:
    """Formula, measured and predicted Tc of every test material."""
    pred_K = results.test[model]["tc_pred"].to_numpy(float)
    return measured_and_predicted(results.column("formula").tolist(), results.column("tc"), pred_K)


def measured_and_predicted(formulas: Sequence[str], tc_K: Array, pred_K: Array) -> list[str]:
    """One text a material, formulas as chemists write them."""
    return [
        f"{written(formula)}: {number(tc, 1)} K, predicted {number(pred, 1)} K"
        for formula, tc, pred in zip(formulas, tc_K, pred_K, strict=True)
    ]


def written(formula: str) -> str:
    """A formula as chemists write it; a text that is none as it is."""
    try:
        return chemical_formula(parse_formula(formula))
    except UserError:
        return formula


def residuals(results: Results, models: list[str]) -> Chart:
    """Histogram of prediction - measurement (K), one panel a model; the outermost bins hold all that lies beyond."""
    columns = min(len(models), COLUMNS)
    rows = -(-len(models) // columns)
    chart = Chart(0.8 + 1.5 * rows)
    panels = chart.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    errors = {name: results.test[name]["tc_pred"].to_numpy() - results.column("tc") for name in models}
    limit = max(5.0, float(np.quantile(np.abs(np.concatenate(list(errors.values()))), 0.95)))
    edges = np.linspace(-limit, limit, 42).tolist()
    for axes, name in zip(panels, models, strict=False):
        axes.hist(np.clip(errors[name], -limit, limit), edges, color=look(name)["color"], histtype="stepfilled")
        axes.set(title=wrapped(name), yscale="log")
        axes.yaxis.set_major_formatter(plain_numbers())
        axes.tick_params(labelbottom=True)
    for axes in panels[len(models) :]:
        axes.set_visible(False)
    chart.supxlabel("prediction − measurement (K)", fontsize=9)
    chart.supylabel("materials", fontsize=9)
    return chart


def cumulative_error(results: Results, models: list[str]) -> Chart:
    """Fraction of materials whose absolute error (K) is below the value on the axis."""
    chart = Chart(3.4)
    axes = chart.subplots()
    part = (np.arange(len(results.column("tc"))) + 1) / len(results.column("tc"))
    for name in leaders(models):
        error = np.sort(np.abs(results.test[name]["tc_pred"].to_numpy() - results.column("tc")))
        axes.step(np.maximum(error, 0.01), 100 * part, where="post", label=display(name), **line(name))
    axes.set(xlabel="absolute error (K)", ylabel="materials below (%)", xscale="log", ylim=(0, 100), xlim=(0.05, None))
    axes.xaxis.set_major_formatter(plain_numbers())
    axes.legend(loc="upper left")
    return chart


def compression(results: Results, models: list[str]) -> Chart:
    """Median predicted over median measured Tc (K) in each range of Tc; below the dashed line Tc is underestimated."""
    chart = Chart(4.2, width=4.6)
    axes = chart.subplots()
    tc_K, ranges = results.column("tc"), tc_strata(results.column("tc"))
    present = np.unique(ranges)
    measured = [float(np.median(tc_K[ranges == stratum])) for stratum in present]
    for name in leaders(models):
        pred_K = results.test[name]["tc_pred"].to_numpy()
        medians = [float(np.median(pred_K[ranges == stratum])) for stratum in present]
        axes.plot(measured, medians, label=display(name), **look(name))
    top = 1.2 * max(measured[-1], 1.0)
    axes.plot([0, top], [0, top], color=INK, linewidth=0.8, linestyle="--")
    axes.set_xscale("symlog", linthresh=1.0)  # below 1 K linear: many materials have a Tc of 0 K
    axes.set_yscale("symlog", linthresh=1.0)
    axes.xaxis.set_major_formatter(plain_numbers())
    axes.yaxis.set_major_formatter(plain_numbers())
    axes.set(xlabel="median measured Tc of the range (K)", ylabel="median predicted Tc (K)")
    axes.legend()
    return chart

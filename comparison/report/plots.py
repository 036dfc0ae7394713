"""Figures of the comparison. Each function builds one; `comparison.report.plots.draw` writes it."""

import io
import re
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from comparison.calibration import coverage_curve
from comparison.formatting import display
from comparison.gather import Results
from comparison.report.tables import calibrations
from tc_common.files import atomic_write
from tc_common.splits import tc_strata

WIDE, SQUARE = (7.2, 3.6), (7.2, 3.4)
# Below this, logarithmic axes become linear: many materials have a Tc of 0 K.
LINEAR_BELOW_K = 1.0


def parity(results: Results, model: str) -> Figure:
    """Predicted over measured Tc (K), linear and logarithmic, as density of materials."""
    tc_K, pred_K = results.column("tc"), np.maximum(results.test[model]["tc_pred"].to_numpy(), 0)
    figure = Figure(figsize=SQUARE, layout="constrained")
    linear, log = figure.subplots(1, 2)
    top = max(float(tc_K.max()), float(pred_K.max()), 10.0) * 1.05
    shown = _hexagons(linear, tc_K, pred_K, (0, top))
    linear.set(xlim=(0, top), ylim=(0, top))
    _hexagons(log, np.log10(tc_K + 1), np.log10(pred_K + 1), (0, np.log10(top + 1)))
    ticks = [0, 1, 3, 10, 30, 100]
    log.set_xticks(np.log10(np.array(ticks) + 1), [str(tick) for tick in ticks])
    log.set_yticks(np.log10(np.array(ticks) + 1), [str(tick) for tick in ticks])
    for axes, title in ((linear, "linear"), (log, "log(1 + Tc)")):
        axes.axline((0, 0), slope=1, color=INK, linewidth=0.8, linestyle="--")
        axes.set(
            xlabel="measured Tc (K)", ylabel="predicted Tc (K)", title=f"{display(model)}, {title}", aspect="equal"
        )
    figure.colorbar(shown, ax=[linear, log], label="materials", shrink=0.8)
    return figure


def _hexagons(axes: Axes, x: Any, y: Any, extent: tuple[float, float]) -> Any:
    return axes.hexbin(
        x, y, gridsize=32, extent=(*extent, *extent), bins="log", mincnt=1, cmap=sequential(), linewidths=0.2
    )


def residuals(results: Results, models: list[str]) -> Figure:
    """Histogram of prediction - measurement (K), one panel a model; the outermost bins hold all that lies beyond."""
    columns = min(len(models), 3)
    rows = -(-len(models) // columns)
    figure = Figure(figsize=(7.2, 1.0 + 1.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    errors = {name: results.test[name]["tc_pred"].to_numpy() - results.column("tc") for name in models}
    limit = max(5.0, float(np.quantile(np.abs(np.concatenate(list(errors.values()))), 0.95)))
    edges = np.linspace(-limit, limit, 42).tolist()
    for axes, (name, look) in zip(panels, model_styles(models).items(), strict=False):
        axes.hist(np.clip(errors[name], -limit, limit), edges, color=look["color"])
        axes.set(title=display(name), yscale="log")
        axes.tick_params(labelbottom=True)
    for axes in panels[len(models) :]:
        axes.set_visible(False)
    figure.supxlabel("prediction − measurement (K)", fontsize=9)
    figure.supylabel("materials", fontsize=9)
    return figure


def cumulative_error(results: Results, models: list[str]) -> Figure:
    """Fraction of materials whose absolute error (K) is below the value on the axis."""
    figure = Figure(figsize=WIDE, layout="constrained")
    axes = figure.subplots()
    share = (np.arange(len(results.column("tc"))) + 1) / len(results.column("tc"))
    for name, look in model_styles(models).items():
        error = np.sort(np.abs(results.test[name]["tc_pred"].to_numpy() - results.column("tc")))
        axes.step(np.maximum(error, 0.01), 100 * share, where="post", label=display(name), **_line(look))
    axes.set(xlabel="absolute error (K)", ylabel="materials below (%)", xscale="log", ylim=(0, 100), xlim=(0.05, None))
    axes.xaxis.set_major_formatter(_plain_numbers())
    axes.legend(loc="upper left")
    return figure


def error_by_group(comparison: dict[str, Any], key: str) -> Figure:
    """MAE (K) of each model in each group; `key` is `by_range` or `by_family`."""
    models = list(comparison["models"])
    groups = comparison["models"][models[0]][key]
    figure = Figure(figsize=(7.2, 1.4 + 0.34 * len(groups)), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(groups))
    for position, (name, look) in enumerate(model_styles(models).items()):
        mae_K = [max(row["mae_K"], 0.01) for row in comparison["models"][name][key]]
        shift = 0.6 * ((position + 0.5) / len(models) - 0.5)
        axes.plot(mae_K, rows + shift, label=display(name), markersize=5, **look | {"linestyle": "none"})
    axes.set_yticks(rows, [f"{row['group']} (n = {row['n']})" for row in groups])
    axes.set(xlabel="MAE (K)", xscale="log", ylim=(len(groups) - 0.4, -0.6))
    _readable_decades(axes.xaxis)
    figure.legend(loc="outside upper center", ncols=min(len(models), 4))
    return figure


def training_curves(results: Results, models: list[str]) -> Figure:
    """Validation MAE (K) over epochs."""
    figure = Figure(figsize=WIDE, layout="constrained")
    axes = figure.subplots()
    for name, look in model_styles(models).items():
        if name in results.history and "val_mae_K" in results.history[name]:
            history = results.history[name]
            every = max(1, len(history) // 10)
            axes.plot(
                history["epoch"], history["val_mae_K"], label=display(name), markevery=every, markersize=4, **look
            )
    axes.set(xlabel="epoch", ylabel="validation MAE (K)", yscale="log")
    _readable_decades(axes.yaxis)
    axes.legend()
    return figure


def coverage(comparison: dict[str, Any]) -> Figure:
    """Empirical coverage of the prediction intervals by range of Tc; nominal coverage dashed."""
    calibrated = calibrations(comparison)
    figure = Figure(figsize=WIDE, layout="constrained")
    axes = figure.subplots()
    names = list(comparison["models"])
    for position, (name, look) in enumerate(model_styles(names).items()):
        if name not in calibrated:
            continue
        rows = [calibrated[name]["overall"], *calibrated[name]["by_range"]]
        place = np.arange(len(rows)) + 0.5 * ((position + 0.5) / len(names) - 0.5)
        share = np.array([row["coverage"] for row in rows])
        bounds = np.array([row["coverage_interval"] for row in rows]).T
        bars = np.maximum([share - bounds[0], bounds[1] - share], 0)
        style = look | {"linestyle": "none"}
        axes.errorbar(place, 100 * share, 100 * bars, label=display(name), markersize=5, capsize=2, **style)
        axes.set_xticks(range(len(rows)), [f"{row['group']}\nn = {row['n']}" for row in rows])
        axes.axhline(100 * calibrated[name]["nominal_coverage"], color=INK, linestyle="--", linewidth=0.8)
    axes.set(ylabel="empirical coverage (%)", ylim=(0, 102))
    axes.legend(loc="lower left")
    return figure


def calibration_curves(results: Results, models: list[str]) -> Figure:
    """Empirical over nominal coverage, both in percent."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    nominal = np.linspace(0.05, 0.95, 19)
    for name, look in model_styles(models).items():
        if name in results.val:
            shares = np.array(coverage_curve(results, name, nominal.tolist()))
            axes.plot(100 * nominal, 100 * shares, label=display(name), **_line(look))
    axes.axline((0, 0), slope=1, color=INK, linewidth=0.8, linestyle="--")
    axes.set(
        xlabel="nominal coverage (%)", ylabel="empirical coverage (%)", xlim=(0, 100), ylim=(0, 100), aspect="equal"
    )
    axes.legend(loc="upper left")
    return figure


def compression(results: Results, models: list[str]) -> Figure:
    """Median predicted over median measured Tc (K) in each range of Tc; below the dashed line Tc is underestimated."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    tc_K = results.column("tc")
    ranges = tc_strata(tc_K)
    present = [number for number in np.unique(ranges) if np.any(ranges == number)]
    measured = [float(np.median(tc_K[ranges == number])) for number in present]
    for name, look in model_styles(models).items():
        pred_K = results.test[name]["tc_pred"].to_numpy()
        axes.plot(
            measured, [float(np.median(pred_K[ranges == number])) for number in present], label=display(name), **look
        )
    top = 1.2 * max(measured[-1], 1.0)
    axes.plot([0, top], [0, top], color=INK, linewidth=0.8, linestyle="--")
    axes.set_xscale("symlog", linthresh=LINEAR_BELOW_K)
    axes.set_yscale("symlog", linthresh=LINEAR_BELOW_K)
    axes.xaxis.set_major_formatter(_plain_numbers())
    axes.yaxis.set_major_formatter(_plain_numbers())
    axes.set(xlabel="median measured Tc of the range (K)", ylabel="median predicted Tc (K)")
    axes.legend()
    return figure


def accuracy_over_cost(comparison: dict[str, Any]) -> Figure:
    """MAE (K) with its interval over the time to train and the time to predict."""
    figure = Figure(figsize=WIDE, layout="constrained")
    columns = (("train_seconds", "training (s)"), ("inference_ms_per_sample", "prediction (ms / material)"))
    for axes, (key, label) in zip(figure.subplots(1, 2, sharey=True), columns, strict=True):
        for name, look in model_styles(list(comparison["models"])).items():
            model = comparison["models"][name]
            if not model["cost"][key]:  # unknown, or a zero-shot model, which was not trained
                continue
            mae_K, (low, high) = model["score"]["mae_K"], model["interval"]["mae_K"]
            bars = [[max(mae_K - low, 0)], [max(high - mae_K, 0)]]
            style = look | {"linestyle": "none"}
            axes.errorbar(model["cost"][key], mae_K, bars, label=display(name), capsize=2, **style)
        axes.set(xlabel=label, xscale="log", ylim=(0, None))
        _readable_decades(axes.xaxis)
    figure.axes[0].set(ylabel="MAE (K)")
    figure.axes[0].legend(loc="best")
    return figure


def _line(look: dict[str, Any]) -> dict[str, Any]:
    """A model's look for lines without markers."""
    return {"color": look["color"], "linestyle": look["linestyle"], "linewidth": 1.6}


def _readable_decades(axis: Axis) -> None:
    """1, 2, 5, 10, 20, … along a logarithmic axis; powers of ten alone where it spans more than three decades."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)))
    axis.set_major_formatter(_plain_numbers())
    axis.set_minor_formatter(NullFormatter())


def _plain_numbers() -> FuncFormatter:
    """0.1, 1, 10, 100 instead of powers of ten."""
    return FuncFormatter(lambda value, _: f"{value:g}")


def scores_over_runs(runs: pd.DataFrame, models: list[str]) -> Figure:
    """MAE (K) of every run, one dot each, and their mean."""
    figure = Figure(figsize=(7.2, 1.2 + 0.4 * len(models)), layout="constrained")
    axes = figure.subplots()
    for row, (name, look) in enumerate(model_styles(models).items()):
        mae_K = runs.loc[runs["model"] == name, "mae_K"].to_numpy()
        place = row + np.linspace(-0.2, 0.2, len(mae_K))
        axes.plot(mae_K, place, markersize=5, alpha=0.8, **look | {"linestyle": "none"})
        axes.vlines(mae_K.mean(), row - 0.35, row + 0.35, color=look["color"], linewidth=2)
    axes.set_yticks(range(len(models)), [display(name) for name in models])
    axes.set(xlabel="MAE (K)", xlim=(0, None), ylim=(len(models) - 0.5, -0.5))
    return figure


PRINT_DPI = 300
# Text and axes. In the web page it is swapped for the colour of the text around the figure, light or dark.
INK = "#20242b"
# Okabe and Ito 2008, without black (invisible on dark pages) and yellow (on light ones).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "svg.fonttype": "none",
}


def model_styles(models: list[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line of each model, the same in every figure."""
    looks = islice(cycle(zip(COLOURS, MARKERS, DASHES, strict=True)), len(models))
    return {
        name: {"color": colour, "marker": marker, "linestyle": dashes}
        for name, (colour, marker, dashes) in zip(models, looks, strict=True)
    }


def sequential() -> LinearSegmentedColormap:
    """The middle of viridis: neither end vanishes on a light or a dark page."""
    viridis = matplotlib.colormaps["viridis"]
    return LinearSegmentedColormap.from_list("middle of viridis", [viridis(0.25 + 0.007 * k) for k in range(101)])


def draw(build: Callable[[], Figure], path: Path) -> str:
    """Build one figure, write it as PNG at print resolution, return it as SVG for the web page."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": path.stem}):
        figure = build()
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format="png", dpi=PRINT_DPI, facecolor="white")
        figure.set_layout_engine("none")  # the layout is found; finding it again would cost as much as drawing
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return _inline(stream.getvalue(), path.stem)


def _inline(svg: str, name: str) -> str:
    """The `<svg>` element alone, in the page's ink, its ids unlike those of the other figures."""
    name = re.sub(r"\W", "-", name)  # model names come from file names and may hold anything
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', r"<svg \1", svg, count=1)


# Rows of the table with 18 columns; "." is empty. Lanthanides and actinides are two rows below.
LAYOUT = """
H  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  He
Li Be .  .  .  .  .  .  .  .  .  .  B  C  N  O  F  Ne
Na Mg .  .  .  .  .  .  .  .  .  .  Al Si P  S  Cl Ar
K  Ca Sc Ti V  Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
Rb Sr Y  Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I  Xe
Cs Ba .  Hf Ta W  Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn
Fr Ra .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
.  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
.  .  La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu .
.  .  Ac Th Pa U  Np Pu Am Cm Bk Cf Es Fm Md No Lr .
"""
PLACES = {
    symbol: (column, row)
    for row, line in enumerate(LAYOUT.strip().splitlines())
    for column, symbol in enumerate(line.split())
    if symbol != "."
}
ELEMENT = re.compile(r"[A-Z][a-z]?")


def elements(formula: str) -> set[str]:
    """Symbols in a formula; deuterium and tritium count as hydrogen."""
    return {"H" if symbol in ("D", "T") else symbol for symbol in ELEMENT.findall(formula)}


def error_by_element(results: Results, model: str) -> dict[str, tuple[float, int]]:
    """MAE (K) over the test materials that hold an element, and how many they are."""
    error = np.abs(results.test[model]["tc_pred"].to_numpy() - results.column("tc"))
    holding: dict[str, list[int]] = {}
    for row, formula in enumerate(results.column("formula")):
        for symbol in elements(str(formula)):
            holding.setdefault(symbol, []).append(row)
    return {symbol: (float(error[rows].mean()), len(rows)) for symbol, rows in sorted(holding.items())}


def error_map(results: Results, model: str) -> Figure:
    """MAE (K) by element, with the number of test materials below it."""
    figure = Figure(figsize=(7.2, 3.9), layout="constrained")
    axes = figure.subplots()
    errors = {symbol: entry for symbol, entry in error_by_element(results, model).items() if symbol in PLACES}
    values = [max(mae_K, 0.01) for mae_K, _ in errors.values()] or [1.0]  # formulas that name no element
    norm = LogNorm(min(values), max(max(values), 1.01 * min(values)))
    for symbol, place in PLACES.items():
        _cell(axes, symbol, place, errors.get(symbol), norm)
    axes.set(xlim=(-0.6, 17.6), ylim=(9.6, -0.6), aspect="equal", title=f"{display(model)}: MAE (K) by element")
    axes.axis("off")
    scale = figure.colorbar(ScalarMappable(norm, sequential()), ax=axes, label="MAE (K)", shrink=0.7)
    scale.ax.yaxis.set_major_formatter("{x:g}")
    return figure


def _cell(axes: Axes, symbol: str, place: tuple[int, int], entry: tuple[float, int] | None, norm: LogNorm) -> None:
    """One element: colour by MAE, framed only where no test material holds it."""
    column, row = place
    corner = (column - 0.48, row - 0.48)
    if entry is None:
        axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor="none", edgecolor=INK, linewidth=0.3, alpha=0.4))
        axes.text(column, row, symbol, ha="center", va="center", fontsize=6, alpha=0.5)
        return
    mae_K, count = entry
    colour = sequential()(norm(max(mae_K, 0.01)))
    axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor=colour, linewidth=0))
    text = "black" if np.dot(colour[:3], (0.299, 0.587, 0.114)) > 0.45 else "white"
    axes.text(column, row - 0.22, symbol, ha="center", va="center", fontsize=6.5, color=text, weight="bold")
    axes.text(column, row + 0.08, f"{mae_K:.1f}", ha="center", va="center", fontsize=5, color=text)
    axes.text(column, row + 0.33, f"{count}", ha="center", va="center", fontsize=4, color=text)

"""Figures of errors by group: ranges of Tc, families, elements."""

import re
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle

from comparison.formatting import display
from comparison.gather import Results
from comparison.report.style import INK, Chart, marks, readable_decades, sequential


def error_by_group(comparison: dict[str, Any], key: str) -> Chart:
    """MAE (K) of each model in each group; `key` is `by_range` or `by_family`."""
    models = list(comparison["models"])
    groups = comparison["models"][models[0]][key]
    chart = Chart(1.5 + len(groups) * (0.16 + 0.03 * len(models)))
    axes = chart.subplots()
    rows = np.arange(len(groups))
    for position, name in enumerate(models):
        mae_K = [max(row["mae_K"], 0.01) for row in comparison["models"][name][key]]
        shift = 0.76 * ((position + 0.5) / len(models) - 0.5)
        axes.plot(mae_K, rows + shift, label=display(name), **marks(name))
    axes.hlines(rows[1:] - 0.5, 0, 1, transform=axes.get_yaxis_transform(), color=INK, linewidth=0.4, alpha=0.3)
    axes.grid(visible=False, axis="y")
    axes.set_yticks(rows, [f"{row['group']} (n = {row['n']})" for row in groups])
    axes.set(xlabel="MAE (K)", xscale="log", ylim=(len(groups) - 0.45, -0.55))
    readable_decades(axes.xaxis)
    chart.legend_above()
    return chart


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


def error_map(results: Results, model: str) -> Chart:
    """MAE (K) by element, with the number of test materials below it."""
    chart = Chart(3.9)
    axes = chart.subplots()
    errors = {symbol: entry for symbol, entry in error_by_element(results, model).items() if symbol in PLACES}
    values = [max(mae_K, 0.01) for mae_K, _ in errors.values()] or [1.0]  # formulas that name no element
    norm = LogNorm(min(values), max(max(values), 1.01 * min(values)))
    for symbol, place in PLACES.items():
        _cell(axes, symbol, place, errors.get(symbol), norm)
    axes.set(xlim=(-0.6, 17.6), ylim=(9.6, -0.6), aspect="equal", title=f"{display(model)}: MAE (K) by element")
    axes.axis("off")
    scale = chart.colorbar(ScalarMappable(norm, sequential()), ax=axes, label="MAE (K)", shrink=0.7)
    scale.ax.yaxis.set_major_formatter("{x:g}")
    return chart


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
    axes.text(column, row - 0.22, symbol, ha="center", va="center", fontsize=7, color=text, weight="bold")
    axes.text(column, row + 0.08, f"{mae_K:.1f}", ha="center", va="center", fontsize=5.5, color=text)
    axes.text(column, row + 0.33, f"{count}", ha="center", va="center", fontsize=4.6, color=text)

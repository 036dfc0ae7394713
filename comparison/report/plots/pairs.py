"""Figures of the paired differences in MAE: every model against every other, and all against the best."""

from typing import Any, TypeAlias

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from numpy.typing import NDArray

from comparison.formatting import display, distinguishable, number
from comparison.report.style import INK, Chart, diverging, look
from comparison.report.verdict import confidence

Array: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]


def difference_matrix(comparison: dict[str, Any]) -> tuple[Array, Flags]:
    """MAE of the row's model - that of the column's (M, M) in K, and whether they are distinguishable (M, M)."""
    models = list(comparison["models"])
    values, apart = np.zeros((len(models), len(models))), np.zeros((len(models), len(models)), bool)
    for row in comparison["differences"]:
        a, b = models.index(row["a"]), models.index(row["b"])
        values[a, b], values[b, a] = row["mae_difference_K"], -row["mae_difference_K"]
        apart[a, b] = apart[b, a] = distinguishable(row, confidence(comparison))
    return values, apart


def differences(comparison: dict[str, Any]) -> Chart:
    """Every pair once: the row's MAE - the column's (K); coloured where the two are distinguishable."""
    models = list(comparison["models"])
    values, apart = difference_matrix(comparison)
    chart = Chart(1.3 + 0.36 * len(models), width=min(2.6 + 0.5 * len(models), 7.2))
    axes = chart.subplots()
    limit = max(float(np.abs(values).max()), 1e-9)
    shown = np.ma.array(values, mask=~np.tril(apart, -1))
    axes.imshow(shown, cmap=diverging(), norm=TwoSlopeNorm(0.0, -limit, limit), aspect="auto")
    for row, column in np.transpose(np.tril_indices(len(models), -1)).tolist():
        text = number(values[row, column], sign=True)
        strong = {"color": "white" if values[row, column] > 0.45 * limit else "black", "weight": "bold"}
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=7,
            **(strong if apart[row, column] else {"alpha": 0.75}),
        )
    names = [display(name) for name in models]
    axes.set_xticks(range(len(models) - 1), names[:-1], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(1, len(models)), names[1:])
    axes.set(xlim=(-0.5, len(models) - 1.5), ylim=(len(models) - 0.5, 0.5))
    axes.grid(visible=False)
    axes.set_title("MAE of the row − MAE of the column (K)", loc="left")
    return chart


def forest(comparison: dict[str, Any]) -> Chart:
    """MAE of every model - that of the best (K), with its interval; filled where the two are distinguishable."""
    best, *others = comparison["models"]
    against = {row["b"]: row for row in comparison["differences"] if row["a"] == best}
    chart = Chart(0.9 + 0.27 * len(others), width=6.4)
    axes = chart.subplots()
    for position, name in enumerate(others):
        value, (low, high) = -against[name]["mae_difference_K"], np.negative(against[name]["interval_K"])[::-1]
        apart = distinguishable(against[name], confidence(comparison))
        bars = np.maximum([[value - low], [high - value]], 0)
        colour = look(name)["color"]
        style = {"color": colour, "marker": "o", "markerfacecolor": colour if apart else "none", "capsize": 2.5}
        axes.errorbar(value, position, xerr=bars, linewidth=1.3, **style)
    axes.axvline(0, color=INK, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(others)), [display(name) for name in others])
    axes.set(ylim=(len(others) - 0.4, -0.6), xlabel=f"MAE above that of {display(best)} (K)")
    return chart

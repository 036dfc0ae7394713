"""Figures of other structure files of the test compositions: how far the predictions for one compound spread."""

from typing import TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from comparison.formatting import display, number
from comparison.further import OTHER_STRUCTURES, spreads
from comparison.gather import OWN_MODELS, Results
from comparison.report.plots.scores import written
from comparison.report.style import INK, Chart, line, look, plain_numbers

Array: TypeAlias = NDArray[np.float64]
# Below this (K) a model reads the formula alone: what is left are rounding errors.
LEAST_SPREAD_K = 1e-3
COMPOUNDS = 16


def structure_table(results: Results, model: str) -> pd.DataFrame:
    """All files of the compositions that have more than one: `chosen, material_id, formula, tc, tc_pred` (K)."""
    columns = ["chosen", "material_id", "formula", "tc", "tc_pred"]
    others = results.further[OTHER_STRUCTURES][model][columns]
    test = results.test[model].assign(chosen=results.test[model]["material_id"])
    test = test.assign(formula=results.column("formula"), tc=results.column("tc"))
    return pd.concat([test.loc[test["chosen"].isin(set(others["chosen"])), columns], others], ignore_index=True)


def structure_spreads(results: Results, models: list[str]) -> dict[str, Array]:
    """Mean difference (K) between the predictions for two files of one composition, of models that read structures."""
    tables = {
        name: structure_table(results, name) for name in models if name in results.further.get(OTHER_STRUCTURES, {})
    }
    found = {name: spreads(table).to_numpy(float) for name, table in tables.items()}
    return {name: spread_K for name, spread_K in found.items() if spread_K.mean() > LEAST_SPREAD_K}


def spread(results: Results, models: list[str]) -> Chart:
    """Spread between structure files of one composition: of all, and file by file for those with most files."""
    found = structure_spreads(results, models)
    best = next((name for name in found if name not in OWN_MODELS), next(iter(found)))
    chart = Chart(3.9)
    left, right = chart.subplots(1, 2, width_ratios=[1, 1.25])
    for name, spread_K in found.items():
        part = 100 * (np.arange(len(spread_K)) + 1) / len(spread_K)
        left.step(np.maximum(np.sort(spread_K), 0.01), part, where="post", label=display(name), **line(name))
    left.set(xscale="log", xlim=(0.01, None), ylim=(0, 100), ylabel="compositions below (%)")
    left.xaxis.set_major_formatter(plain_numbers())
    left.set_xlabel("mean |difference| between two files (K)")
    left.legend(loc="lower right", fontsize=7)
    _compounds(chart, right, structure_table(results, best), best)
    return chart


def _compounds(chart: Chart, axes: Axes, table: pd.DataFrame, model: str) -> None:
    """The superconductors with most structure files: measured Tc as a line, every prediction as a point."""
    table = table[table["tc"] > 0] if (table["tc"] > 0).any() else table
    counts = table["chosen"].value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable")
    shown = table[table["chosen"].isin(counts.index[:COMPOUNDS])]
    groups = sorted(shown.groupby("chosen"), key=lambda group: -float(group[1]["tc"].iloc[0]))
    for row, (_, files) in enumerate(groups):
        axes.plot([files["tc"].iloc[0]] * 2, [row - 0.38, row + 0.38], color=INK, linewidth=1.2)
        (points,) = axes.plot(
            files["tc_pred"],
            [row] * len(files),
            "o",
            color=look(model)["color"],
            alpha=0.6,
            markersize=4,
            markeredgewidth=0,
        )
        pairs = zip(files["material_id"], files["tc_pred"], strict=True)
        chart.name(points, [f"{name}: predicted {number(pred, 1)} K" for name, pred in pairs])
    labels = [f"{written(files['formula'].iloc[0])} ({len(files)})" for _, files in groups]
    axes.set_yticks(range(len(groups)), labels, fontsize=7)
    axes.set(ylim=(len(groups) - 0.4, -0.6), xlabel="Tc (K); line: measured", title=display(model))

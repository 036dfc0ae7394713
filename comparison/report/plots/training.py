"""Figures of training: validation error over epochs, error over cost, over training size, over runs."""

from typing import Any

import numpy as np
import pandas as pd

from comparison.formatting import display
from comparison.gather import Results
from comparison.report.style import Chart, line, look, marks, readable_decades


def training_curves(results: Results, models: list[str]) -> Chart:
    """Validation MAE (K) over epochs."""
    chart = Chart(3.4)
    axes = chart.subplots()
    for name in models:
        history = results.history[name]
        axes.plot(history["epoch"], history["val_mae_K"], label=display(name), **line(name))
    axes.set(xlabel="epoch", ylabel="validation MAE (K)", yscale="log")
    readable_decades(axes.yaxis)
    axes.legend()
    return chart


def accuracy_over_cost(comparison: dict[str, Any]) -> Chart:
    """MAE (K) with its interval over the time to train and the time to predict."""
    chart = Chart(3.7)
    columns = (("train_seconds", "training (s)"), ("inference_ms_per_sample", "prediction (ms / material)"))
    for axes, (key, label) in zip(chart.subplots(1, 2, sharey=True), columns, strict=True):
        for name, model in comparison["models"].items():
            if not model["cost"][key]:  # unknown, or a zero-shot model, which was not trained
                continue
            mae_K, (low, high) = model["score"]["mae_K"], model["interval"]["mae_K"]
            bars = [[max(mae_K - low, 0)], [max(high - mae_K, 0)]]
            axes.errorbar(model["cost"][key], mae_K, bars, label=display(name), capsize=2, elinewidth=1, **marks(name))
        axes.set(xlabel=label, xscale="log", ylim=(0, None))
        readable_decades(axes.xaxis)
    chart.axes[0].set(ylabel="MAE (K)")
    chart.legend_above()
    return chart


def learning_curve(table: pd.DataFrame) -> Chart:
    """MAE (K) over training materials, both logarithmic: a power law is a straight line.

    Args:
        table: `model, n_train, mae_K` and, where known, its interval `low_K, high_K`.
    """
    chart = Chart(3.6, width=5.4)
    axes = chart.subplots()
    for name, rows in table.sort_values("n_train", kind="stable").groupby("model", sort=True):
        bars = None
        if {"low_K", "high_K"} <= {*rows}:
            bars = np.maximum([rows["mae_K"] - rows["low_K"], rows["high_K"] - rows["mae_K"]], 0)
        style = look(str(name)) if rows["n_train"].nunique() > 1 else marks(str(name))
        axes.errorbar(rows["n_train"], rows["mae_K"], bars, label=display(str(name)), capsize=2, elinewidth=1, **style)
    axes.set(xlabel="training materials", ylabel="test MAE (K)", xscale="log", yscale="log")
    readable_decades(axes.xaxis)
    readable_decades(axes.yaxis)
    axes.legend()
    return chart


def scores_over_runs(runs: pd.DataFrame, models: list[str]) -> Chart:
    """MAE (K) of every run, one mark each, and their mean."""
    chart = Chart(1.0 + 0.36 * len(models))
    axes = chart.subplots()
    for row, name in enumerate(models):
        mae_K = runs.loc[runs["model"] == name, "mae_K"].to_numpy()
        place = row + np.linspace(-0.2, 0.2, len(mae_K))
        axes.plot(mae_K, place, alpha=0.8, **marks(name))
        axes.vlines(mae_K.mean(), row - 0.35, row + 0.35, color=look(name)["color"], linewidth=2)
    axes.set_yticks(range(len(models)), [display(name) for name in models])
    axes.set(xlabel="MAE (K)", xlim=(0, None), ylim=(len(models) - 0.5, -0.5))
    return chart

"""Figures of a search for high Tc: precision over recall, and enrichment over what is taken."""

import numpy as np
from matplotlib.axes import Axes

from comparison.formatting import display
from comparison.gather import Results
from comparison.ranking import (
    LEAST_POSITIVE,
    THRESHOLDS_K,
    average_precision,
    best_enrichment,
    enrichment,
    precision_recall,
)
from comparison.report.style import INK, Chart, line, plain_numbers


def thresholds(results: Results) -> list[float]:
    """Tc (K) at or above which there are enough test materials, but not all."""
    tc_K = results.column("tc")
    return [each for each in THRESHOLDS_K if LEAST_POSITIVE <= np.sum(tc_K >= each) < len(tc_K)]


def precision(results: Results, models: list[str]) -> Chart:
    """Precision over recall of "Tc at or above the threshold", one panel a threshold; the base rate dashed."""
    found = thresholds(results)
    chart = Chart(3.3)
    tc_K = results.column("tc").astype(float)
    for axes, threshold_K in zip(np.ravel(chart.subplots(1, len(found), sharey=True)), found, strict=True):
        positive = tc_K >= threshold_K
        for place, name in enumerate(models):
            pred_K = results.test[name]["tc_pred"].to_numpy(float)
            shares, recall = precision_recall(positive, pred_K)
            axes.plot(
                100 * np.append(0, recall), 100 * np.append(shares[0], shares), label=display(name), **line(name)
            )
            _note(axes, place, f"{average_precision(positive, pred_K):.2f}", line(name)["color"])
        _note(axes, -1, "average precision", INK)
        axes.axhline(100 * positive.mean(), color=INK, linestyle="--", linewidth=0.8)
        axes.set(title=f"Tc ≥ {threshold_K:g} K, n = {positive.sum()}", xlabel="recall (%)")
        axes.set(xlim=(0, 102), ylim=(0, 102))
    chart.axes[0].set_ylabel("precision (%)")
    chart.legend_above()
    return chart


def _note(axes: Axes, place: int, text: str, colour: str) -> None:
    """A line of text at the lower left, counted from the first below the heading (-1)."""
    axes.text(0.05, 0.44 - 0.065 * place, text, transform=axes.transAxes, fontsize=7.5, color=colour)


def enriched(results: Results, models: list[str]) -> Chart:
    """Enrichment of high Tc among the highest predictions, one panel a threshold; a perfect ranking dashed."""
    found = thresholds(results)
    chart = Chart(3.3)
    tc_K = results.column("tc").astype(float)
    taken = np.geomspace(min(5, len(tc_K)), len(tc_K), 60)
    for axes, threshold_K in zip(np.ravel(chart.subplots(1, len(found))), found, strict=True):
        positive = tc_K >= threshold_K
        for name in models:
            factor = enrichment(positive, results.test[name]["tc_pred"].to_numpy(float), taken)
            axes.plot(100 * taken / len(tc_K), factor, label=display(name), **line(name))
        best = best_enrichment(positive, taken)
        axes.plot(100 * taken / len(tc_K), best, "--", color=INK, linewidth=0.8, label="perfect ranking")
        axes.set(title=f"Tc ≥ {threshold_K:g} K, n = {positive.sum()}", xlabel="taken, highest predictions (%)")
        axes.set(xscale="log", ylim=(0, None))
        axes.xaxis.set_major_formatter(plain_numbers())
    chart.axes[0].set_ylabel("enrichment over random")
    chart.legend_above()
    return chart

"""Pictures of the comparison: readable by a colour-blind person, printed at 300 dpi."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from comparison.gather import Results
from comparison.verdicts import display
from tc_common.files import atomic_write

PRINT_DPI = 300


def parity(results: Results, model: str) -> Figure:
    """Predicted over measured Tc (K), one dot a material."""
    tc_K, pred_K = results.column("tc"), results.test[model]["tc_pred"]
    figure, axes = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
    top = max(tc_K.max(), pred_K.max(), 1.0) * 1.05
    axes.plot([0, top], [0, top], color="0.5", linewidth=1, linestyle="--")
    axes.scatter(tc_K, pred_K, s=12, alpha=0.5, color="#0072B2", linewidths=0)
    axes.set(xlabel="measured Tc (K)", ylabel="predicted Tc (K)", title=display(model), aspect="equal")
    axes.set(xlim=(-0.03 * top, top), ylim=(min(pred_K.min(), -0.03 * top), top))
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure at print resolution, whole or not at all, and close it."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=PRINT_DPI)
    plt.close(figure)

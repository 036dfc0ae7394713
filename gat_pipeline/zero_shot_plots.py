"""Two pictures of the zero-shot study: what the weights learned from, beside what they are asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tc_common.files import atomic_write

TRAINED, TESTED = "#0072B2", "#D55E00"  # Okabe & Ito: told apart by colour-blind readers
ELEMENTS_SHOWN = 30


def plot_tc(path: Path, trained: Mapping[str, Any], tested: Mapping[str, Any]) -> None:
    """Cumulative share of crystals below each Tc."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for side, colour, name in ((trained, TRAINED, "learned from"), (tested, TESTED, "asked (test split)")):
        share = np.cumsum(side["histogram_of_1_K"]) / side["n"]
        axes.step(np.arange(1, len(share) + 1), share, color=colour, label=f"{name}, n = {side['n']}")
    axes.set(xlabel="Tc (K)", ylabel="share of crystals with a lower Tc", ylim=(0, 1.02))
    axes.set_xlim(0, 1 + max(side["most_K"] for side in (trained, tested)))
    axes.legend(loc="lower right")
    _save(figure, path)


def plot_elements(path: Path, trained: Mapping[str, Any], tested: Mapping[str, Any]) -> None:
    """Share of crystals that contain an element, for the elements most frequent in either set."""
    symbols = _frequent(trained, tested)
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    axes = figure.subplots()
    _bars(axes, symbols, trained, -0.2, TRAINED, "learned from")
    _bars(axes, symbols, tested, 0.2, TESTED, "asked (test split)")
    axes.set_xticks(range(len(symbols)), symbols)
    axes.set_ylabel("share of crystals with the element")
    axes.legend()
    _save(figure, path)


def _frequent(trained: Mapping[str, Any], tested: Mapping[str, Any]) -> list[str]:
    sides = (trained, tested)
    every = sorted({symbol for side in sides for symbol in side["crystals_with_element"]})
    order = sorted(every, key=lambda symbol: -max(_share(side, symbol) for side in sides))
    return order[:ELEMENTS_SHOWN]


def _share(side: Mapping[str, Any], symbol: str) -> float:
    return float(side["crystals_with_element"].get(symbol, 0) / side["n"])


def _bars(axes: Axes, symbols: list[str], side: Mapping[str, Any], shift: float, colour: str, name: str) -> None:
    axes.bar(
        np.arange(len(symbols)) + shift, [_share(side, symbol) for symbol in symbols], 0.4, color=colour, label=name
    )


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})

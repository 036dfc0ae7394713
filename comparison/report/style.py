"""One look for all figures: size, fonts, ink, and for every model the same colour, marker and dashes everywhere.

A model's colour and marker say of which kind it is (trees, pair, graph network, vision, ensemble); how the marker is
filled and the line dashed says which variant. The look follows from the name alone, not from the rank or the figure.
"""

from typing import Any
from zlib import crc32

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

WIDTH = 7.2  # inches
# Text and axes. In the web page it is swapped for the colour of the text around the figure, light or dark.
INK = "#20242b"
# Okabe and Ito 2008, without black (invisible on dark pages) and yellow (on light ones).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
# Kinds of models by the beginning of their names (of `finetuned_alignn`, its end): colour, markers.
KINDS = {
    "composition": (COLOURS[4], "o"),
    "pair": (COLOURS[2], "s"),
    "alignn": (COLOURS[0], "^v"),
    "dinov3": (COLOURS[1], "Dd"),
    "ensemble": (COLOURS[3], "P"),
}
OTHER_KINDS = ((COLOURS[5], "v"), (COLOURS[6], "X"))
# Of one kind the variants, from the plain model on.
VARIANTS = {
    "composition": ("composition", "composition_with_labels"),
    "pair": ("pair", "pair_with_labels"),
    "alignn": (
        "alignn", "alignn_neighbours", "alignn_prior", "finetuned_alignn", "pretrained_alignn",
        "alignn_with_labels", "alignn_with_labels_neighbours",
    ),
    "dinov3": (
        "dinov3", "dinov3_neighbours", "dinov3_composition", "dinov3_composition_neighbours", "dinov3_with_labels",
    ),
    "ensemble": ("ensemble", "ensemble_equal"),
}  # fmt: skip
FILLS = ("full", "none", "left", "top", "right")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "figure.facecolor": "none",
    "svg.fonttype": "none",
}


class Chart(Figure):
    """A figure of the report, and names of points for the reader's pointer."""

    def __init__(self, height: float, width: float = WIDTH) -> None:
        """Size in inches."""
        super().__init__(figsize=(width, height), layout="constrained")
        self.names: dict[str, list[str]] = {}

    def name(self, points: Any, names: list[str]) -> None:
        """Give each point of an artist (markers of one line, or a scatter) the text to show under the pointer."""
        key = f"points-{len(self.names)}"
        points.set_gid(key)
        self.names[key] = names

    def legend_above(self, columns: int = 3) -> None:
        """One legend of all panels, without repetitions, above them."""
        found = [axes.get_legend_handles_labels() for axes in self.axes]
        entries = {label: handle for handles, labels in found for handle, label in zip(handles, labels, strict=True)}
        if entries:
            self.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=min(len(entries), columns))


def kind(model: str) -> str:
    """Which kind of model this is; a model of no known kind is one of its own."""
    found = [each for each in KINDS if model.startswith(each) or model in VARIANTS[each]]
    return found[0] if found else model


def leaders(models: list[str]) -> list[str]:
    """The first model of each kind: where fifteen curves would cover each other, the best of each kind is drawn."""
    return [model for place, model in enumerate(models) if kind(model) not in map(kind, models[:place])]


def look(model: str) -> dict[str, Any]:
    """Colour, marker and line of a model, the same in every figure of every report."""
    code = crc32(model.encode())
    colour, markers = KINDS.get(kind(model), OTHER_KINDS[code % len(OTHER_KINDS)])
    known = VARIANTS.get(kind(model), ())
    variant = known.index(model) if model in known else code // 7 % len(FILLS)
    marker = markers[variant // len(FILLS) % len(markers)]
    dashes = DASHES[(variant + [*KINDS].index(kind(model)) if known else variant) % len(DASHES)]
    return {"color": colour, "marker": marker, "fillstyle": FILLS[variant % len(FILLS)], "linestyle": dashes}


def line(model: str) -> dict[str, Any]:
    """A model's look for lines without markers."""
    whole = look(model)
    return {"color": whole["color"], "linestyle": whole["linestyle"]}


def marks(model: str) -> dict[str, Any]:
    """A model's look for markers without lines."""
    return look(model) | {"linestyle": "none"}


def readable_decades(axis: Axis) -> None:
    """1, 2, 5, 10, … along a short logarithmic axis, 1, 3, 10, … along a longer one, else powers of ten."""
    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high < 30 * low else (1.0, 3.0) if high < 3000 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axis.set_major_formatter(plain_numbers())
    axis.set_minor_formatter(NullFormatter())


def plain_numbers() -> FuncFormatter:
    """0.1, 1, 10, 1,000 instead of powers of ten."""
    return FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:g}")


def diagonal(axes: Axes) -> None:
    """The line on which both axes are equal."""
    axes.axline((0, 0), slope=1, color=INK, linewidth=0.8, linestyle="--")


def sequential() -> LinearSegmentedColormap:
    """The middle of viridis: neither end vanishes on a light or a dark page."""
    viridis = matplotlib.colormaps["viridis"]
    return LinearSegmentedColormap.from_list("middle of viridis", [viridis(0.25 + 0.007 * k) for k in range(101)])


def diverging() -> LinearSegmentedColormap:
    """Blue for lower, orange for higher, grey between: both colours of Okabe and Ito."""
    return LinearSegmentedColormap.from_list("blue to orange", [COLOURS[0], "#c9cdd3", COLOURS[1]])

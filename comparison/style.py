"""How figures look: colours that the colour-blind tell apart, each with a marker and dashes of its own."""

import io
import re
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from tc_common.files import atomic_write

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
        figure.set_layout_engine("none")  # the layout stands; finding it again would cost as much as drawing
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

"""Draw a figure: PNG for print, SVG with the names of its points for the page."""

import io
import re
from collections.abc import Callable
from html import escape
from pathlib import Path

import matplotlib

from comparison.report.style import INK, STYLE, Chart
from tc_common.files import atomic_write

PRINT_DPI = 300
# Coordinates in the page are points of 1/72 inch; more digits than these only make it large.
LONG_NUMBER = re.compile(r"(\d\.\d\d)\d+")
COORDINATES = re.compile(r' (?:d|x|y)="[^"]*"')
# What matplotlib writes for each marker.
POINT = re.compile(r"<use ")


def draw(build: Callable[[], Chart], path: Path) -> str:
    """Build one figure, write it as PNG at print resolution, return it as SVG for the web page."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": path.stem}):
        chart = build()
        with atomic_write(path) as temporary:
            chart.savefig(temporary, format="png", dpi=PRINT_DPI, facecolor="white")
        chart.set_layout_engine("none")  # the layout is found; finding it again would cost as much as drawing
        stream = io.StringIO()
        chart.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = COORDINATES.sub(lambda found: LONG_NUMBER.sub(r"\1", found[0]), stream.getvalue())
    for key, names in chart.names.items():
        svg = with_names(svg, key, names)
    return _inline(svg, path.stem)


def with_names(svg: str, key: str, names: list[str]) -> str:
    """The points of group `key` with a `data-name` each, which the page's script shows.

    Raises:
        ValueError: there are more or fewer points than names.
    """
    before, opening, after = svg.partition(f'<g id="{key}">')
    indent = before[before.rfind("\n") :]
    points, closing, rest = after.partition(f"{indent}</g>")
    if (count := len(POINT.findall(points))) != len(names):
        raise ValueError(f"{key} has {count} points and {len(names)} names")
    texts = iter(names)
    named = POINT.sub(lambda _: f'<use data-name="{escape(next(texts), quote=True)}" ', points)
    return before + opening + named + closing + rest


def _inline(svg: str, name: str) -> str:
    """The `<svg>` element alone, in the page's ink, its ids unlike those of the other figures."""
    name = re.sub(r"\W", "-", name)  # model names come from file names and may hold anything
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', r"<svg \1", svg, count=1)

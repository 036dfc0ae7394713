"""`comparison.html`: one file that needs nothing else, light or dark as the reader's system is."""

from html import escape
from pathlib import Path
from typing import Any

from comparison.report.documents import Section, sections, title
from comparison.report.tables import Rows, caption
from comparison.report.verdict import verdict

CSS = Path(__file__).parent / "page.css"
# A longer cell makes its table one of prose: wrapped, and to the left.
LONG_CELL = 40
SCRIPT = Path(__file__).parent / "hover.js"
# Figures of many panels, across the whole page.
WIDE = ("parity", "domes", "structure_spread")
# More sentences than these are shown when the reader asks for them.
MOST_SENTENCES = 8
CAPTIONS = {
    "forest": "Bars: intervals of the paired difference. Hollow: not distinguishable from the best.",
    "differences": "Coloured and bold: distinguishable, p corrected by Holm. Blue: the row's model errs less.",
    "parity_": "Point at a mark for its formula. Left strip: 0 K. Predictions below 0.1 K are drawn there.",
    "parity": "Density of test materials; those of 0 K apart, in the left strip. On the dashed line both agree.",
    "residuals": "Both outermost bins hold everything beyond.",
    "cumulative_error": "The further to the upper left, the better. The best model of each kind.",
    "error_by_range": "Mean absolute error in each range of measured Tc.",
    "error_by_family": "Mean absolute error in each family.",
    "error_map_": "Below the symbol: mean absolute error of the test materials that hold the element, and how many.",
    "error_by_distance": (
        "Distance: the part of all atoms to exchange. Bars: bootstrap intervals. Bins differ in Tc too: compare with "
        "the dashed error of always predicting the training median."
    ),
    "learning_curve": "Test error over the number of training materials; a straight line is a power law.",
    "crystal_map": (
        "Every test composition in the first two principal components (fitted on the training compositions) of its "
        "composition features, not of a network's vectors. Point at a mark for its formula."
    ),
    "precision_recall": "Materials taken from the highest prediction down. Dashed: taken at random.",
    "enrichment": "High Tc among the highest predictions, over that of a random choice. Dashed: perfect ranking.",
    "domes": (
        "Series: same elements, compositions on one line, at least six validation and test materials; the eight "
        "with most. Grey points are training materials. Point at a mark for its formula."
    ),
    "structure_spread": (
        "Left: all compositions with more than one file. Right: the superconductors with most files; numbers in "
        "brackets: files. Point at a mark for the file."
    ),
    "coverage": "Bars: 95 % intervals of the empirical coverage. Dashed: nominal. The best model of each kind.",
    "calibration": "On the dashed line empirical and nominal coverage agree; below it intervals are too narrow.",
    "rejection": "A steep fall: the interval's width separates good predictions from bad ones. Dotted: at best.",
    "compression": "One mark for each range of Tc. Below the dashed line the model predicts too low.",
    "accuracy_over_cost": "Bars: intervals of the MAE. Lower left is better. An ensemble: all its weighted models.",
    "training_curves": "Validation error while training.",
    "runs": "One mark a run; the bar is the mean.",
}


def page(comparison: dict[str, Any], figures: dict[str, str], left_out: dict[str, str]) -> str:
    """A whole HTML page; `figures` holds SVG by name, `left_out` why a figure is not there."""
    parts, heading = sections(comparison, figures), escape(title(comparison))
    missing = [f"{name}: {reason}" for name, reason in left_out.items()]
    parts += [Section(heading="Figures left out", sentences=missing)] if missing else []
    links = "".join(f'<a href="#{_anchor(part)}">{escape(part.heading)}</a>' for part in parts)
    warned = "".join(f'<p class="note">{escape(note)}</p>' for note in comparison.get("notes", []))
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in verdict(comparison))
    body = "\n".join(_section(part, figures) for part in parts)
    head = (
        f'<h1>{heading}</h1>\n<div class="verdict">{said}</div>\n<p class="caption">{escape(caption(comparison))}</p>'
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{heading}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{CSS.read_text('utf-8')}</style>\n</head>\n<body>\n{head}\n<nav>{links}</nav>\n{warned}\n{body}\n"
        f'<div id="hover" hidden></div>\n<script>\n{SCRIPT.read_text("utf-8")}</script>\n</body>\n</html>\n'
    )


def _anchor(part: Section) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in part.heading.lower())


def _section(part: Section, figures: dict[str, str]) -> str:
    shown = "".join(_figure(name, figures[name]) for name in part.figures)
    pieces = [
        f'<h2 id="{_anchor(part)}">{escape(part.heading)}</h2>',
        _sentences(part.sentences),
        *map(_table, part.tables),
        f'<p class="remark">{escape(part.remark)}</p>' if part.remark else "",
        f'<div class="figures">{shown}</div>' if shown else "",
    ]
    return f"<section>{''.join(pieces)}</section>"


def _sentences(sentences: list[str]) -> str:
    """A list; a long one folds away."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    if len(sentences) <= MOST_SENTENCES:
        return f"<ul>{items}</ul>" if items else ""
    return f"<details><summary>all {len(sentences)}</summary><ul>{items}</ul></details>"


def _table(rows: Rows) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    kind = ' class="prose"' if any(len(cell) > LONG_CELL for row in rows for cell in row) else ""
    return f'<div class="table"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    """Text of a cell; a doi becomes a link."""
    if not text.startswith("doi:"):
        return escape(text)
    doi = escape(text.removeprefix("doi:"), quote=True)
    return f'<a href="https://doi.org/{doi}">{doi}</a>'


def _figure(name: str, svg: str) -> str:
    wide = ' class="wide"' if name in WIDE else ""
    return f"<figure{wide}>{svg}<figcaption>{escape(_caption(name))}</figcaption></figure>"


def _caption(name: str) -> str:
    """By the whole name, or by its beginning up to the model."""
    begun = (text for start, text in CAPTIONS.items() if start.endswith("_") and name.startswith(start))
    return CAPTIONS.get(name) or next(begun, "")

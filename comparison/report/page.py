"""`comparison.html`: one file that needs nothing else, light or dark as the reader's system is."""

from html import escape
from pathlib import Path

from comparison.report.documents import Section
from comparison.report.tables import Rows

CSS = Path(__file__).parent / "page.css"
# A longer cell makes its table one of prose: wrapped, and to the left.
LONG_CELL = 40
CAPTIONS = {
    "parity": "Density of test materials. On the dashed line prediction and measurement agree.",
    "residuals": "Both outermost bins hold everything beyond.",
    "cumulative_error": "The further to the upper left, the better.",
    "error_by_range": "Mean absolute error in each range of measured Tc.",
    "error_by_family": "Mean absolute error in each family.",
    "error_map": "Below the symbol: mean absolute error of the test materials that hold the element, and how many.",
    "coverage": "Bars: 95 % intervals of the empirical coverage. Dashed: nominal coverage.",
    "calibration": "On the dashed line empirical and nominal coverage agree; below it intervals are too narrow.",
    "compression": "One mark for each range of Tc. Below the dashed line the model predicts too low.",
    "accuracy_over_cost": "Bars: intervals of the MAE. Lower left is better.",
    "training_curves": "Validation error while training.",
    "runs": "One dot a run; the bar is the mean.",
}


def page(title: str, caption: str, notes: list[str], parts: list[Section], figures: dict[str, str]) -> str:
    """A whole HTML page; `figures` holds SVG by name."""
    links = "".join(f'<a href="#{_anchor(part)}">{escape(part.heading)}</a>' for part in parts)
    warned = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    body = "\n".join(_section(part, figures) for part in parts)
    head = f'<h1>{escape(title)}</h1>\n<p class="caption">{escape(caption)}</p>\n<nav>{links}</nav>'
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{CSS.read_text('utf-8')}</style>\n</head>\n<body>\n{head}\n{warned}\n{body}\n</body>\n</html>\n"
    )


def _anchor(part: Section) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in part.heading.lower())


def _section(part: Section, figures: dict[str, str]) -> str:
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in part.sentences)
    shown = "".join(
        _figure(name, svg) for wanted in part.figures for name, svg in figures.items() if name.startswith(wanted)
    )
    pieces = [
        f'<h2 id="{_anchor(part)}">{escape(part.heading)}</h2>',
        f"<ul>{said}</ul>" if said else "",
        *map(_table, part.tables),
        f'<p class="remark">{escape(part.remark)}</p>' if part.remark else "",
        f'<div class="figures">{shown}</div>' if shown else "",
    ]
    return f"<section>{''.join(pieces)}</section>"


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
    caption = next((text for start, text in CAPTIONS.items() if name.startswith(start)), "")
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"

"""Error map: which elements a model errs on, drawn on the periodic table."""

import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from comparison.gather import Results
from comparison.style import INK, sequential
from comparison.wording import display

# Rows of the table with 18 columns; "." is empty. Lanthanides and actinides stand in two rows below.
LAYOUT = """
H  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  He
Li Be .  .  .  .  .  .  .  .  .  .  B  C  N  O  F  Ne
Na Mg .  .  .  .  .  .  .  .  .  .  Al Si P  S  Cl Ar
K  Ca Sc Ti V  Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
Rb Sr Y  Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I  Xe
Cs Ba .  Hf Ta W  Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn
Fr Ra .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
.  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
.  .  La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu .
.  .  Ac Th Pa U  Np Pu Am Cm Bk Cf Es Fm Md No Lr .
"""
PLACES = {
    symbol: (column, row)
    for row, line in enumerate(LAYOUT.strip().splitlines())
    for column, symbol in enumerate(line.split())
    if symbol != "."
}
ELEMENT = re.compile(r"[A-Z][a-z]?")


def elements(formula: str) -> set[str]:
    """Symbols in a formula; deuterium and tritium count as hydrogen."""
    return {"H" if symbol in ("D", "T") else symbol for symbol in ELEMENT.findall(formula)}


def error_by_element(results: Results, model: str) -> dict[str, tuple[float, int]]:
    """MAE (K) over the test materials that hold an element, and how many they are."""
    error = np.abs(results.test[model]["tc_pred"].to_numpy() - results.column("tc"))
    members: dict[str, list[int]] = {}
    for row, formula in enumerate(results.column("formula")):
        for symbol in elements(str(formula)):
            members.setdefault(symbol, []).append(row)
    return {symbol: (float(error[rows].mean()), len(rows)) for symbol, rows in sorted(members.items())}


def error_map(results: Results, model: str) -> Figure:
    """MAE (K) by element, with the number of test materials below it."""
    figure = Figure(figsize=(7.2, 3.9), layout="constrained")
    axes = figure.subplots()
    errors = {symbol: entry for symbol, entry in error_by_element(results, model).items() if symbol in PLACES}
    values = [max(mae_K, 0.01) for mae_K, _ in errors.values()]
    norm = LogNorm(min(values), max(max(values), 1.01 * min(values)))
    for symbol, place in PLACES.items():
        _cell(axes, symbol, place, errors.get(symbol), norm)
    axes.set(xlim=(-0.6, 17.6), ylim=(9.6, -0.6), aspect="equal", title=f"{display(model)}: MAE (K) by element")
    axes.axis("off")
    scale = figure.colorbar(ScalarMappable(norm, sequential()), ax=axes, label="MAE (K)", shrink=0.7)
    scale.ax.yaxis.set_major_formatter("{x:g}")
    return figure


def _cell(axes: Axes, symbol: str, place: tuple[int, int], entry: tuple[float, int] | None, norm: LogNorm) -> None:
    """One element: colour by MAE, framed only where no test material holds it."""
    column, row = place
    corner = (column - 0.48, row - 0.48)
    if entry is None:
        axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor="none", edgecolor=INK, linewidth=0.3, alpha=0.4))
        axes.text(column, row, symbol, ha="center", va="center", fontsize=6, alpha=0.5)
        return
    mae_K, count = entry
    colour = sequential()(norm(max(mae_K, 0.01)))
    axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor=colour, linewidth=0))
    text = "black" if np.dot(colour[:3], (0.299, 0.587, 0.114)) > 0.45 else "white"
    axes.text(column, row - 0.22, symbol, ha="center", va="center", fontsize=6.5, color=text, weight="bold")
    axes.text(column, row + 0.08, f"{mae_K:.1f}", ha="center", va="center", fontsize=5, color=text)
    axes.text(column, row + 0.33, f"{count}", ha="center", va="center", fontsize=4, color=text)

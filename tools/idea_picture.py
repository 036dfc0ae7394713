"""Draw the README's picture: one crystal, its rendering, its graph, its composition, and Tc with its interval.

    python -m tools.idea_picture        # docs/idea.png

Everything in it is computed: the views by `dinov3_pipeline.render`, the graph by `gat_pipeline.graphs` with the
options of the shipped network, Tc by `load_predictor()`. The numbers are also written into the file (`read_facts`),
so that a test fails when other models are shipped than those in the picture.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve
from PIL import Image
from pymatgen.core import Structure

from dinov3_pipeline.render.options import RenderOptions
from dinov3_pipeline.render.rendering import views
from gat_pipeline.graphs import GraphOptions, build_graph
from prediction import Prediction, load_predictor
from tc_common.cli import parse, run
from tc_common.composition import nearest_distance
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tc_common.files import atomic_write, read_csv, read_json
from tc_common.further import SAME_COMPOSITION
from tools.ball_and_stick import Array, Ball, Canvas, rotation

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "models" / "3dsc"
CRYSTAL = "K0.78Fe1.7Se2-ThCr2Si2"
FORMULA = r"K$_{0.78}$Fe$_{1.7}$Se$_2$"
ELEMENTS = {"K": (0.66, 0.52, 0.93), "Fe": (0.95, 0.53, 0.25), "Se": (0.98, 0.80, 0.30)}
RADII_A = {"K": 0.95, "Fe": 0.62, "Se": 0.72}
# Bonds are drawn between these, up to this length (Å).
BONDED, BOND_A = ("Fe", "Se"), 2.6
CARD, EDGE, WHITE, GREY = "#0f141b", "#30363d", "#f0f6fc", "#9da7b3"
# Okabe and Ito's colours, one for each way to Tc.
LANES = {"images": "#E69F00", "graph": "#56B4E9", "composition": "#2fbf91"}
SIZE_IN, DPI, SUPERSAMPLING = (12.8, 5.2), 160, 3
VIEWS = ("1x1x1_c", "2x2x1_a", "2x2x1_c", "2x2x1_r0", "2x2x1_r1", "2x2x2_r0")
AXIS_K = 60.0


@dataclass(frozen=True, kw_only=True)
class PictureConfig:
    """Settings of the picture."""

    out: Path = ROOT / "docs" / "idea.png"
    """File to write (PNG)."""


def facts_of(prediction: Prediction) -> dict[str, float]:
    """All numbers in the picture, kelvins to one digit: Tc, interval, measured Tc, and Tc of each way.

    The way of composition is the model of composition with the largest weight in the ensemble.

    Raises:
        UserError: the shipped models lack one of these.
    """
    if prediction.known is None or prediction.lower_K is None or prediction.upper_K is None:
        raise UserError("the picture needs a shipped ensemble with intervals that knows the crystal's measured Tc")
    by_name = {member.name: member for member in prediction.members}
    others = [member for name, member in by_name.items() if name not in ("alignn", "dinov3")]
    if not {"alignn", "dinov3"} <= set(by_name) or not others:
        raise UserError("the picture needs alignn, dinov3 and a model of composition among the shipped models")
    composition = max(others, key=lambda member: member.weight)
    values = {
        "tc": prediction.tc_K, "lower": prediction.lower_K, "upper": prediction.upper_K,
        "measured": prediction.known.tc_K, "images": by_name["dinov3"].tc_K, "graph": by_name["alignn"].tc_K,
        "composition": composition.tc_K,
    }  # fmt: skip
    return {name: round(value, 1) for name, value in values.items()}


def require_held_out(formula: str) -> None:
    """The picture says that the models were not trained on this composition.

    Raises:
        UserError: they were.
    """
    training = read_csv(SHIPPED / "training.csv", ("formula",), "python -m prediction.ship")["formula"].tolist()
    if nearest_distance([formula], training)[0] <= SAME_COMPOSITION:
        raise UserError(f"{CRYSTAL} is among the training materials; take a crystal that is not")


# ---- the four views of the crystal -------------------------------------------------------------------------------


def draw_crystal(structure: Structure, width: int, height: int) -> Array:
    """(height, width, 4) two by two cells as balls and sticks; vacancies are pale sectors."""
    turn = rotation(-24, 9)
    balls, sticks, corners = _scene(structure)
    points = np.array([ball.center for ball in balls]) @ turn.T
    low, high = points[:, :2].min(0) - 1.0, points[:, :2].max(0) + 1.0
    size = np.array([width, height]) * SUPERSAMPLING
    scale = float((size / (high - low)).min())
    shift = size / 2 - scale * (low + high) / 2

    def to_pixels(position_A: Array) -> Array:
        turned = turn @ position_A * scale
        return turned + np.append(shift, 0)

    canvas = Canvas(size[1], size[0])
    for start, end in corners:
        canvas.stick(to_pixels(start), to_pixels(end), 0.045 * scale, (0.62, 0.68, 0.76))
    for start, end, color in sticks:
        canvas.stick(to_pixels(start), to_pixels(end), 0.16 * scale, color)
    for ball in balls:
        canvas.ball(Ball(to_pixels(ball.center), ball.radius * scale, ball.parts))
    return canvas.image(SUPERSAMPLING)


def _scene(structure: Structure) -> tuple[list[Ball], list[tuple[Array, Array, Any]], list[tuple[Array, Array]]]:
    """Atoms of 2 x 2 x 1 cells with those on the far faces, half-bonds between them, and edges of the box; Å."""
    cells, lattice = np.array([2, 2, 1]), structure.lattice.matrix
    shown: dict[tuple[int, ...], Array] = {}
    for site, frac in enumerate(structure.frac_coords % 1.0):
        for cell in np.ndindex(3, 3, 2):
            at = frac + np.array(cell)
            if (at <= cells + 1e-6).all():
                shown[(site, *np.round(at * 1000).astype(int))] = at @ lattice
    parts = [
        tuple((float(amount), ELEMENTS[element.symbol]) for element, amount in site.species.items())
        for site in structure
    ]
    names = [max(site.species.items(), key=lambda item: item[1])[0].symbol for site in structure]
    balls = [Ball(at, RADII_A[names[key[0]]], parts[key[0]]) for key, at in shown.items()]
    ends = [(at, names[key[0]]) for key, at in shown.items() if names[key[0]] in BONDED]
    sticks = [
        (a, (a + b) / 2, ELEMENTS[name])
        for a, name in ends
        for b, other in ends
        if name != other and np.linalg.norm(a - b) < BOND_A
    ]
    box = [np.array(corner) * cells for corner in np.ndindex(2, 2, 2)]
    edges = [(p @ lattice, q @ lattice) for p in box for q in box if (q - p >= 0).all() and ((q - p) > 0).sum() == 1]
    return balls, sticks, edges


def draw_graph(axes: Axes, structure: Structure, options: GraphOptions) -> None:
    """Atoms of one cell on a circle, bonds as chords through it, those of the same two atoms as one."""
    graph = build_graph(structure, options)
    count = len(structure)
    angle = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    at = np.column_stack([2.1 * np.cos(angle), np.sin(angle)])
    lengths_A = np.linalg.norm(graph.bond_A, axis=1)
    pairs: dict[tuple[int, int], list[float]] = {}
    for u, v, length in zip(graph.source.tolist(), graph.target.tolist(), lengths_A.tolist(), strict=True):
        if u < v:
            pairs.setdefault((u, v), []).append(length)
    longest = float(lengths_A.max())
    for (u, v), found in sorted(pairs.items(), key=lambda item: -min(item[1])):
        near = 1 - (min(found) / longest) ** 2
        bent = Curve([at[u], 0.35 * (at[u] + at[v]) / 2, at[v]], [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3])
        style = {"edgecolor": LANES["graph"], "linewidth": 0.6 + 0.4 * len(found), "alpha": 0.12 + 0.75 * near}
        axes.add_patch(PathPatch(bent, facecolor="none", **style))
    names = [max(site.species.items(), key=lambda item: item[1])[0].symbol for site in structure]
    colors = [ELEMENTS[name] for name in names]
    axes.scatter(at[:, 0], at[:, 1], s=250, c=colors, edgecolors=CARD, linewidths=2.5, zorder=3)
    for (x, y), name in zip(at, names, strict=True):
        axes.text(x, y - 0.015, name, color=CARD, fontsize=9, weight="bold", ha="center", va="center", zorder=4)
    axes.set(xlim=(-2.45, 2.45), ylim=(-1.28, 1.28))


def draw_gauge(axes: Axes, facts: dict[str, float]) -> None:
    """Kelvins to the right: the interval as a band, Tc as a point, what was measured as a line."""
    axes.plot([0, AXIS_K], [0, 0], color=EDGE, linewidth=7, solid_capstyle="round", zorder=1)
    axes.plot([facts["lower"], facts["upper"]], [0, 0], color="#3fb950", linewidth=7, alpha=0.55, zorder=2)
    axes.plot([facts["measured"]] * 2, [-0.55, 0.55], color=WHITE, linewidth=2, zorder=3)
    axes.scatter([facts["tc"]], [0], s=150, color="#3fb950", edgecolors=CARD, linewidths=2, zorder=4)
    measured = f"measured {facts['measured']:g} K"
    axes.text(facts["measured"], -1.0, measured, color=WHITE, fontsize=12, ha="center", va="top")
    for kelvin in (0, AXIS_K):
        axes.text(kelvin, 0.55, f"{kelvin:g}", color=GREY, fontsize=10, ha="center", va="bottom")
    axes.set(xlim=(-3, AXIS_K + 3), ylim=(-2.4, 1.6))


# ---- the picture -------------------------------------------------------------------------------------------------


def compose(structure: Structure, facts: dict[str, float], graph: GraphOptions) -> Figure:
    """The whole picture: crystal, three ways, Tc."""
    figure = plt.figure(figsize=SIZE_IN, dpi=DPI, facecolor="none")
    card = FancyBboxPatch(
        (0.06, 0.06), SIZE_IN[0] - 0.12, SIZE_IN[1] - 0.12, boxstyle="round,pad=0,rounding_size=0.22",
        facecolor=CARD, edgecolor=EDGE, linewidth=1.5, transform=figure.dpi_scale_trans, zorder=-1,
    )  # fmt: skip
    figure.add_artist(card)
    whole = _axes(figure, (0, 0, 1, 1))
    whole.set(xlim=(0, 1), ylim=(0, 1))
    width, height = (int(part * size * DPI) for part, size in zip((0.21, 0.80), SIZE_IN, strict=True))
    _axes(figure, (0.025, 0.135, 0.21, 0.80)).imshow(draw_crystal(structure, width, height), aspect="equal")
    whole.text(0.13, 0.075, FORMULA, color=WHITE, fontsize=15, ha="center", va="center")
    _images_lane(figure, structure)
    draw_graph(_axes(figure, (0.325, 0.245, 0.335, 0.405)), structure, graph)
    texts = {"images": "images, for a vision transformer", "graph": "graph of atoms, bonds and angles, for ALIGNN",
             "composition": "composition, for tree ensembles"}  # fmt: skip
    captions_y = {"images": 0.7, "graph": 0.235, "composition": 0.07}
    for (lane, color), y in zip(LANES.items(), (0.835, 0.455, 0.125), strict=True):
        whole.text(0.4925, captions_y[lane], texts[lane], color=color, fontsize=12.5, ha="center", va="center")
        _flow(whole, (0.245, 0.5), (0.318, y), color)
        whole.text(0.7, y, f"{facts[lane]:.1f} K", color=color, fontsize=15, ha="center", va="center")
        _flow(whole, (0.737, y), (0.781, 0.5), color)
    whole.scatter([0.781], [0.5], s=60, color="#3fb950", zorder=5)
    _amounts(whole, structure)
    _result(figure, whole, facts)
    return figure


def _amounts(whole: Axes, structure: Structure) -> None:
    """The formula as its elements and amounts a formula unit (two atoms of selenium)."""
    unit = structure.composition["Se"] / 2
    for number, (symbol, color) in enumerate(ELEMENTS.items()):
        x = 0.4925 + 0.092 * (number - 1)
        whole.scatter([x - 0.025], [0.136], s=250, color=color, zorder=3)
        whole.text(x - 0.025, 0.135, symbol, color=CARD, fontsize=9, weight="bold", ha="center", va="center")
        amount = f"{structure.composition[symbol] / unit:g}"
        whole.text(x - 0.008, 0.135, amount, color=WHITE, fontsize=13, ha="left", va="center")


def _axes(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    axes = figure.add_axes(box)
    axes.axis("off")
    return axes


def _images_lane(figure: Figure, structure: Structure) -> None:
    """Six of the views that `render_images.py` draws."""
    pixels = views(structure, options=RenderOptions(image_size=224), names=VIEWS)
    tile = 0.052
    for number, image in enumerate(pixels):
        box = (0.328 + number * (tile + 0.0038), 0.755, tile, tile * SIZE_IN[0] / SIZE_IN[1])
        axes = _axes(figure, box)
        shown = axes.imshow(image, interpolation="antialiased")
        frame = FancyBboxPatch((4, 4), 215, 215, boxstyle="round,pad=0,rounding_size=18", transform=axes.transData)
        frame.set(facecolor="none", edgecolor=EDGE, linewidth=1)
        axes.add_patch(frame)
        shown.set_clip_path(frame)


def _flow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    """A bent line with an arrow head, from left to right."""
    middle = (start[0] + end[0]) / 2
    curve = Curve([start, (middle, start[1]), (middle, end[1]), end], [Curve.MOVETO, *[Curve.CURVE4] * 3])
    axes.add_patch(PathPatch(curve, facecolor="none", edgecolor=color, linewidth=2, alpha=0.8, capstyle="round"))


def _result(figure: Figure, whole: Axes, facts: dict[str, float]) -> None:
    whole.text(0.882, 0.72, f"{facts['tc']:.1f} K", color=WHITE, fontsize=38, weight="bold", ha="center", va="center")
    interval = f"90 % interval: {facts['lower']:.0f} to {facts['upper']:.0f} K"
    whole.text(0.882, 0.6, interval, color="#3fb950", fontsize=14, ha="center", va="center")
    draw_gauge(_axes(figure, (0.795, 0.35, 0.175, 0.2)), facts)
    whole.text(0.882, 0.26, "a composition that the\nmodels were not trained on", color=GREY, fontsize=12, ha="center")


def write_picture(out: Path) -> dict[str, float]:
    """Draw it and write it with its numbers; returns these (K)."""
    structure = read_crystal(ROOT / "data" / "sample" / "cifs" / f"{CRYSTAL}.cif")
    require_held_out(CRYSTAL.split("-")[0])
    facts = facts_of(load_predictor().predict(structure))
    graph = GraphOptions(**read_json(SHIPPED / "alignn.json")["graph"])
    figure = compose(structure, facts, graph)
    with atomic_write(out) as temporary:
        metadata = {"Title": CRYSTAL, "Description": json.dumps(facts), "Software": ""}
        figure.savefig(temporary, format="png", dpi=DPI, facecolor="none", metadata=metadata)
    plt.close(figure)
    return facts


def read_facts(picture: Path) -> dict[str, float]:
    """The numbers (K) that a picture of this program shows.

    Raises:
        UserError: it is not one.
    """
    with Image.open(picture) as image:
        if "Description" not in image.info:
            raise UserError(f"{picture} holds no numbers; make it with: python -m tools.idea_picture")
        return dict(json.loads(image.info["Description"]))


def main() -> None:
    """Draw, write, say what is in it."""
    config = parse(PictureConfig, prog="python -m tools.idea_picture", description=__doc__ or "")
    print(f"{config.out}: {CRYSTAL}, {json.dumps(write_picture(config.out))} K")


if __name__ == "__main__":
    run(main)

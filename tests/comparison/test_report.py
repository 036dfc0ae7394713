"""The report: complete, self-contained, the same twice, and readable without telling red from green."""

import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from comparison.ensemble import with_ensembles
from comparison.evaluate import Uncertainty, evaluate
from comparison.gather import gather
from comparison.report.documents import terminal
from comparison.report.drawing import draw, with_names
from comparison.report.figures import NO_HIGH_TC, NO_SERIES, NO_SPLITS, NO_SPREAD, figures_of
from comparison.report.plots.groups import PLACES, elements, error_by_element
from comparison.report.plots.pairs import difference_matrix
from comparison.report.plots.scores import ZERO_STRIP, parity_of, parity_place
from comparison.report.plots.structures import structure_spreads
from comparison.report.plots.training import accuracy_over_cost
from comparison.report.style import COLOURS, VARIANTS, Chart, leaders, look
from comparison.report.tables import aligned, read_literature
from comparison.report.verdict import listed, verdict
from comparison.report.write import write_comparison
from tc_common.files import write_csv
from tests.comparison.made import make_further, make_history, make_model, make_results, make_splits, read_json

QUICK = Uncertainty(resamples=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    make_results(folder, {"alignn": 2.0, "<b>odd|name": 3.0})
    make_history(folder, "alignn")
    _write(folder)
    return folder


def _write(folder: Path) -> list[Path]:
    results = with_ensembles(gather(folder, folder / "splits"), ["ensemble"], seed=0)
    return write_comparison(folder, results, evaluate(results, QUICK))


class Page(HTMLParser):
    """Tags, attributes and headings of a page; checks that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "hr", "img", "link"):
            self.open.append(tag)
        for name, value in attributes:
            self.ids += [value or ""] if name == "id" else []
            self.links += [value or ""] if name in ("href", "src", "xlink:href") else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_is_whole_and_needs_nothing_else(folder: Path) -> None:
    text = (folder / "comparison.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    inside = {f"#{name}" for name in page.ids}
    for link in page.links:
        assert link in inside or link.startswith(("https://doi.org/", "data:image/png;base64,")), link
    assert text.count("<script") == 1 and "<script>" in text and "@import" not in text
    assert not re.search(r"\b(fetch|XMLHttpRequest|innerHTML|import\()", text)
    assert not re.search(r"url\((?!#)", text)
    assert "prefers-color-scheme: dark" in text


def test_names_from_files_cannot_become_markup(folder: Path) -> None:
    text = (folder / "comparison.html").read_text(encoding="utf-8")
    assert "<b>odd" not in text and "&lt;b&gt;odd|name" in text
    markdown = (folder / "comparison.md").read_text(encoding="utf-8")
    assert "<b>" not in markdown and "&lt;b>odd\\|name |" in markdown


@pytest.mark.parametrize(
    "heading",
    ["Scores", "Paired differences", "Error by range", "Prediction intervals", "Compression", "Cost", "Ensemble",
     "Worst misses of", "Literature"],
)  # fmt: skip
def test_every_part_is_there(folder: Path, heading: str) -> None:
    assert f">{heading}" in (folder / "comparison.html").read_text(encoding="utf-8")
    assert f"## {heading}" in (folder / "comparison.md").read_text(encoding="utf-8")


def test_figures_are_there_at_print_resolution(folder: Path) -> None:
    names = {path.stem for path in (folder / "plots").glob("*.png")}
    shared = {"residuals", "cumulative_error", "error_by_range", "error_by_family", "compression", "coverage"}
    shared |= {"accuracy_over_cost", "training_curves", "calibration", "error_map_ensemble", "forest", "differences"}
    shared |= {"parity", "parity_ensemble", "error_by_distance", "crystal_map", "precision_recall", "enrichment"}
    assert names == shared | {"rejection"}
    for path in (folder / "plots").glob("*.png"):
        with Image.open(path) as image:
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
            assert np.ptp(np.asarray(image.convert("L"))) > 100, path.name
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == len(names)
    assert all("currentColor" in drawing for drawing in drawings), "the ink follows the page"
    for drawing in drawings:
        ElementTree.fromstring(drawing)


def test_two_reports_are_the_same_bytes(folder: Path) -> None:
    before = {
        path: path.read_bytes()
        for path in [*folder.glob("comparison*"), folder / "splits.csv.gz", *folder.glob("plots/*")]
    }
    written = _write(folder)
    assert {path: path.read_bytes() for path in before} == before
    assert set(written) == set(before)


def test_json_holds_what_the_tables_show(folder: Path) -> None:
    comparison = read_json(folder / "comparison.json")
    assert comparison["n"] == 60 and set(comparison["models"]) == {"alignn", "<b>odd|name", "ensemble"}
    assert len(comparison["differences"]) == 3 and len(comparison["worst"]) == 20
    shown = (folder / "comparison.md").read_text(encoding="utf-8")
    for model in comparison["models"].values():
        assert f"{model['score']['mae_K']:.2f} [" in shown


def test_terminal_fits_100_columns(folder: Path) -> None:
    text = terminal(read_json(folder / "comparison.json"))
    assert max(map(len, text.splitlines())) <= 100
    wide = aligned([["model", "x" * 40, "y" * 40], ["a name that is much too long for it", "1", "2"]])
    assert max(map(len, wide.splitlines())) <= 100 and "…" in wide


def test_colours_differ_for_the_colour_blind() -> None:
    """Okabe and Ito's colours stay apart when red and green cones are one (Viénot 1999, in linear RGB)."""
    rgb = np.array([[int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)] for colour in COLOURS]) ** 2.2
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    for seen in (rgb, rgb @ deutan.T, rgb @ protan.T):
        seen = np.clip(seen, 0, 1) ** (1 / 2.2)
        apart = np.abs(seen[:, None] - seen[None]).max(axis=2) + np.eye(len(seen))
        assert apart.min() > 0.08
    red_and_green = np.array([[0.80, 0.2, 0.2], [0.45, 0.45, 0.2]]) ** 2.2 @ deutan.T
    assert np.abs(np.diff(np.clip(red_and_green, 0, 1) ** (1 / 2.2), axis=0)).max() < 0.08, "negative control"


def test_a_single_material_makes_a_report_too(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 2.0, "dinov3": 3.0}, count=1)
    written = write_comparison(tmp_path, results, evaluate(results, QUICK))
    assert all(path.stat().st_size for path in written)
    comparison = read_json(tmp_path / "comparison.json")
    assert comparison["models"]["alignn"]["calibration"] == {}, "too few validation materials for 90 %"
    assert not (tmp_path / "comparison_intervals.csv").exists()


def test_the_page_says_why_a_figure_is_missing(folder: Path) -> None:
    text = (folder / "comparison.html").read_text(encoding="utf-8")
    assert f"<li>domes: {NO_SERIES}</li>" in text and f"<li>structure_spread: {NO_SPREAD}</li>" in text
    assert "<li>learning_curve: there is no learning_curve.csv; make it with: python -m benchmarks.learning" in text


def test_figures_without_data_are_left_out_with_their_reason(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 2.0})
    results.truth["test"]["tc"] = results.truth["test"]["tc"].clip(upper=19.0)
    bare = replace(results, splits={}, val={}, metrics={"alignn": {}})
    found = figures_of(tmp_path, bare, evaluate(bare, QUICK))
    assert not set(found.builders) & set(found.left_out)
    expected = {"precision_recall": NO_HIGH_TC, "enrichment": NO_HIGH_TC, "error_by_distance": NO_SPLITS}
    assert expected.items() <= found.left_out.items()
    assert {"forest", "coverage", "rejection", "accuracy_over_cost", "training_curves", "domes"} <= set(found.left_out)
    odd = replace(results, truth={"test": results.truth["test"].assign(formula="not a formula")})
    left_out = figures_of(tmp_path, odd, evaluate(odd, QUICK)).left_out
    assert left_out["crystal_map"] == "'not a formula' is no chemical formula" == left_out["domes"]


def test_a_learning_curve_is_drawn_from_its_table(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 2.0})
    table = pd.DataFrame({"model": "pair", "n_train": [10, 20], "mae_K": [5.0, 4.0], "low_K": 3.0, "high_K": 6.0})
    write_csv(tmp_path / "learning_curve.csv", table)
    (axes,) = figures_of(tmp_path, results, evaluate(results, QUICK)).builders["learning_curve"]().axes
    assert axes.get_xlabel() == "training materials" and axes.get_xscale() == axes.get_yscale() == "log"


def test_names_of_points_are_escaped_and_one_for_each() -> None:
    group = '  <g id="points-0">\n   <use x="1"/>\n   <g>\n    <use x="2"/>\n   </g>\n  </g>\n'
    svg = f'<svg>\n{group}  <use x="3"/>\n</svg>'
    named = with_names(svg, "points-0", ['<b>"&', "MgB2"])
    assert named.count("data-name") == 2 and 'data-name="&lt;b&gt;&quot;&amp;" x="1"' in named
    assert '<use x="3"/>' in named, "points of other groups have no name"
    with pytest.raises(ValueError, match="points-0 has 2 points and 1 names"):
        with_names(svg, "points-0", ["MgB2"])


def test_every_material_of_the_parity_plot_has_its_name(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 2.0})
    results.test["alignn"].loc[3, "tc_pred"] = 21.04
    results.truth["test"].loc[3, ["formula", "tc"]] = ["Cu1La1.85Sr0.15O4", 38.0]
    svg = draw(lambda: parity_of(results, "alignn"), tmp_path / "x.png")
    assert svg.count("data-name=") == 60
    assert 'data-name="La1.85Sr0.15CuO4: 38.0 K, predicted 21.0 K"' in svg


def test_materials_of_0_K_have_a_strip_of_their_own() -> None:
    place = parity_place(np.array([0.0, 10.0, 0.01, 0.0, 100.0]))
    assert place[[1, 2, 4]] == pytest.approx([1, -1, 2]), "log10; below 0.1 K at 0.1 K"
    assert place[[0, 3]] == pytest.approx(ZERO_STRIP) and ZERO_STRIP[1] < -1


def test_a_model_looks_the_same_in_every_figure_and_unlike_the_others() -> None:
    models = [model for variants in VARIANTS.values() for model in variants]
    looks = {model: tuple(look(model)[key] for key in ("color", "marker", "fillstyle")) for model in models}
    assert len(set(looks.values())) == len(models)
    assert look("my_model") == look("my_model") and look("my_model")["color"] in COLOURS


def test_leaders_are_the_first_of_each_kind_in_order() -> None:
    models = ["ensemble", "finetuned_alignn", "pair_with_labels", "alignn", "pair", "dinov3", "mine", "ensemble_equal"]
    assert leaders(models) == ["ensemble", "finetuned_alignn", "pair_with_labels", "dinov3", "mine"]


DIFFERENCES = [
    {"a": "ensemble", "b": "pair", "mae_difference_K": -0.1, "interval_K": [-0.3, 0.1], "p_holm": 0.4},
    {"a": "ensemble", "b": "alignn", "mae_difference_K": -1.0, "interval_K": [-1.5, -0.5], "p_holm": 0.001},
    {"a": "pair", "b": "alignn", "mae_difference_K": -0.9, "interval_K": [-1.5, -0.2], "p_holm": 0.07},
]
MODELS = {
    name: {"score": {"mae_K": mae_K}, "interval": {"mae_K": [mae_K - 0.5, mae_K + 0.5]}}
    for name, mae_K in (("ensemble", 2.5), ("pair", 2.6), ("alignn", 3.5))
}
COMPARISON = {"models": MODELS, "differences": DIFFERENCES, "uncertainty": {"level": 0.95}}


def test_the_matrix_of_differences_by_hand() -> None:
    values, apart = difference_matrix(COMPARISON)
    assert values == pytest.approx(np.array([[0, -0.1, -1.0], [0.1, 0, -0.9], [1.0, 0.9, 0]]))
    assert apart.tolist() == [[False, False, True], [False, False, False], [True, False, False]]


def test_the_verdict_by_hand() -> None:
    lowest, gain = verdict(COMPARISON)
    assert lowest == "Lowest error: ensemble, MAE 2.50 K [2.00, 3.00]; not distinguishable from pair."
    assert (
        gain == "Gain of the ensemble over pair, the best single model: +0.10 K [−0.10, +0.30]: not distinguishable."
    )
    clear = [{**row, "p_holm": 0.001, "interval_K": [-2.0, -0.05]} for row in DIFFERENCES]
    lowest, gain = verdict({**COMPARISON, "differences": clear})
    assert lowest.endswith("; every other model's error is higher.")
    assert gain.endswith("+0.10 K [+0.05, +2.00]: ensemble has the lower MAE.")
    alone = {"models": {"pair": MODELS["pair"]}, "differences": [], "uncertainty": {"level": 0.95}}
    assert verdict(alone)[1] == "No ensemble is compared; python compare_models.py --ensemble makes one."
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c"


def test_the_verdict_comes_first(folder: Path) -> None:
    sentences = verdict(read_json(folder / "comparison.json"))
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert all(page.index(escape(each)) < page.index("<nav>") for each in sentences)
    assert all(
        each.replace("<", "&lt;") in (folder / "comparison.md").read_text(encoding="utf-8") for each in sentences
    )
    assert terminal(read_json(folder / "comparison.json")).startswith("Lowest error: ")


def test_only_models_that_read_structures_have_a_spread(tmp_path: Path) -> None:
    splits = make_splits(tmp_path / "splits")
    for seed, (name, spread_K) in enumerate((("alignn", 2.0), ("pair", 0.0))):
        make_model(tmp_path, name, splits, 1.0, seed)
        make_further(tmp_path, name, splits, 1.0, seed, structures=3, spread_K=spread_K)
    results = gather(tmp_path, tmp_path / "splits")
    for name in ("other_structures", "val_other_structures"):
        pair = results.further[name]["pair"]
        pair["tc_pred"] = pair["chosen"].map(results.test["pair"].set_index("material_id")["tc_pred"])
    assert set(structure_spreads(results, ["alignn", "pair"])) == {"alignn"}
    chart = figures_of(tmp_path, results, evaluate(results, QUICK)).builders["structure_spread"]()
    assert isinstance(chart, Chart) and sum(map(len, chart.names.values())) == 16 * 4, (
        "the chosen file and three others"
    )


@pytest.mark.parametrize(("train_seconds", "points"), [(0.0, 1), (1e-3, 2), (None, 1)])
def test_cost_figure_keeps_readable_ticks_and_leaves_out_models_without_training(
    tmp_path: Path, train_seconds: float | None, points: int
) -> None:
    comparison = evaluate(make_results(tmp_path, {"alignn": 2.0, "pretrained_alignn": 3.0}), QUICK)
    comparison["models"]["alignn"]["cost"]["train_seconds"] = 5000.0
    comparison["models"]["pretrained_alignn"]["cost"]["train_seconds"] = train_seconds
    training = accuracy_over_cost(comparison).axes[0]
    low, high = training.get_xlim()
    assert len(training.containers) == points
    assert sum(low <= tick <= high for tick in training.get_xticks()) <= 9


def test_formulas_cannot_become_markup(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 2.0})
    for table in results.truth.values():
        table["formula"] = "<script>alert(1)</script>"
    write_comparison(tmp_path, results, evaluate(results, QUICK))
    for name in ("comparison.md", "comparison.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "<script>alert" not in text and "&lt;script>alert" in text.replace("&gt;", ">"), name


def test_elements_of_formulas() -> None:
    assert elements("La1.85Sr0.15CuO4") == {"La", "Sr", "Cu", "O"}
    assert elements("PdD0.9(NO2)3") == {"Pd", "H", "N", "O"}
    assert len(PLACES) == 103 and len(set(PLACES.values())) == 103
    assert PLACES["Cu"] == (10, 3) and PLACES["Lu"][0] == 16


def test_error_by_element_by_hand(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 2.0})
    error_K = np.abs(results.test["alignn"]["tc_pred"].to_numpy() - results.column("tc"))
    with_copper = np.array(["Cu" in formula for formula in results.column("formula")])
    found = error_by_element(results, "alignn")
    assert found["Cu"] == (pytest.approx(error_K[with_copper].mean()), with_copper.sum())


def test_literature_is_cited() -> None:
    table = read_literature()
    assert len(table) >= 8
    assert table["doi"].str.fullmatch(r"10\.\d{4,5}/\S+").all()
    numbers = table[["mae_K", "rmse_K", "r2", "msle"]]
    assert numbers.notna().any(axis=1).all(), "a row without a number"
    assert (numbers["r2"].dropna() <= 1).all() and (numbers.min() >= 0).all()
    assert table["comparison"].str.startswith(("not allowed: ", "same source of data; ")).all()
    assert table["year"].between(2010, 2030).all()

"""The report: complete, self-contained, the same twice, and readable without telling red from green."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from comparison.ensemble import with_ensembles
from comparison.evaluate import Uncertainty, evaluate
from comparison.gather import gather
from comparison.report.documents import terminal
from comparison.report.plots import COLOURS, PLACES, elements, error_by_element
from comparison.report.tables import aligned, read_literature
from comparison.report.write import write_comparison
from tests.comparison.made import make_history, make_results, read_json

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
    assert "<script" not in text and "@import" not in text
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
    shared |= {"accuracy_over_cost", "training_curves", "calibration", "error_map_ensemble"}
    assert names == shared | {f"parity_{name}" for name in ("alignn", "<b>odd|name", "ensemble")}
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


def test_formulas_cannot_become_markup(tmp_path: Path) -> None:
    results = make_results(tmp_path, {"alignn": 2.0})
    for table in results.truth.values():
        table["formula"] = "<script>alert(1)</script>"
    write_comparison(tmp_path, results, evaluate(results, QUICK))
    for name in ("comparison.md", "comparison.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "<script>" not in text and "&lt;script>alert" in text.replace("&gt;", ">"), name


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

"""The report in a real browser: names under the pointer, shown as text, without any request."""

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

import pytest

from comparison.evaluate import Uncertainty, evaluate
from comparison.report.page import page
from tests.browser import CHROMIUM, FLAGS, sync_api
from tests.comparison.made import make_results

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("<img src=x onerror=alert(1)>", "MgB2: 39.0 K, predicted 38.2 K")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Page"]:
    """A page with one figure of two points, 100 units apart; a request or a script's error fails the test."""
    folder = tmp_path_factory.mktemp("page")
    marks = "".join(
        f'<circle data-name="{escape(name, quote=True)}" cx="{100 + 100 * place}" cy="50" r="4"/>'
        for place, name in enumerate(NAMES)
    )
    comparison = evaluate(make_results(folder, {"alignn": 2.0, "pair": 3.0}), Uncertainty(resamples=300))
    text = page(comparison, {"domes": f'<svg viewBox="0 0 300 100">{marks}</svg>'}, {"parity": "no <data>"})
    (folder / "comparison.html").write_text(text, encoding="utf-8")
    problems: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        found = browser.new_page(viewport={"width": 1000, "height": 800})
        found.on("request", lambda request: problems.extend([] if request.url.startswith("file:") else [request.url]))
        found.on("pageerror", lambda error: problems.append(str(error)))
        found.on("dialog", lambda dialog: problems.append(dialog.message))
        found.goto(f"file://{folder}/comparison.html")
        yield found
        browser.close()
    assert problems == []


def test_the_nearest_point_shows_its_name_as_text(opened: "Page") -> None:
    label = opened.locator("#hover")
    assert not label.is_visible()
    for point, name in zip(opened.locator("[data-name]").all(), NAMES, strict=True):
        point.scroll_into_view_if_needed()
        box = point.bounding_box()
        assert box is not None
        opened.mouse.move(box["x"] + box["width"] / 2 + 6, box["y"] + box["height"] / 2)
        assert label.inner_text() == name and label.is_visible()
        assert opened.locator(".marked").get_attribute("data-name") == name
    assert opened.locator("#hover img").count() == 0


def test_far_from_every_point_there_is_no_name(opened: "Page") -> None:
    opened.locator("[data-name]").first.scroll_into_view_if_needed()
    box = opened.locator("[data-name]").first.bounding_box()
    assert box is not None
    opened.mouse.move(box["x"] + 4, box["y"] + 4)
    assert opened.locator("#hover").is_visible()
    opened.mouse.move(box["x"] + 60, box["y"] + 4)
    assert not opened.locator("#hover").is_visible() and opened.locator(".marked").count() == 0


def test_reasons_are_the_last_section(opened: "Page") -> None:
    assert opened.locator("section").last.inner_text().split("\n") == ["Figures left out", "parity: no <data>"]

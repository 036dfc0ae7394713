"""The page in a real browser: what a visitor does, sees, and never causes."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.browser import CHROMIUM, FLAGS, sync_api
from tests.web.made import LSCO, MGB2, ROOT, WARNING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SLOW_MS = 60_000
FOCUS_IS_SEEN = """() => {
    const active = document.activeElement;
    const at = active.id === "files" ? document.querySelector("label[for=files]") : active;
    return at === document.body || getComputedStyle(at).outlineStyle !== "none";
}"""
HYDRIDE = (ROOT / "data/sample/cifs/H3S-H3S.cif").read_bytes()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield found
        found.close()


@pytest.fixture
def page(browser: "Browser", address: str) -> Iterator["Page"]:
    """The page, opened; a request to anywhere else, a script's error or a broken rule fails the test."""
    yield from opened(browser, address)


def elsewhere(url: str, address: str) -> list[str]:
    """A request that does not stay at home."""
    return [] if url.startswith((address, "blob:")) else [url]


def opened(browser: "Browser", address: str, **options: Any) -> Iterator["Page"]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    found = context.new_page()
    problems: list[str] = []
    found.set_default_timeout(SLOW_MS)
    found.on("request", lambda request: problems.extend(elsewhere(request.url, address)))
    found.on("pageerror", lambda error: problems.append(str(error)))
    found.on("console", lambda message: problems.extend([message.text] if message.type == "error" else []))
    found.goto(address)
    found.wait_for_selector("#examples button")
    yield found
    assert context.cookies() == [] and found.evaluate("localStorage.length + sessionStorage.length") == 0
    context.close()
    allowed = [text for text in problems if "422" in text or "429" in text]  # Chromium notes what the server refused
    assert problems == allowed


def payload(name: str, content: bytes) -> Any:
    return {"name": name, "mimeType": "text/plain", "buffer": content}


def choose(page: "Page", content: bytes, name: str = "a.cif") -> None:
    page.set_input_files("#files", [payload(name, content)])


def show(page: "Page", content: bytes, name: str = "a.cif") -> None:
    choose(page, content, name)
    page.wait_for_selector("#tc .axis")
    placed = re.compile("transform")
    sync_api.expect(page.locator("#stage .edge").first).to_have_attribute("style", placed, timeout=SLOW_MS)


def says(page: "Page", selector: str, text: str) -> None:
    """Wait for a text. (What waits for a function needs `eval`, which the page's policy forbids.)"""
    sync_api.expect(page.locator(selector)).to_contain_text(text, timeout=SLOW_MS)


def pixels(page: "Page", selector: str = "#stage canvas") -> Any:
    """(H, W, 3) what is seen of an element."""
    import cv2

    return cv2.imdecode(np.frombuffer(page.locator(selector).first.screenshot(), np.uint8), cv2.IMREAD_COLOR)


def colours(image: Any) -> int:
    return len(np.unique(image.reshape(-1, 3), axis=0))


def test_a_crystal_is_shown_with_its_tc_and_the_canvas_is_not_blank(page: "Page") -> None:
    show(page, MGB2, "MgB2.cif")
    assert page.inner_text("#formula") == "MgB\n2" or page.inner_text("#formula").replace("\n", "") == "MgB2"
    assert "P6/mmm (no. 191)" in page.inner_text("#facts")
    assert page.inner_text("#tc .headline").startswith("2.9 K")
    assert page.locator("#tc .diamond").count() == 1 and page.locator("#tc .tick").count() == 3
    image = pixels(page)
    assert colours(image) > 200
    page.focus("#stage canvas")
    page.keyboard.press("ArrowRight")
    assert (pixels(page) != image).any(), "the arrow key turned it"
    assert page.locator("img[src=x]").count() == 0 and "<img src=x" in page.inner_text("#tc"), "markup stays text"


@pytest.mark.slow
def test_a_bad_file_is_one_sentence_and_the_crystal_before_it_stays(page: "Page") -> None:
    show(page, MGB2)
    choose(page, b"%PDF-1.7", '<b onclick="x">.cif')
    page.wait_for_selector("#problem:not([hidden])")
    assert "it looks like a PDF" in page.inner_text("#problem") and page.locator("#problem b").count() == 0
    assert page.is_visible("#answer")


@pytest.mark.slow
def test_a_hydride_carries_its_warning_above_the_number(page: "Page") -> None:
    show(page, HYDRIDE)
    assert WARNING[1:] in page.inner_text("#warnings")
    box, number = page.locator("#warnings").bounding_box(), page.locator("#tc .headline").bounding_box()
    assert box and number and box["y"] + box["height"] <= number["y"] and box["height"] > 40


@pytest.mark.slow
def test_sites_that_symmetry_tells_apart_are_offered_for_doping(page: "Page") -> None:
    show(page, LSCO)
    offered = {option.get_attribute("value"): option.inner_text() for option in page.locator("#old option").all()}
    assert [text for value, text in offered.items() if value in ("La", "Cu", "O")] == ["La", "Cu", "O"]
    oxygen = [value for value in offered if value and value.startswith("O1")]
    assert len(oxygen) == 1 and len([value for value in offered if "+" in str(value)]) == 2, "apical and planar oxygen"
    page.select_option("#old", oxygen[0])
    assert page.input_value("#new") == "F"
    page.click("#doping-form button")
    page.wait_for_selector("#chart .curve")
    assert f"x: fraction of {offered[oxygen[0]]} replaced by F" in page.inner_text("#chart")


@pytest.mark.slow
def test_a_doping_curve_is_drawn_read_off_and_given_as_numbers(page: "Page") -> None:
    show(page, LSCO)
    assert page.input_value("#old") == "La" and page.input_value("#new") == "Sr"
    page.click("#doping-form button")
    page.wait_for_selector("#chart .curve")
    assert page.locator("#chart .diamond").count() == 1 and page.locator("#chart .band").count() == 1
    page.focus("#read-x")
    page.keyboard.press("Home")
    assert page.inner_text("#read-out").startswith("x = 0.000")
    page.click("text=each model")
    assert page.locator("#chart .member").count() == 3
    page.click("text=The curve as numbers")
    assert page.locator("#doping-chart tbody tr").count() == 21
    page.fill("#new", "Xx")
    page.click("#doping-form button")
    page.wait_for_selector("#doping-problem:not([hidden])")
    assert "Xx is no element" in page.inner_text("#doping-problem")


@pytest.mark.slow
def test_several_files_and_a_zip_become_a_table_to_sort_and_download(page: "Page") -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x/=cmd.cif", LSCO)
        archive.writestr("x/bad.cif", "data_bad")
    files = [("MgB2.cif", MGB2), ("two.zip", packed.getvalue())]
    page.set_input_files("#files", [payload(*file) for file in files])
    says(page, "#batch-state", "2 predicted, 1 not")
    page.click("th button:has-text('Tc (K)')")
    names = page.locator("#batch-table tbody td:first-child").all_inner_texts()
    assert names == ["=cmd.cif", "MgB2.cif", "bad.cif"]
    with page.expect_download() as download:
        page.click("#batch-csv")
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("name,formula,tc_K") and any(line.startswith("'=cmd.cif") for line in lines)
    with page.expect_download() as download:
        page.click("#batch-json")
    assert [row["name"] for row in json.loads(Path(download.value.path()).read_text())][0] == "MgB2.cif"


@pytest.mark.slow
def test_the_crystal_can_be_coloured_repeated_and_its_pictures_shown(page: "Page") -> None:
    show(page, LSCO)
    one = pixels(page)
    page.click("text=2×2×2")
    assert (pixels(page) != one).any()
    page.click("text=as the vision model sees it")
    image = pixels(page)
    assert (image[2, 2] == 0).all(), "on black, as the images are"
    page.click("text=kelvins per atom")
    page.wait_for_selector("#legend .scale")
    assert (pixels(page) != image).any()
    page.click("#show-pictures")
    page.wait_for_selector("canvas.sheet")
    plain = pixels(page, "canvas.sheet")
    assert colours(plain) > 5
    page.click("#show-attention")
    says(page, "#pictures figcaption", "attention")
    assert (pixels(page, "canvas.sheet") != plain).any()


@pytest.mark.slow
def test_wedges_are_as_large_as_occupancies_and_a_vacancy_is_open(page: "Page") -> None:
    found = page.evaluate(
        """async () => {
            const { slices, supercell } = await import("/static/cell.js");
            const site = (frac) => ({ frac, occupancies: { Po: 1 } });
            const cubic = {
                lattice_A: [[3, 0, 0], [0, 3, 0], [0, 0, 3]], sites: [site([0, 0, 0])],
                bonds: [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]],
            };
            const count = ({ atoms, bonds }) => [atoms.length, bonds.length];
            return { mixed: slices({ Sr: 0.25, La: 0.75 }), open: slices({ O: 0.45 }),
                one: count(supercell(cubic, [1, 1, 1])), eight: count(supercell(cubic, [2, 2, 2])) };
        }"""
    )
    assert found["mixed"] == [{"element": "La", "from": 0, "to": 0.75}, {"element": "Sr", "from": 0.75, "to": 1}]
    assert found["open"] == [{"element": "O", "from": 0, "to": 0.45}]
    assert found["one"] == [8, 12] and found["eight"] == [27, 54], (
        "corners and edges of one cube, of two by two by two"
    )


@pytest.mark.slow
def test_everything_can_be_done_with_the_keyboard_alone(page: "Page") -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        if seen[-1] == "MgB2":
            page.keyboard.press("Enter")
            break
    assert seen[1] == "files"
    page.wait_for_selector("#tc .axis")
    page.wait_for_selector("#stage canvas")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        assert page.evaluate(FOCUS_IS_SEEN), page.evaluate("document.activeElement.outerHTML")[:200]
    assert {"CANVAS", "old", "new", "show-pictures", "show-attention"} <= reached


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(390, 844), (640, 450)], ids=["a phone", "1,280 px at 200 % zoom"])
def test_nothing_is_wider_than_a_narrow_window(page: "Page", width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    show(page, LSCO)
    page.click("#doping-form button")
    page.wait_for_selector("#chart .curve")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_in_light_and_dark(browser: "Browser", address: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for page in opened(browser, address, color_scheme=scheme):
        background = pixels(page, "header")[1, 1].mean()
        assert background > 240 if scheme == "light" else background < 40
        results = [axe.run(page)]
        show(page, HYDRIDE)
        page.click("#doping-form button")
        page.click("#show-pictures")
        page.wait_for_selector("#chart .curve")
        page.wait_for_selector("canvas.sheet")
        for summary in page.locator("summary:visible").all():
            summary.click()
        results.append(axe.run(page))
        page.set_input_files("#files", [payload(f"{n}.cif", MGB2) for n in range(2)])
        says(page, "#batch-state", "2 predicted")
        results.append(axe.run(page))
        page.goto(f"{address}/static/api.html")
        page.wait_for_selector("#paths dt")
        results.append(axe.run(page))
        assert [violation["id"] for result in results for violation in result.response["violations"]] == []


@pytest.mark.slow
def test_the_answer_prints_on_one_sheet(page: "Page") -> None:
    show(page, LSCO)
    page.click("#doping-form button")
    page.wait_for_selector("#chart .curve")
    assert page.pdf(format="A4").count(b"/Type /Page\n") == 1


@pytest.mark.slow
def test_a_full_queue_is_waited_for(page: "Page") -> None:
    refused = {"left": 2}

    def answer(route: Any) -> None:
        if refused["left"]:
            refused["left"] -= 1
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"error": "the queue is full"})
        else:
            route.continue_()

    page.route("**/api/predict", answer)
    choose(page, MGB2)
    page.wait_for_selector("#tc .axis")
    assert refused["left"] == 0
    page.unroute("**/api/predict")

"""README's commands print what README says they print, and its links lead somewhere."""

import re
import shlex
import sys
from pathlib import Path

import pytest

import predict
from tc_common.cli import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def shown_runs(text: str) -> dict[str, list[str]]:
    """Every `$ command` of the indented blocks, with the lines below it."""
    runs: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("    $ "):
            lines = runs.setdefault(line.removeprefix("    $ "), [])
        elif line.startswith("    "):
            lines.append(line.removeprefix("    "))
        else:
            lines = []
    return runs


def differing(shown: list[str], printed: list[str]) -> list[str]:
    """Printed lines that differ from those shown by more than the last digit of a number."""
    if len(shown) != len(printed):
        return printed
    return [line for said, line in zip(shown, printed, strict=True) if not alike(said, line)]


def alike(said: str, line: str) -> bool:
    if NUMBER.sub("#", said).split() != NUMBER.sub("#", line).split():
        return False
    pairs = zip(NUMBER.findall(said), NUMBER.findall(line), strict=True)
    return all(abs(float(a) - float(b)) < 0.11 for a, b in pairs)


PREDICTIONS = [command for command in shown_runs(README) if command.startswith("python predict.py ")]


@pytest.mark.parametrize("command", PREDICTIONS)
def test_a_prediction_prints_what_the_readme_shows(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", shlex.split(command)[1:])
    run(predict.main)
    printed = capsys.readouterr().out.splitlines()
    wrong = differing(shown_runs(README)[command], printed)
    assert not wrong, "README shows another output; it is now:\n" + "\n".join(printed)


def test_the_readme_shows_three_runs_and_another_number_is_noticed() -> None:
    assert len(shown_runs(README)) == 3 and len(PREDICTIONS) == 2
    shown = shown_runs(README)[PREDICTIONS[0]]
    assert not differing(shown, shown)
    assert differing(shown, [line.replace("31.3", "31.5") for line in shown])
    assert differing(shown, shown[:-1]) and differing(shown, [*shown[:-1], "nearest: nothing"])


@pytest.mark.parametrize("document", ["README.md", "results/README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files_and_headings(document: str) -> None:
    path = ROOT / document
    links = LINK.findall(path.read_text(encoding="utf-8"))
    assert links
    for target, anchor in links:
        if not target.startswith("http"):
            found = (path.parent / target).resolve() if target else path
            assert found.exists(), target
            assert not anchor or anchor[1:] in anchors(found), f"{target}{anchor}"


def anchors(path: Path) -> set[str]:
    """Names that GitHub gives to the headings of a page."""
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

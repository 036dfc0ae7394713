"""`python -m comparison.published.check`: published results pass, one changed number fails and is named."""

import gzip
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comparison.published import check
from tc_common.cli import run
from tc_common.files import write_json
from tests.comparison.made import read_json
from tests.comparison.published import publish

ROOT = Path(__file__).parents[2]
Tamper = Callable[[Path], None]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("original"))


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def outcome(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit status, output and the error line."""
    monkeypatch.setattr(sys, "argv", ["python -m comparison.published.check", "--root", str(root)])
    try:
        run(check.main)
        status = 0
    except SystemExit as stop:
        status = int(str(stop.code))
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_what_was_published_passes(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, output, error = outcome(root, monkeypatch, capsys)
    assert (status, error) == (0, ""), output
    assert "all tables and 4 numbers in prose" in output


def test_the_project_itself_passes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    status, output, error = outcome(Path(), monkeypatch, capsys)
    assert (status, error) == (0, ""), output


def digit(file: str, pattern: str) -> Tamper:
    """Change the last digit of the number that the group of `pattern` matches first."""

    def tamper(root: Path) -> None:
        path = root / file
        packed = path.suffix == ".gz"
        text = gzip.decompress(path.read_bytes()).decode() if packed else path.read_text(encoding="utf-8")
        found = re.search(pattern, text)
        assert found, pattern
        end = found.end(1)
        text = text[: end - 1] + str((int(text[end - 1]) + 1) % 10) + text[end:]
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())

    return tamper


def field(file: str, *keys: Any) -> Tamper:
    """Add one thousandth to a number of a JSON file."""

    def tamper(root: Path) -> None:
        content = entry = read_json(root / file)
        for key in keys[:-1]:
            entry = entry[key]
        entry[keys[-1]] += 0.001
        write_json(root / file, content)

    return tamper


def replaced(file: str, old: str, new: str) -> Tamper:
    def tamper(root: Path) -> None:
        text = (root / file).read_text(encoding="utf-8")
        assert old in text
        (root / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return tamper


def without(file: str) -> Tamper:
    return lambda root: shutil.rmtree(root / file) if (root / file).is_dir() else (root / file).unlink()


ONE, KEPT, FOLDERS = "results/one", "results/kept", "results/folders"


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (digit(f"{ONE}/alignn_predictions.csv", r"(?m)^test-000,.*,-?(\d+)\."), "one/alignn_metrics.json: mae_K is"),
        (
            digit(f"{ONE}/alignn_val_predictions.csv", r"(?m)^val-000,.*,-?(\d+)\."),
            "alignn_metrics.json: val_mae_K is",
        ),
        (
            digit(f"{ONE}/ensemble_predictions.csv", r"(?m)^test-000,[^,]*,[^,]*,-?(\d+\.\d{3})"),
            "ensemble_predictions",
        ),
        (field(f"{ONE}/alignn_metrics.json", "rmse_K"), "one/alignn_metrics.json: rmse_K is"),
        (field(f"{ONE}/ensemble_metrics.json", "weights", "alignn"), "ensemble_metrics.json: weights/alignn is"),
        (
            field(f"{ONE}/comparison.json", "models", "alignn", "interval", "r2", 0),
            "one/comparison.json: models/alignn/interval/r2/0 is",
        ),
        (field(f"{ONE}/comparison.json", "differences", 0, "p_holm"), "p_holm is"),
        (digit(f"{ONE}/comparison.md", r"\| ALIGNN \| (\d+\.\d+)"), "one/comparison.md, line"),
        (digit(f"{ONE}/comparison_intervals.csv", r"(?m)^alignn,.*,(\d+\.\d{4})"), "comparison_intervals.csv: alignn"),
        (digit(f"{ONE}/splits.csv.gz", r"(?m)^train,.*?,.*?,(\d+\.\d+)"), "trained on other splits"),
        (digit(f"{KEPT}/runs_predictions.csv.gz", r"(?m)^seed_1,.*,-?(\d+)\."), "kept/runs.csv: seed_1, "),
        (field(f"{KEPT}/comparison.json", "models", "alignn", "mae_K", "sd"), "kept/comparison.json: models/alignn/"),
        (
            digit(f"{FOLDERS}/seed_2/alignn_predictions.csv", r"(?m)^test-0.*,-?(\d+)\."),
            "seed_2/alignn_metrics.json: ",
        ),
        (field(f"{FOLDERS}/comparison.json", "differences", 0, "interval_K", 1), "interval_K/1 is"),
        (digit("README.md", r"\| ALIGNN \| (\d+\.\d+)"), "README.md, table of results/one, line"),
        (digit("README.md", r"errs by (\d+\.\d+)"), "README.md: says .* in 'ALIGNN errs by .* gives"),
        (
            digit("README.md", r"\| ALIGNN \| \**\d+\.\d+\** \| \**(\d+\.\d+) ±"),
            "one and results/folders, l",
        ),
        (digit("results/README.md", r"\| ALIGNN \|.*\| \**(\d+\.\d+)\** \|"), "results/README.md, table of one, line"),
        (
            digit(f"{ONE}/alignn_literature_predictions.csv", r"(?m)^crystal-11,[^,]*,11.0,(\d+)\.0,"),
            "ensemble_literature_predictions.csv: crystal-11/tc_pred is",
        ),
        (
            replaced("results/README.md", "# Results", "# Results of 4 K"),
            "line 1: no claim covers 4",
        ),
        (without("results/README.md"), "results/README.md cannot be read"),
        (replaced("README.md", "ALIGNN; ", "ALIGNN by 19 %; "), "README.md, line 8: no claim covers 19 in "),
        (replaced("README.md", "ALIGNN; ", "ALIGNN within 1.5h; "), "no claim covers 1.5 in "),
        (replaced("README.md", "ALIGNN; ", "ALIGNN, R² < 0.5 and > 0.4; "), "no claim covers 0.5 in .*1 more"),
        (replaced("README.md", "ALIGNN errs", "The graph errs"), "is there nowhere"),
        (replaced("README.md", "ALIGNN; ", "ALIGNN (seed 7); "), "is there 2 times"),
        (replaced("results/claims.csv", ",mae_K,", ",mae_k,"), "alignn_metrics.json has nothing at 'mae_k'"),
        (without(f"{ONE}/alignn_predictions.csv"), "one/alignn_predictions.csv is missing"),
        (without(f"{ONE}/alignn_metrics.json"), "one/alignn_metrics.json is missing"),
        (without(f"{ONE}/splits.csv.gz"), "one/splits.csv.gz is missing"),
        (without(f"{ONE}/comparison.json"), "one/comparison.json cannot be read"),
        (without(f"{KEPT}/runs_predictions.csv.gz"), "kept/seed_1/.* is missing"),
        (without(f"{FOLDERS}/seed_2"), "folders/seed_2 is missing"),
        (without("results/claims.csv"), "claims.csv is missing"),
    ],
)
def test_one_change_fails_and_is_named(
    tamper: Tamper, named: str, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper(root)
    status, _, error = outcome(root, monkeypatch, capsys)
    assert status == 2
    assert re.search(named, error), error
    assert len(error.splitlines()) == 1 and error.startswith("error: ")


def test_a_comparison_of_an_earlier_version_is_refused_in_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / ONE / "comparison.json"
    path.write_text(path.read_text(encoding="utf-8").replace("nominal_coverage", "promised"), encoding="utf-8")
    status, _, error = outcome(root, monkeypatch, capsys)
    assert status == 2 and "one/comparison.json was written by an earlier version; make it again" in error
    assert len(error.splitlines()) == 1

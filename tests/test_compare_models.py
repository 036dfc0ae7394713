"""`python compare_models.py` from end to end."""

import subprocess
import sys
from pathlib import Path

import pytest

import compare_models
from tc_common.cli import run
from tc_common.predictions import read_predictions, write_predictions
from tests.comparison.made import make_results, read_json

ROOT = Path(__file__).parent.parent
QUICK = ("--resamples", "200")


def mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a wrong command line prints; run in this process, as starting one costs seconds."""
    monkeypatch.setattr(sys, "argv", ["compare_models.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        run(compare_models.main)
    printed = capsys.readouterr()
    assert stopped.value.code == 2 and printed.out == ""
    assert len(printed.err.splitlines()) == 1 and printed.err.startswith("error: ")
    return printed.err


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-W", "error", str(ROOT / "compare_models.py"), *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def test_one_folder_with_an_ensemble(tmp_path: Path) -> None:
    make_results(tmp_path, {"alignn": 3.0, "dinov3": 4.0})
    ran = command("--results-dir", tmp_path, "--data-dir", tmp_path / "splits", "--ensemble", *QUICK)
    assert (ran.returncode, ran.stderr) == (0, "")
    comparison = read_json(tmp_path / "comparison.json")
    assert set(comparison["models"]) == {"alignn", "dinov3", "ensemble"}
    for model in comparison["models"].values():
        assert f"{model['score']['mae_K']:.2f} [" in ran.stdout
    assert max(map(len, ran.stdout.split("wrote")[0].splitlines())) <= 100
    for line in ran.stdout.split("wrote ")[1].split():
        assert Path(line).is_file()
    assert not list(tmp_path.rglob("*.tmp"))


def test_several_runs_and_the_readme(tmp_path: Path) -> None:
    for seed in range(3):
        make_results(tmp_path / f"seed{seed}", {"alignn": 3.0, "dinov3": 4.0}, seed=seed)
    ran = command("--runs", tmp_path / "seed*", "--results-dir", tmp_path / "all")
    assert ran.returncode == 0, ran.stderr
    assert read_json(tmp_path / "all/comparison.json")["runs"] == 3
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    ran = command("--results-dir", tmp_path / "all", "--update-readme", readme)
    assert ran.returncode == 0 and "| ALIGNN |" in readme.read_text(), ran.stderr


def test_differing_materials_are_one_line_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_results(tmp_path, {"alignn": 3.0, "dinov3": 4.0})
    path = tmp_path / "dinov3_predictions.csv"
    write_predictions(path, read_predictions(path)[2:])
    assert "lacks test-000, test-001" in mistake(monkeypatch, capsys, "--results-dir", tmp_path)
    assert not (tmp_path / "comparison.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--results-dir", "nowhere"], "nowhere holds no <model>_predictions.csv"),
        (["--resamples", "5"], "--resamples must be at least 100"),
        (["--level", "2"], "--level must lie between"),
        (["--coverage", "0.1"], "--coverage must lie between"),
        (["--stacked-ridge"], "--stacked-ridge goes with --ensemble"),
        (["--equal-weights"], "--equal-weights goes with --ensemble"),
        (["--runs", "results/x*", "--ensemble"], "--ensemble does not go with --runs"),
        (["--runs", "nowhere*"], "matches 0 folders"),
        (["--mean-of", "nowhere*"], "--mean-of and --model go together"),
        (["--mean-of", "nowhere*", "--model", "alignn"], "matches 0 folders"),
        (["--mean-of", "nowhere*", "--model", "alignn", "--name", "../a"], "--name goes with --mean-of"),
        (["--resample", "500"], "--resamples"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in mistake(monkeypatch, capsys, *arguments)

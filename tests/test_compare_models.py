"""`python compare_models.py` from end to end."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import compare_models
from tc_common.cli import run
from tc_common.files import write_json
from tc_common.predictions import read_predictions, write_predictions
from tests.comparison.made import make_model, make_results, make_splits, read_json

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
    ran = command("runs", tmp_path / "seed*", "--results-dir", tmp_path / "all")
    assert ran.returncode == 0, ran.stderr
    assert read_json(tmp_path / "all/comparison.json")["runs"] == 3
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    ran = command("readme", readme, "--results-dir", tmp_path / "all")
    assert ran.returncode == 0 and "| ALIGNN |" in readme.read_text(), ran.stderr


def test_where_nothing_was_trained_the_published_comparison_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    said = mistake(monkeypatch, capsys, "--results-dir", tmp_path)
    assert "nothing was trained there yet; the published comparison is results/3dsc/stratified/comparison.md;" in said
    assert "python -m gat_pipeline.train" in said and (ROOT / "results/3dsc/stratified/comparison.md").is_file()
    make_results(tmp_path, {"alignn": 3.0})
    compare_models.require_models(tmp_path)


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
        (["--equal-weights"], "--equal-weights goes with --ensemble"),
        (["runs", "results/x*", "--ensemble"], "--ensemble"),
        (["runs", "nowhere*"], "matches 0 folders"),
        (["runs", "nowhere*", "--level", "2"], "--level must lie between"),
        (["mean", "nowhere*"], "--model"),
        (["mean", "nowhere*", "--model", "alignn"], "matches 0 folders"),
        (["mean", "nowhere*", "--model", "alignn", "--name", "../a"], "--name must be a letter, then"),
        (["mean", "nowhere*", "--model", "alignn", "--limit", "0"], "--limit must be at least 1"),
        (["readme", "nowhere.md"], "nowhere.md cannot be read"),
        (["medians", "x*"], "'medians' is no command of compare_models.py; take one of models, runs, mean, readme"),
        (["--resample", "500"], "--resamples"),
        (["--runs", "x*"], "--runs has become a command of its own: compare_models.py runs 'PATTERN'"),
        (["--mean-of=x*", "--model", "a"], "--mean-of has become a command of its own: compare_models.py mean"),
        (["--results-dir", "a", "--update-readme", "R"], "--update-readme has become .* compare_models.py readme"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(message, mistake(monkeypatch, capsys, *arguments))


def test_the_mean_of_trainings_is_one_model(tmp_path: Path) -> None:
    splits = make_splits(tmp_path / "splits")
    for seed in range(2):
        make_model(tmp_path / f"seed{seed}", "alignn", splits, 3.0, seed, seeds=[seed], init="random")
        write_json(tmp_path / f"seed{seed}/alignn_config.json", {"hidden": 64})
    flags = ("--model", "alignn", "--data-dir", tmp_path / "splits", "--results-dir", tmp_path / "mean")
    ran = command("mean", tmp_path / "seed*", *flags)
    assert ran.returncode == 0, ran.stderr
    metrics = read_json(tmp_path / "mean/alignn_metrics.json")
    assert metrics["seeds"] == [0, 1] and f"test MAE {metrics['mae_K']:.2f} K" in ran.stdout


def test_the_command_models_may_be_left_out() -> None:
    words = ["--level", "0.9", "--cluster", "chemical-system"]
    assert compare_models.parsed(words) == compare_models.parsed(["models", *words])
    assert compare_models.parsed([]) == compare_models.ModelsConfig()


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("tc_pred", "1e308", "tc_pred of test-003 is 1e[+]308, beyond 1e[+]06 K"),
        ("tc_std", "-1", "tc_std of test-003 is -1, below 0 K"),
        ("tc_lower", "99", "tc_lower of test-003 is 99, above its tc_upper"),
        ("formula", "Nb3Ge", "formula of test-003 is Nb3Ge, but FeSe in test.csv"),
    ],
)
def test_predictions_that_cannot_be_are_refused(
    column: str, value: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    make_results(tmp_path, {"alignn": 3.0})
    path = tmp_path / "alignn_predictions.csv"
    table = pd.read_csv(path, dtype=str).assign(tc_std="1", tc_lower="0", tc_upper="50")
    table.loc[3, column] = value
    table.to_csv(path, index=False)
    said = mistake(monkeypatch, capsys, "--results-dir", tmp_path, "--data-dir", tmp_path / "splits")
    assert re.search(f"alignn_predictions.csv: {named}; .*run the model again", said), said
    assert not (tmp_path / "comparison.json").exists()

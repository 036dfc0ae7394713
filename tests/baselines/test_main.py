"""`python -m baselines` from end to end, and on the whole of 3DSC where it lies at hand."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import baselines.__main__ as baselines_command
from baselines.run import run_baselines
from data.materials import materials_of
from data.prepare import PrepareConfig, materials_rows
from data.sources import open_source
from data.splitting import divide
from tc_common.cli import run
from tc_common.lock import lock_folder
from tc_common.splits import SPLITS
from tests.baselines.made import make_splits, write_labels

ROOT = Path(__file__).parents[2]


def mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a wrong command line prints; run in this process, as starting one costs seconds."""
    monkeypatch.setattr(sys, "argv", ["python -m baselines", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        run(baselines_command.main)
    printed = capsys.readouterr()
    assert stopped.value.code == 2 and printed.out == ""
    assert len(printed.err.splitlines()) == 1 and printed.err.startswith("error: ")
    return printed.err


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-W", "error", "-m", "baselines", *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def test_from_splits_to_files(tmp_path: Path) -> None:
    make_splits(tmp_path / "splits")
    ran = command("--data-dir", tmp_path / "splits", "--results-dir", tmp_path / "results", "--limit", 30)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line.split()[0] for line in ran.stdout.splitlines()[:5]] == [
        "median", "nearest_composition", "extra_trees", "extra_trees_median", "gradient_boosting"
    ]  # fmt: skip
    metrics = json.loads((tmp_path / "results/composition_metrics.json").read_text())
    assert metrics["model"] == "composition" and metrics["n"] == 30 and set(metrics["baselines"]) > {metrics["chosen"]}
    names = {path.name for path in (tmp_path / "results/baselines").iterdir()}
    assert names == {
        f"{model}_{ending}"
        for model in ("median", "nearest_composition", "extra_trees", "extra_trees_median", "gradient_boosting")
        for ending in ("predictions.csv", "val_predictions.csv", "metrics.json")
    }


def test_an_ascii_terminal_gets_its_lines_too(tmp_path: Path) -> None:
    make_splits(tmp_path / "splits", counts=(20, 10, 10))
    flags = ["--data-dir", str(tmp_path / "splits"), "--results-dir", str(tmp_path / "results")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(
        [sys.executable, "-m", "baselines", *flags],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == 6 and r"R\xb2" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data-dir", "nowhere"], "error: nowhere/train.csv is missing; make it with: python -m data.prepare"),
        (["--limit", "0"], "--limit must be at least 1"),
        (["--sead", "1"], "--sead"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert message in mistake(monkeypatch, capsys, *arguments, "--results-dir", tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_results_that_another_run_writes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_splits(tmp_path / "splits", counts=(20, 10, 10))
    flags = ("--data-dir", tmp_path / "splits", "--results-dir", tmp_path / "results")
    with lock_folder(tmp_path / "results", name="pair"):
        said = mistake(monkeypatch, capsys, *flags, "--pair")
    assert "pair in " in said and "is in use by another run" in said and not [*(tmp_path / "results").glob("*.csv")]


def test_extra_labels_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_labels(tmp_path / "splits")
    arguments = [
        "--data-dir",
        tmp_path / "splits",
        "--results-dir",
        tmp_path / "out",
        "--pair",
        "--extra-labels",
        labels,
    ]
    monkeypatch.setattr(sys, "argv", ["python -m baselines", *map(str, arguments)])
    run(baselines_command.main)
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"extra_trees", "pair", "pair_with_labels", "extra_trees_median_with_labels"} < set(rows)
    named = {path.name.removesuffix("_metrics.json") for path in (tmp_path / "out").glob("*_metrics.json")}
    assert named == {"composition", "pair", "pair_with_labels", "composition_with_labels"}
    with_labels, without = (
        json.loads((tmp_path / f"out/{name}_metrics.json").read_text(encoding="utf-8"))
        for name in ("composition_with_labels", "composition")
    )
    assert with_labels["extra_labels"] == 2 and with_labels["extra_labels_exclude"] == 0.05
    assert "extra_labels" not in without, "the bar is fitted on the split files alone"


def test_labels_of_other_splits_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_labels(tmp_path / "splits")
    make_splits(tmp_path / "others", counts=(20, 10, 10), seed=1)
    said = mistake(monkeypatch, capsys, "--data-dir", tmp_path / "others", "--extra-labels", labels)
    assert "other splits than" in said and "python -m data.supercon --splits" in said


def test_a_formula_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = make_splits(tmp_path / "splits", counts=(20, 10, 10))
    splits["test"].assign(formula="Xy2").to_csv(tmp_path / "splits/test.csv", index=False)
    said = mistake(monkeypatch, capsys, "--data-dir", tmp_path / "splits", "--results-dir", tmp_path / "results")
    assert "'Xy2' is no chemical formula" in said


@pytest.fixture(scope="module")
def splits_3dsc(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    data = os.environ.get("SUPERVISION_DATA")
    archive = Path(data or "", "3dsc/3DSC_MP.tar.gz")
    if not data or not archive.exists():
        pytest.skip("SUPERVISION_DATA names no folder with 3dsc/3DSC_MP.tar.gz")
    flags = PrepareConfig(source=str(archive), unpack_dir=tmp_path_factory.mktemp("unpacked"))
    rows = materials_rows(open_source(flags.source, flags.unpack_dir, None, None), flags)
    materials = materials_of(rows)
    names = divide(materials, "stratified", 42)
    return {name: materials[names == name].reset_index(drop=True) for name in SPLITS}


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the archive's 10,904 structures are read first
def test_3dsc_is_predicted_to_about_three_kelvin_within_a_minute(splits_3dsc: dict[str, pd.DataFrame]) -> None:
    started = time.process_time()
    outcome = run_baselines(splits_3dsc, seed=42)
    assert time.process_time() - started < 120, "60 s on two cores"
    assert outcome["extra_trees"]["metrics"]["mae_K"] < 3.4
    assert outcome["extra_trees"]["metrics"]["r2"] > 0.7


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the archive's 10,904 structures are read first
def test_3dsc_with_shuffled_labels_teaches_nothing(splits_3dsc: dict[str, pd.DataFrame]) -> None:
    random = np.random.default_rng(0)
    shuffled = {name: table.assign(tc=random.permutation(table["tc"])) for name, table in splits_3dsc.items()}
    for name, entry in run_baselines(shuffled, seed=1).items():
        assert entry["metrics"]["skill"] <= 0.02, name

"""The search's command line on both pipelines, with crystals of the shipped sample."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import tuning.__main__ as tuning_command
from tc_common.errors import UserError
from tests.dinov3_pipeline.conftest import Rendered, rendered  # noqa: F401 - a fixture
from tests.gat_pipeline.tables import write_small_splits

ROOT = Path(__file__).parents[2]


def words_of(line: str) -> list[str]:
    return line.split()


def gat_words(folder: Path, epochs: int) -> list[str]:
    """The tiniest ALIGNN on the split files in `folder`."""
    sizes = words_of("--init random --hidden 8 --alignn-layers 1 --gcn-layers 1 --device cpu --precision fp32")
    return [*sizes, "--data-dir", f"{folder}/p", "--cache-dir", f"{folder}/c", "--epochs", str(epochs)]


def lines(folder: Path, name: str) -> tuple[pd.DataFrame, dict[str, object]]:
    table = pd.read_csv(folder / f"{name}_trials.csv", keep_default_na=False)
    return table, json.loads((folder / f"{name}_best.json").read_text(encoding="utf-8"))


def test_gat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_small_splits(tmp_path / "p")
    words = gat_words(tmp_path, epochs=1)
    tuning_command.main(["--pipeline", "gat", "--trials", "2", "--out", str(tmp_path / "o"), "--", *words])
    table, best = lines(tmp_path / "o", "gat")
    assert table["state"].tolist() == ["complete", "complete"] and table["epochs"].tolist() == [1, 1]
    assert best["val_mae_K"] == table["val_mae_K"].min()
    row = table.loc[table["val_mae_K"].idxmin()]
    command = str(best["command"])
    assert command.startswith("python -m gat_pipeline.train --init random --hidden 8")
    assert f"--lr-head {row['lr_head']!r}".replace("np.float64(", "").rstrip(")") in command
    assert f"train it with: {command}" in capsys.readouterr().out
    assert len(list((tmp_path / "c").glob("*.npz"))) == 2, "graphs of train and val, built once; none of test"


def test_vision(rendered: Rendered, tmp_path: Path) -> None:  # noqa: F811
    folders = ["--data-dir", str(rendered.data_dir), "--images-dir", str(rendered.images_dir)]
    network = words_of("--init random --backbone test_vit --image-size 32 --device cpu --precision fp32 --epochs 1")
    words = [*folders, *network, "--cache-dir", str(tmp_path / "c")]
    tuning_command.main(["--pipeline", "vision", "--trials", "2", "--out", str(tmp_path), "--name", "v", "--", *words])
    table, best = lines(tmp_path, "v")
    assert table["state"].tolist() == ["complete", "complete"]
    assert {"lr", "lora_rank", "lora_alpha", "lora_dropout", "head_dropout", "views_per_epoch"} <= set(table)
    assert best["val_mae_K"] == table["val_mae_K"].min()


def test_a_signal_ends_it_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_small_splits(tmp_path / "p")
    out = tmp_path / "o"
    own = ["--pipeline", "gat", "--trials", "1", "--out", str(out), "--search", "lr_head"]
    command = [sys.executable, "-m", "tuning", *own, "--", *gat_words(tmp_path, epochs=12), "--patience", "9999"]
    search = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not (out / "gat.trials" / "1" / "alignn_history.csv").exists():
        assert time.monotonic() < deadline and search.poll() is None, "no epoch comes"
        time.sleep(0.02)
    search.terminate()
    asked = time.monotonic()
    _, said = search.communicate(timeout=60)
    assert search.returncode == 143 and "stopped by signal 15" in said, said
    assert time.monotonic() - asked < 30
    assert not (out / "gat_trials.csv").exists()
    tuning_command.main(command[3:])
    table, _ = lines(out, "gat")
    assert table[["number", "state", "epochs"]].to_numpy().tolist() == [[1, "complete", 12]]


def test_a_mistake_is_one_line() -> None:
    command = [sys.executable, "-m", "tuning", "--trials", "3"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 2 and len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith("error: ") and "--pipeline" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--pipeline gat --trials 0", "--trials must be at least 1, got 0"),
        ("--pipeline gat --name ../x", "--name must be letters, digits"),
        ("--pipeline gat --startup-trials 0", "--startup-trials must be at least 1"),
        ("--pipeline trees", "trees"),
        ("--pipeline gat --trails 3", "did you mean --trials"),
        ("--pipeline gat -- --epochs 0", "--epochs must be at least 1"),
        ("--pipeline vision -- --lora-rang 3", "did you mean --lora-rank"),
    ],
)
def test_a_wrong_flag_is_refused(arguments: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        tuning_command.main(arguments.split())

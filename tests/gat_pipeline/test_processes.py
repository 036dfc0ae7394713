"""Two processes train the graph network as one does, batch normalisation included, and stop together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from tc_common.checkpoints import load_checkpoint
from tests.gat_pipeline.tables import write_small_splits

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]
ALONE = [sys.executable]
TWO = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
TWO += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
SETTINGS = """--init random --hidden 16 --alignn-layers 2 --gcn-layers 1 --batch-size 3 --grad-accumulation 2
    --epochs 3 --lr-head 1e-3 --schedule onecycle --structures one --augment-structure.strain 0.02
    --augment-structure.displacement-A 0.02 --device cpu --precision fp32"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    write_small_splits(folder, train=22, val=5, test=4)
    return folder


def started(launcher: list[str], data: Path, out: Path) -> subprocess.Popen[str]:
    folders = {"data": data, "models": out / "m", "results": out / "r", "cache": data / "c"}
    command = [*launcher, "-m", "gat_pipeline.train", *SETTINGS.split()]
    command += [part for name, folder in folders.items() for part in (f"--{name}-dir", str(folder))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=REPO, env=environment, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def train(launcher: list[str], data: Path, out: Path) -> pd.DataFrame:
    process = started(launcher, data, out)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return pd.read_csv(out / "r" / "alignn_history.csv")


def weights(out: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_checkpoint(out / "m" / "alignn_last.pth")["model_state_dict"]
    return found


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    train(ALONE, data, out)
    return out


def assert_same_training(one: Path, other: Path) -> None:
    histories = [pd.read_csv(out / "r" / "alignn_history.csv") for out in (one, other)]
    for column in ("train_loss", "val_loss"):
        assert np.abs(histories[0][column] - histories[1][column]).max() < 1e-5, column
    for name, value in weights(one).items():
        assert torch.allclose(value.double(), weights(other)[name].double(), atol=1e-4), name
    predictions = [pd.read_csv(out / "r" / "alignn_predictions.csv") for out in (one, other)]
    pd.testing.assert_frame_equal(*predictions, atol=1e-3, rtol=0)


def test_two_processes_train_like_one(data: Path, alone: Path, tmp_path: Path) -> None:
    train(TWO, data, tmp_path)
    assert_same_training(alone, tmp_path)


def test_a_signal_stops_both_and_they_go_on_together(data: Path, alone: Path, tmp_path: Path) -> None:
    process = started(TWO, data, tmp_path)
    history = tmp_path / "r" / "alignn_history.csv"
    for _ in range(1200):
        if history.exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode != 0 and not (tmp_path / "r" / "alignn_predictions.csv").exists()
    train(TWO, data, tmp_path)
    assert_same_training(alone, tmp_path)

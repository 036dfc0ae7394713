"""Several processes and a compiled backbone compute what one plain process computes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from tc_common.checkpoints import load_checkpoint
from tests.dinov3_pipeline.conftest import Rendered
from tests.dinov3_pipeline.networks import batch, tiny_model

REPO = Path(__file__).parents[2]
ALONE = [sys.executable]
TWO = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
TWO += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]


def train(launcher: list[str], rendered: Rendered, out: Path, tune: str) -> pd.DataFrame:
    flags = (
        f"--init random --backbone test_vit --image-size 32 --epochs 2 --lora-dropout 0 --head-dropout 0 --tune {tune}"
    )
    folders = {"data": rendered.data_dir, "images": rendered.images_dir, "models": out / "m", "results": out / "r"}
    command = [*launcher, "-m", "dinov3_pipeline.train", *flags.split(), "--device", "cpu", "--precision", "fp32"]
    command += [part for name, folder in folders.items() for part in (f"--{name}-dir", str(folder))]
    command += ["--cache-dir", str(out / "c"), "--lr", "1e-3", *(["--views-per-epoch", "3"] if tune != "head" else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return pd.read_csv(out / "r" / "dinov3_history.csv")


@pytest.mark.slow
@pytest.mark.parametrize("tune", ["lora", "head", "full"])
def test_two_processes_train_like_one(tune: str, rendered: Rendered, tmp_path: Path) -> None:
    one = train(ALONE, rendered, tmp_path / "one", tune)
    two = train(TWO, rendered, tmp_path / "two", tune)
    assert np.abs(one["train_loss"] - two["train_loss"]).max() < 1e-5
    assert np.abs(one["val_loss"] - two["val_loss"]).max() < 1e-5
    weights = [load_checkpoint(tmp_path / run / "m" / "dino_last.pth")["model_state_dict"] for run in ("one", "two")]
    for name, value in weights[0].items():
        assert not isinstance(value, Tensor) or torch.allclose(value, weights[1][name], atol=1e-5), name
    predictions = [pd.read_csv(tmp_path / run / "r" / "dinov3_predictions.csv") for run in ("one", "two")]
    pd.testing.assert_frame_equal(*predictions, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_a_compiled_backbone_computes_and_saves_the_same() -> None:
    plain, compiled = tiny_model().eval(), tiny_model().eval()
    compiled.backbone.compile()
    with torch.inference_mode():
        assert torch.allclose(plain(batch()), compiled(batch()), atol=1e-4)
    assert plain.state_dict().keys() == compiled.state_dict().keys()

"""The monitor rescues a real training that allocates without end, and its result is that of an undisturbed run."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dinov3_pipeline.render.jobs import material_rows, render_material
from dinov3_pipeline.render.options import record_options, write_index
from tc_common.checkpoints import load_checkpoint
from tc_common.splits import write_splits
from tests.dinov3_pipeline.conftest import OPTIONS, sample_splits

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FLAGS = shlex.split(
    "--init random --backbone test_vit --image-size 32 --tune full --batch-size 8 --epochs 3 --views-per-epoch 2 "
    "--lora-dropout 0 --head-dropout 0 --precision fp32 --device cpu --num-workers 0"
)
# An epoch shows 32 images and validates on 72: 520 MB stay behind; the whole run would pile up 1560 MB.
LEAK_MB = 5
ACT_AFTER_MB, LIMIT_AFTER_MB = 600, 1000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags that name split files and images of 16 + 4 + 4 materials."""
    folder, splits = tmp_path_factory.mktemp("data"), sample_splits()
    for name in splits:
        (folder / "i" / name).mkdir(parents=True)
    write_splits(folder / "p", splits)
    record_options(folder / "i", OPTIONS)
    rows = material_rows(splits, folder / "i")
    for row in rows:
        render_material(row, OPTIONS)
    write_index(folder / "i", splits, {(row.split, row.material_id) for row in rows}, OPTIONS)
    names = {"--data-dir": "p", "--images-dir": "i", "--cache-dir": "c"}
    return [word for flag, name in names.items() for word in (flag, str(folder / name))]


def train(folder: Path, data: list[str], leak_MB: int, *monitor: str) -> str:
    """Run the leaking trainer, under the monitor if it gets options; returns what was said."""
    trainer = [sys.executable, "-m", "tests.monitor.leaking_vision", *FLAGS, *data]
    own = ["--models-dir", str(folder / "m"), "--results-dir", str(folder / "r")]
    environment = {**os.environ, "LEAK_MB": str(leak_MB), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [*monitor, *trainer, *own], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stderr


@pytest.mark.timeout(1800)
def test_a_training_that_allocates_without_end_is_rescued_before_the_limit(data: list[str], tmp_path: Path) -> None:
    train(tmp_path / "whole", data, 0)
    usual_MB = json.loads((tmp_path / "whole" / "r" / "dinov3_metrics.json").read_text())["peak_memory_MB"]
    act_MB, limit_MB = usual_MB + ACT_AFTER_MB, usual_MB + LIMIT_AFTER_MB
    log = tmp_path / "monitor.jsonl"
    options = ["--max-rss-MB", f"{act_MB:.0f}", "--interval-seconds", "0.2", "--no-keep-awake", "--log-file", str(log)]
    said = train(tmp_path / "saved", data, LEAK_MB, sys.executable, "monitor_and_optimize.py", *options, "--")
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    cuts = [entry["message"] for entry in entries if entry["event"] == "halve"]
    assert cuts and cuts[0].startswith("batch 8 x 1 becomes batch 4 x 2"), said
    assert max(entry["rss_MB"] for entry in entries if entry["event"] == "sample") < limit_MB
    same_results(tmp_path / "whole", tmp_path / "saved")
    print(f"{cuts}; at most {max(e['rss_MB'] for e in entries if e['event'] == 'sample'):.0f} of {limit_MB:.0f} MB")


def same_results(whole: Path, saved: Path) -> None:
    ours, theirs = (load_checkpoint(folder / "m" / "dino_last.pth") for folder in (saved, whole))
    weights, expected = ours["model_state_dict"], theirs["model_state_dict"]
    worst = max(float((weights[name] - expected[name]).abs().max()) for name in weights if name != "_extra_state")
    assert worst < 1e-5
    assert ours["total_steps"] == theirs["total_steps"] == 12
    read = [pd.read_csv(folder / "r" / "dinov3_predictions.csv") for folder in (saved, whole)]
    assert (read[0]["tc_pred"] - read[1]["tc_pred"]).abs().max() < 1e-3

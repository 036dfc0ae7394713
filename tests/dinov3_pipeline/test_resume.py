"""The vision pipeline, stopped and started again, ends with the very bits of an undisturbed run."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dinov3_pipeline.train import VisionConfig, main
from tc_common import task
from tc_common.checkpoints import load_checkpoint
from tests.dinov3_pipeline.conftest import Rendered
from tests.dinov3_pipeline.networks import SIZE, TINY
from tests.tc_common.runs import creep_MB, same_end, stop_after_steps

pytestmark = pytest.mark.slow

EPOCHS, STEPS, RATE = 8, 4, 0.3  # 16 materials, 2 views each, in groups of 8
POINTS = {
    "first batch": 1, "inside the first epoch": 2, "inside the second epoch": 6, "inside the last epoch": 31,
    "epoch end": 8,
}  # fmt: skip
AFTER_THE_DROP = "after the rate fell"


def config(rendered: Rendered, folder: Path, **changes: Any) -> VisionConfig:
    data: dict[str, Any] = {
        "data_dir": rendered.data_dir,
        "images_dir": rendered.images_dir,
        "cache_dir": folder / "c",
    }
    network: dict[str, Any] = {
        "backbone": TINY,
        "image_size": SIZE,
        "init": "random",
        "views_per_epoch": 2,
        "lora_rank": 4,
    }
    # a rate that overshoots, so that validation stalls and the plateau schedule (patience 0, below) halves it
    rates: dict[str, Any] = {
        "lr": RATE,
        "target": "standardized",
        "schedule": "plateau",
        "epochs": EPOCHS,
        "batch_size": 4,
    }
    folders: dict[str, Any] = {"models_dir": folder / "m", "results_dir": folder / "r"}
    return VisionConfig(device="cpu", grad_accumulation=2, **data, **network, **rates, **folders, **changes)


@pytest.fixture(scope="module", autouse=True)
def impatient_plateau() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "PLATEAU_PATIENCE", 0)
        yield


@pytest.fixture(scope="module")
def undisturbed(impatient_plateau: None, rendered: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vision")
    main(config(rendered, folder))
    return folder


def step_after_the_drop(folder: Path) -> int:
    """Second step of the first epoch with a lower rate."""
    history = load_checkpoint(folder / "m" / "dino_last.pth")["history"]
    return STEPS * next(row["epoch"] - 1 for row in history if row["lr"] < RATE) + 2


@pytest.mark.parametrize("point", [*POINTS, AFTER_THE_DROP])
def test_resume_is_exact(point: str, rendered: Rendered, undisturbed: Path, tmp_path: Path) -> None:
    settings = config(rendered, tmp_path)
    stop_after_steps(POINTS.get(point) or step_after_the_drop(undisturbed), lambda: main(settings))
    main(settings)
    assert same_end(undisturbed, tmp_path, "dino", "dinov3") == []


def test_memory_does_not_creep(rendered: Rendered, tmp_path: Path) -> None:
    settings = replace(config(rendered, tmp_path), epochs=75, patience=99, lr=1e-4)
    creep = creep_MB(partial(main, settings), warm_up=100)
    assert creep < 1.0
    print(f"{creep:.2f} MB in 100 steps")

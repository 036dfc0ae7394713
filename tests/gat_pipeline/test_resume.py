"""The graph pipeline, stopped and started again, ends with the very bits of an undisturbed run."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gat_pipeline.train import GraphTrainConfig, main
from tc_common import task
from tc_common.checkpoints import load_checkpoint
from tests.gat_pipeline.tables import write_small_splits
from tests.tc_common.runs import creep_MB, same_end, stop_after_steps

pytestmark = pytest.mark.slow

EPOCHS, STEPS, RATE = 8, 5, 0.02  # 20 crystals in batches of 4
POINTS = {
    "first batch": 1, "inside the first epoch": 3, "inside the second epoch": 7, "inside the last epoch": 36,
    "epoch end": 10,
}  # fmt: skip
AFTER_THE_DROP = "after the rate fell"


def config(data: Path, folder: Path, **changes: Any) -> GraphTrainConfig:
    sizes: dict[str, Any] = {
        "hidden": 16,
        "alignn_layers": 2,
        "gcn_layers": 1,
        "batch_size": 2,
        "grad_accumulation": 2,
    }
    folders: dict[str, Any] = {"models_dir": folder / "m", "results_dir": folder / "r"}
    # a rate that overshoots, so that validation stalls and the plateau schedule (patience 0, below) halves it
    rates: dict[str, Any] = {
        "init": "random",
        "lr_head": RATE,
        "target": "standardized",
        "epochs": EPOCHS,
    }
    return GraphTrainConfig(
        data_dir=data / "p", cache_dir=data / "c", device="cpu", **sizes, **folders, **rates, **changes
    )


@pytest.fixture(scope="module", autouse=True)
def impatient_plateau() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "PLATEAU_PATIENCE", 0)
        yield


@pytest.fixture(scope="module")
def undisturbed(impatient_plateau: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("graphs")
    write_small_splits(data / "p", train=4 * STEPS, val=5, test=4)
    main(config(data, data))
    return data


def step_after_the_drop(folder: Path) -> int:
    """Second step of the first epoch with a lower rate."""
    history = load_checkpoint(folder / "m" / "alignn_last.pth")["history"]
    return STEPS * next(row["epoch"] - 1 for row in history if row["lr"] < RATE) + 2


@pytest.mark.parametrize("point", [*POINTS, AFTER_THE_DROP])
def test_resume_is_exact(point: str, undisturbed: Path, tmp_path: Path) -> None:
    settings = config(undisturbed, tmp_path)
    stop_after_steps(POINTS.get(point) or step_after_the_drop(undisturbed), lambda: main(settings))
    main(settings)
    assert same_end(undisturbed, tmp_path, "alignn", "alignn") == []


@pytest.mark.timeout(900)
def test_memory_does_not_creep(undisturbed: Path, tmp_path: Path) -> None:
    """Over 1000 steps: once in about 800 the allocator gives some megabytes back, and fetches them again in 300."""
    settings = replace(config(undisturbed, tmp_path), epochs=240, patience=999, lr_head=1e-3)
    creep = creep_MB(partial(main, settings), warm_up=200, steps=1000)
    assert creep < 1.0
    print(f"{creep:.2f} MB in 100 steps")

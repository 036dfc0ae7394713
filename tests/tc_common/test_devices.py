"""Where a run computes, and that several processes compute what one does."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tc_common.devices import find_device, place, to_device
from tc_common.errors import UserError
from tc_common.runs import run_training
from tests.tc_common.runs import checkpoint, start_toy
from tests.tc_common.toy import toy_config, toy_task


def test_a_device_that_is_not_there_is_a_users_error() -> None:
    with pytest.raises(UserError, match="--device tpu is not available on this machine; use auto or one of: .*cpu"):
        place("tpu", "fp32")
    assert place("cpu", "fp32").device.type == "cpu"
    with pytest.raises(UserError, match="--device tpu:1 is not available"):
        find_device("tpu:1")
    assert place("cpu", "bf16").bf16 and not place("cpu", "fp32").bf16


def test_a_device_is_found_without_accelerate_and_is_the_one_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_device("auto").type == place("auto", "fp32").device.type
    assert find_device("cpu") == torch.device("cpu")
    monkeypatch.setitem(sys.modules, "accelerate", None)  # as where the extra `study` is absent
    assert find_device("cpu").type == "cpu"
    with pytest.raises(ImportError):
        place("cpu", "fp32")


def test_tensors_move_and_the_rest_stays() -> None:
    moved = to_device({"x": torch.ones(2), "material_id": ["a"]}, torch.device("meta"))
    assert moved["x"].device.type == "meta" and moved["material_id"] == ["a"]


def run_together(folder: Path, world: int, **settings: Any) -> None:
    """Run the toy's command line in `world` processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "localhost", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]
    processes = [start_toy(folder, {**shared, **rank}, **settings) for rank in ranks]
    try:
        said = [process.communicate(timeout=120)[1] for process in processes]
        assert [process.returncode for process in processes] == [0] * world, said
    finally:
        for process in processes:
            process.kill()


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    # batches of 3 of 40 samples: unequal shares, and one process without a sample in the last batch
    settings: dict[str, Any] = {"batch_size": 1, "grad_accumulation": 3, "dropout": 0.0, "epochs": 2}
    run_together(tmp_path / "two", 2, **settings)
    alone = toy_config(tmp_path / "one", **settings)
    run_training(toy_task(alone), alone)
    one, two = checkpoint(alone), checkpoint(toy_config(tmp_path / "two"))
    assert len(two["rng_state"]) == 2
    for name, weight in one["model_state_dict"].items():
        assert torch.allclose(weight, two["model_state_dict"][name], rtol=1e-5, atol=1e-6), name
    for ours, theirs in zip(one["history"], two["history"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    read = [(tmp_path / name / "results" / "toy_predictions.csv").read_text().splitlines() for name in ("one", "two")]
    assert len(read[0]) == len(read[1]) == 6

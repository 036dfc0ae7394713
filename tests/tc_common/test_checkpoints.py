"""Checkpoints: whole or not at all, read without running anything, frozen weights named instead of repeated."""

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tc_common import checkpoints
from tc_common.checkpoints import (
    frozen_identity,
    load_checkpoint,
    load_weights,
    random_state,
    remove_stale,
    restore_random_state,
    save_checkpoint,
)
from tc_common.errors import UserError
from tc_common.runs import run_training
from tests.tc_common.runs import after_step, checkpoint, differences, run_interrupted
from tests.tc_common.toy import ToyConfig, ToyModel, toy_config, toy_task

CONTENT: dict[str, Any] = {
    "epoch": 3,
    "model_state_dict": {"weight": torch.arange(1000.0)},
    "optimizer_state_dict": {},
    "scheduler_state_dict": {},
    "rng_state": [],
    "val_loss": 0.5,
}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.pth"
    save_checkpoint(path, CONTENT)
    assert differences(load_checkpoint(path), CONTENT) == []
    assert [file.name for file in path.parent.iterdir()] == ["x.pth"]


def test_a_disk_that_returns_other_bytes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.pth"
    save_checkpoint(path, CONTENT)
    before = path.read_bytes()

    def flip_a_bit(written: Path) -> None:
        content = bytearray(written.read_bytes())
        content[len(content) // 2] ^= 1
        written.write_bytes(content)

    monkeypatch.setattr(checkpoints, "_forget_cached", flip_a_bit)
    with pytest.raises(UserError, match="other bytes than were written"):
        save_checkpoint(path, {**CONTENT, "epoch": 4})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.pth"]


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from tc_common.checkpoints import save_checkpoint
from tc_common.cli import run
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
run(lambda: save_checkpoint(Path(sys.argv[1]), {"weight": torch.ones(10_000_000)}))
"""


def test_a_full_disk_is_one_line_and_the_old_checkpoint_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    save_checkpoint(path, CONTENT)
    ran = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr == f"error: cannot write {path}: File too large; free space or pick another folder\n"
    assert load_checkpoint(path)["epoch"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["x.pth"]


def test_a_folder_that_cannot_be_written_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*x.pth"):
        save_checkpoint(tmp_path / "file" / "x.pth", CONTENT)


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_needs_code_is_refused_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({**CONTENT, "extra": Malicious(tmp_path / "made")}, path)
    with pytest.raises(UserError, match=r"x\.pth is refused: .*mkdir"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Malicious(tmp_path / "made"), protocol=2))
    with pytest.raises(UserError, match=r"x\.pth is refused"):
        load_checkpoint(path)
    assert not (tmp_path / "made").exists()


def test_missing_foreign_and_cut_files_are_users_errors(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(UserError, match="is missing; train first"):
        load_checkpoint(path)
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(tmp_path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(UserError, match="lacks model_state_dict"):
        load_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="no checkpoint of this project"):
        load_checkpoint(path)


@pytest.mark.parametrize("seed", range(4))
def test_no_damage_crashes_the_reader(seed: int, tmp_path: Path) -> None:
    """Cut or with random bytes overwritten, a file is refused or, where only a number changed, still loads."""
    path, draw = tmp_path / "x.pth", np.random.default_rng(seed)
    config = toy_config(tmp_path)
    save_checkpoint(path, {**CONTENT, "model_state_dict": ToyModel(config).state_dict()})
    whole, refused = path.read_bytes(), 0
    for _ in range(60):
        damaged = bytearray(whole[: int(draw.integers(len(whole)))] if draw.random() < 0.5 else whole)
        for place in draw.integers(len(damaged), size=8) if damaged else ():
            damaged[place] = draw.integers(256)
        path.write_bytes(damaged)
        try:
            load_checkpoint(path)
        except UserError:
            refused += 1
    assert refused > 30


def test_left_over_temporary_files_are_removed_and_no_others(tmp_path: Path) -> None:
    for name in (".toy_last.pth.17.tmp", ".toy_history.csv.9.tmp", ".dino_last.pth.17.tmp", "toy.tmp", "toy_last.pth"):
        (tmp_path / name).write_text("")
    remove_stale(tmp_path, "toy")
    assert sorted(file.name for file in tmp_path.iterdir()) == [".dino_last.pth.17.tmp", "toy.tmp", "toy_last.pth"]


def draw() -> tuple[float, float, float]:
    return float(torch.rand(1)), random.random(), float(np.random.rand())  # noqa: NPY002


def test_random_states_come_back() -> None:
    state = random_state()
    first = draw()
    assert draw() != first
    restore_random_state(state)
    assert draw() == first


class HalfFrozen(ToyModel):
    """The toy with a first layer that never changes."""

    def __init__(self, config: ToyConfig, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__(config)
        nn.init.ones_(self.get_parameter("layers.3.weight"))
        self.layers[0].requires_grad_(False)

    @property
    def frozen(self) -> list[str]:
        return ["layers.0.weight", "layers.0.bias"]


def half_frozen(config: ToyConfig, seed: int = 0) -> Any:
    model = HalfFrozen(config, seed)
    task = toy_task(config, model)
    task.frozen = model.frozen
    return task


def test_frozen_weights_are_named_not_repeated(tmp_path: Path) -> None:
    config, twin = toy_config(tmp_path / "a"), toy_config(tmp_path / "b")
    run_interrupted(half_frozen, config, after_step(13))
    content = checkpoint(config)
    assert sorted(content["model_state_dict"]) == ["layers.3.bias", "layers.3.weight", "target.mean", "target.std"]
    assert content["frozen"] == frozen_identity(HalfFrozen(config), HalfFrozen(config).frozen)
    run_training(half_frozen(config), config)
    run_training(half_frozen(twin), twin)
    assert differences(checkpoint(config), checkpoint(twin)) == []


def test_other_frozen_weights_are_refused(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    run_interrupted(half_frozen, config, after_step(13))
    content, path = load_checkpoint(config.models_dir / "toy_last.pth"), Path("toy_last.pth")
    other = HalfFrozen(config, seed=1)
    with pytest.raises(UserError, match="other frozen weights"):
        load_weights(other, content, path)
    same = HalfFrozen(config)
    load_weights(same, content, path)
    assert torch.equal(same.state_dict()["layers.3.weight"], content["model_state_dict"]["layers.3.weight"])


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "type"])
def test_weights_that_do_not_fit_are_a_users_error(change: str, tmp_path: Path) -> None:
    model = ToyModel(toy_config(tmp_path))
    weights: dict[str, Any] = dict(model.state_dict())
    if change == "missing":
        del weights["target.mean"]
    elif change == "unknown":
        weights["more"] = torch.ones(1)
    else:
        weights["layers.0.bias"] = torch.ones(3) if change == "shape" else "text"
    with pytest.raises(UserError, match="x.pth does not fit this model"):
        load_weights(model, {"model_state_dict": weights}, Path("x.pth"))

"""Checkpoints that somebody edited: whatever key is gone or of another type, resuming refuses with one line."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tc_common import checkpoints
from tc_common.checkpoints import load_checkpoint, save_checkpoint
from tc_common.devices import Placement
from tc_common.errors import UserError
from tc_common.runs import Run, run_training
from tc_common.signals import StopRequest
from tc_common.training import Trainer
from tests.tc_common.runs import after_step, run_interrupted
from tests.tc_common.toy import ToyConfig, toy_config, toy_task

Edit = Callable[[dict[str, Any]], object]
# What does not decide how a run continues: where it came from and how long it took.
UNNEEDED = {"init", "versions", "frozen", "config", "learned", "unaugmented"}


def stop_early(folder: Path, schedule: Any) -> ToyConfig:
    """A run that was stopped in its second epoch."""
    config = toy_config(folder, schedule=schedule)
    run_interrupted(toy_task, config, after_step(14))
    return config


@pytest.fixture(scope="module")
def cosine(tmp_path_factory: pytest.TempPathFactory) -> ToyConfig:
    return stop_early(tmp_path_factory.mktemp("stopped"), "cosine")


@pytest.fixture(params=["cosine", "plateau", "onecycle", "constant"])
def stopped(request: pytest.FixtureRequest, tmp_path: Path) -> ToyConfig:
    return stop_early(tmp_path, request.param)


def put(content: dict[str, Any], *keys_and_value: Any) -> None:
    *keys, last, value = keys_and_value
    for key in keys:
        content = content[key]
    content[last] = value


def remove(content: dict[str, Any], *keys: Any) -> None:
    *above, last = keys
    for key in above:
        content = content[key]
    del content[last]


# By hand, so that a person sees what is meant; the sweep below goes through every key.
EDITS: dict[str, tuple[Edit, str]] = {
    "epoch a string": (lambda c: put(c, "epoch", "1"), "epoch is '1', no int"),
    "epoch a truth value": (lambda c: put(c, "epoch", True), "epoch is True, no int"),
    "epoch negative": (lambda c: put(c, "epoch", -1), "is negative"),
    "step none": (lambda c: put(c, "step", None), "step is None, no int"),
    "step beyond the epoch": (lambda c: put(c, "step", 999), "step is 999, of 10 in an epoch"),
    "val_loss NaN": (lambda c: put(c, "val_loss", float("nan")), "val_loss is nan, no float"),
    "best_val_mae a list": (lambda c: put(c, "best_val_mae", []), r"best_val_mae is \[\], no float"),
    "history a dict": (lambda c: put(c, "history", {}), "history is no list"),
    "history of strings": (lambda c: put(c, "history", ["x"]), "history is no list of epochs"),
    "history with a string": (lambda c: put(c, "history", 0, "val_mae_K", "x"), "history is no list of epochs"),
    "history cut": (lambda c: put(c, "history", []), "history has 0 epochs, not 1"),
    "weights a list": (lambda c: put(c, "model_state_dict", []), "model_state_dict is a list, no dict"),
    "weights of integers": (
        lambda c: put(c, "model_state_dict", "layers.0.bias", torch.ones(16, dtype=torch.int64)), "holds torch.int64",
    ),
    "optimiser none": (lambda c: put(c, "optimizer_state_dict", None), "optimizer_state_dict is a NoneType, no dict"),
    "no groups": (lambda c: put(c, "optimizer_state_dict", "param_groups", []), "param_groups has 0 entries, not 1"),
    "rate a string": (lambda c: put(c, "optimizer_state_dict", "param_groups", 0, "lr", "1e-3"), "lr is '1e-3'"),
    "no rate": (lambda c: remove(c, "optimizer_state_dict", "param_groups", 0, "lr"), "lacks lr"),
    "betas a number": (lambda c: put(c, "optimizer_state_dict", "param_groups", 0, "betas", 0.9), "betas is a float"),
    "moments of another shape": (
        lambda c: put(c, "optimizer_state_dict", "state", 0, "exp_avg", torch.ones(3)), r"has the shape \(3,\)",
    ),
    "moments gone": (lambda c: remove(c, "optimizer_state_dict", "state", 0, "exp_avg_sq"), "lacks exp_avg_sq"),
    "state of no parameter": (lambda c: put(c, "optimizer_state_dict", "state", 99, {}), "belongs to no parameter"),
    "schedule a list": (lambda c: put(c, "scheduler_state_dict", []), "scheduler_state_dict is a list, no dict"),
    "schedule of strings": (lambda c: put(c, "scheduler_state_dict", "last_epoch", "3"), "last_epoch is '3', no int"),
    "random states a dict": (lambda c: put(c, "rng_state", {}), "rng_state is no list"),
    "random state a number": (lambda c: put(c, "rng_state", [3]), "rng_state is a int, no dict"),
    "torch's state short": (lambda c: put(c, "rng_state", 0, "torch", torch.ones(3).byte()), "torch has the shape"),
    "torch's state nonsense": (
        lambda c: put(c, "rng_state", 0, "torch", torch.zeros_like(c["rng_state"][0]["torch"])), "no state of its",
    ),
    "Python's state a list": (lambda c: put(c, "rng_state", 0, "python", [3]), "python is a list, no tuple"),
    "numpy's state gone": (lambda c: remove(c, "rng_state", 0, "numpy"), "rng_state lacks numpy"),
    "identity a list": (lambda c: put(c, "identity", [1]), "identity is a list, no dict"),
    "samples no JSON": (lambda c: put(c, "identity", "samples", "{x"), "what its samples were made with"),
    "config a string": (lambda c: put(c, "config", "x"), "config is a str, no dict"),
    "learned a text": (lambda c: put(c, "learned", "x"), "learned is a str, no list"),
    "versions a list": (lambda c: put(c, "versions", [1]), "versions is a list, no dict"),
    "frozen a list": (lambda c: put(c, "frozen", []), "frozen is a list, no dict"),
    "frozen digest a number": (lambda c: put(c, "frozen", "sha256", 3), "sha256 is 3, no str"),
}  # fmt: skip


def resume(config: ToyConfig, edit: Edit, tmp_path: Path) -> None:
    """Continue a copy of a stopped run after `edit` was applied to its checkpoint."""
    content = load_checkpoint(config.models_dir / "toy_last.pth")
    edit(content)
    edited = toy_config(tmp_path, schedule=config.schedule, resume="force")
    save_checkpoint(edited.models_dir / "toy_last.pth", content)
    run_training(toy_task(edited), edited)


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_checkpoint_is_refused_with_the_place(name: str, cosine: ToyConfig, tmp_path: Path) -> None:
    edit, said = EDITS[name]
    with pytest.raises(UserError, match=said) as error:
        resume(cosine, edit, tmp_path)
    assert "toy_last.pth" in str(error.value) and "\n" not in str(error.value)


def test_without_an_edit_it_continues(cosine: ToyConfig, tmp_path: Path) -> None:
    resume(cosine, lambda content: None, tmp_path)
    assert load_checkpoint(tmp_path / "models" / "toy_last.pth")["epoch"] == 3


def places(value: Any, *above: Any) -> list[tuple[Any, ...]]:
    """Every key of a nested content."""
    if isinstance(value, dict):
        inner = [(key, item) for key, item in value.items()]
    elif isinstance(value, list) and len(value) < 10:
        inner = list(enumerate(value))
    else:
        return []
    return [place for key, item in inner for place in [(*above, key), *places(item, *above, key)]]


def is_unneeded(place: tuple[Any, ...]) -> bool:
    """What a run continues without: records, torch's own keys, moments of a parameter that has not moved yet."""
    return place[0] in UNNEEDED or str(place[-1]).startswith("_") or (place[1:2] == ("state",) and len(place) == 3)


OTHER_TYPES: tuple[Any, ...] = ("x", [], None, 2.5, True, torch.ones(2))


def accepted(config: ToyConfig, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a run goes on from this content, to its end; the checks are tried without the disk."""
    monkeypatch.setattr(checkpoints, "load_torch", lambda *_: content)
    trainer = Trainer(toy_task(config), config, Placement(torch.device("cpu"), bf16=False), StopRequest())
    try:
        Run(trainer.task, config, trainer).restore()
    except UserError as error:
        assert "\n" not in str(error)
        return False
    trainer.fit(lambda kind: None)
    return True


def test_no_key_that_is_needed_can_be_taken_away(stopped: ToyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(stopped, resume="force")
    whole = load_checkpoint(config.models_dir / "toy_last.pth")
    needed = [place for place in places(whole) if not is_unneeded(place) and place[0] != "identity"]
    for place in needed:
        content = copy.deepcopy(whole)
        remove(content, *place)
        assert not accepted(config, content, monkeypatch), place
    assert len(needed) > 40


def test_no_value_of_another_type_ends_in_a_traceback(stopped: ToyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(stopped, resume="force")
    whole = load_checkpoint(config.models_dir / "toy_last.pth")
    parts = None if stopped.schedule == "cosine" else ("scheduler_state_dict",)  # else nothing differs
    texts = []
    for place in [place for place in places(whole) if parts is None or place[0] in parts]:
        for value in OTHER_TYPES:
            content = copy.deepcopy(whole)
            put(content, *place, value)
            if accepted(config, content, monkeypatch) and isinstance(value, str):
                texts.append(place)
    assert [place for place in texts if not is_unneeded(place) and place[0] != "identity"] == []

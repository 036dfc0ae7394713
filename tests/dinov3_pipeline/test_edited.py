"""Edited checkpoints of the vision pipeline: what is gone or of another type is refused when the model is loaded."""

import copy
from typing import Any

import pytest
import torch

from dinov3_pipeline.model import load_model
from tc_common import checkpoints
from tc_common.checkpoints import load_checkpoint
from tc_common.errors import UserError
from tests.dinov3_pipeline.networks import batch, save_whole

OTHERS: tuple[Any, ...] = (None, "x", 2.5, [], {}, True, torch.ones(2))
NEEDED = ("backbone", "image_size", "tune", "target", "head_dropout", "lora_rank", "lora_alpha", "lora_targets")
CHOSEN = ("patch_size", "width", "depth", "heads", "pool", "fourier_features")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("whole") / "m.pth"
    save_whole(path)
    return load_checkpoint(path)


def loads(content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a model comes of this content, and predicts."""
    monkeypatch.setattr(checkpoints, "load_torch", lambda *_: copy.copy(content))
    try:
        model = load_model("m.pth")
    except UserError as error:
        assert "m.pth" in str(error) and "\n" not in str(error)
        return False
    with torch.inference_mode():
        model(batch(2))
    return True


def test_without_an_edit_it_loads(whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert loads(whole, monkeypatch)


@pytest.mark.parametrize("key", NEEDED)
def test_a_setting_that_is_needed_keeps_its_type(
    key: str, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    without = {name: value for name, value in whole["config"].items() if name != key}
    assert not loads({**whole, "config": without}, monkeypatch)
    others: tuple[Any, ...] = (None, {}, True, torch.ones(2), float("nan"))
    for other in others:
        assert not loads({**whole, "config": {**whole["config"], key: other}}, monkeypatch), other


def test_no_other_type_ends_in_a_traceback(whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (*NEEDED, *CHOSEN, "lora_dropout", "init"):
        for other in OTHERS:
            loads({**whole, "config": {**whole["config"], key: other}}, monkeypatch)
    for key in ("config", "init", "frozen", "model_state_dict"):
        loads({name: value for name, value in whole.items() if name != key}, monkeypatch)
        for other in OTHERS:
            assert other in ("x", {}) or other is None or not loads({**whole, key: other}, monkeypatch), (key, other)


def test_no_weight_can_be_of_another_type(whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    weights = whole["model_state_dict"]
    for key in (*list(weights)[::9], "target.mean", "_extra_state"):
        for other in OTHERS:
            assert not loads({**whole, "model_state_dict": {**weights, key: other}}, monkeypatch), (key, other)


def test_no_render_option_of_another_type_is_taken(whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    weights = whole["model_state_dict"]
    options = weights["_extra_state"]["render_options"]
    others: tuple[Any, ...] = ("x", {}, torch.ones(2), float("nan"))
    for key in options:
        for other in others:
            state = {"render_options": {**options, key: other}, "rounded": False}
            assert not loads({**whole, "model_state_dict": {**weights, "_extra_state": state}}, monkeypatch), key

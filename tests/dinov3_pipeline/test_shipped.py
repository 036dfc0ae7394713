"""The vision model that is shipped: the same network again, or a refusal."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dinov3_pipeline.shipped import load_shipped, write_shipped
from tc_common.errors import UserError
from tc_common.files import sha256, write_json
from tests.dinov3_pipeline.networks import UNIT_CELLS, noise, save_whole


def ship(folder: Path) -> Path:
    """Weights and card in `folder`."""
    path = folder / "dinov3.safetensors"
    facts = write_shipped(folder / "dino_best.pth", path)
    write_json(path.with_suffix(".json"), {**facts, "sha256": sha256(path)})
    return path


@pytest.mark.parametrize("shape", [{}, {"patch_size": 8, "depth": 2, "color_waves": 16}])
def test_the_network_comes_back_with_its_pictures(tmp_path: Path, shape: dict[str, Any]) -> None:
    model = save_whole(tmp_path / "dino_best.pth", **shape)
    back = load_shipped(ship(tmp_path))
    assert back.render_options == UNIT_CELLS and not back.training
    with torch.inference_mode():
        ours, theirs = back({"images": noise()}), model({"images": noise()})
    assert torch.allclose(ours, theirs, atol=5e-3) and not torch.equal(ours, theirs), "half precision, no more"


def test_pretrained_networks_are_not_shipped(tmp_path: Path) -> None:
    save_whole(tmp_path / "dino_best.pth", init="pretrained:vit@0123")
    with pytest.raises(UserError, match="only networks trained from --init random"):
        ship(tmp_path)


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    save_whole(tmp_path / "dino_best.pth")
    path = ship(tmp_path)
    tensors = load_file(path)
    save_file({**tensors, "std": tensors["std"] * 2}, path)
    with pytest.raises(UserError, match="is not the file that its card describes"):
        load_shipped(path)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("network", {}),
        ("network", {"backbone": "vit_tiny_patch16_224"}),
        ("network", {"target": "celsius"}),
        ("network", {"backbone": "hf-hub:stranger/model"}),
        ("pictures", {"supercells": ["1x1x1"], "command": "rm"}),
    ],
)
def test_a_card_that_does_not_fit_is_refused(tmp_path: Path, part: str, value: dict) -> None:
    save_whole(tmp_path / "dino_best.pth")
    path = ship(tmp_path)
    card = json.loads(path.with_suffix(".json").read_text())
    write_json(path.with_suffix(".json"), {**card, part: {**card[part], **value} if value else {}})
    with pytest.raises(UserError):
        load_shipped(path)

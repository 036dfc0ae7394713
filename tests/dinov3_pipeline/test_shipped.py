"""The vision model that is shipped: the same network again, or a refusal."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dinov3_pipeline.model import count_parameters, load_model, write_shipped
from tc_common.errors import UserError
from tc_common.files import sha256, write_json
from tests.dinov3_pipeline.networks import UNIT_CELLS, noise, save_whole

SHIPPED = Path(__file__).parents[2] / "models" / "3dsc" / "dinov3.safetensors"


def ship(folder: Path) -> Path:
    """Weights and card in `folder`."""
    path = folder / "dinov3.safetensors"
    facts = write_shipped(folder / "dino_best.pth", path)
    write_json(path.with_suffix(".json"), {**facts, "sha256": sha256(path)})
    return path


@pytest.mark.parametrize("shape", [{}, {"patch_size": 8, "depth": 2, "fourier_features": 16}])
def test_the_network_comes_back_with_its_images(tmp_path: Path, shape: dict[str, Any]) -> None:
    model = save_whole(tmp_path / "dino_best.pth", **shape)
    back = load_model(ship(tmp_path))
    assert back.render_options == UNIT_CELLS and not back.training
    with torch.inference_mode():
        ours, theirs = back({"images": noise()}), model({"images": noise()})
    assert torch.allclose(ours, theirs, atol=5e-3) and not torch.equal(ours, theirs), "half precision, no more"


def test_pretrained_networks_are_not_shipped(tmp_path: Path) -> None:
    save_whole(tmp_path / "dino_best.pth", init="pretrained:vit@0123")
    with pytest.raises(UserError, match="only networks that began as random or crystals"):
        ship(tmp_path)


def test_networks_that_began_with_the_crystals_are_shipped(tmp_path: Path) -> None:
    save_whole(tmp_path / "dino_best.pth", init="pretrained:dino_crystals@0123")
    assert load_model(ship(tmp_path)).image_size == 32


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    save_whole(tmp_path / "dino_best.pth")
    path = ship(tmp_path)
    tensors = load_file(path)
    save_file({**tensors, "std": tensors["std"] * 2}, path)
    with pytest.raises(UserError, match="is not the file that its card describes"):
        load_model(path)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("network", {}),
        ("network", {"backbone": "vit_tiny_patch16_224"}),
        ("network", {"target": "celsius"}),
        ("network", {"backbone": "hf-hub:unknown/model"}),
        ("render_options", {"supercells": ["1x1x1"], "command": "rm"}),
    ],
)
def test_a_card_that_does_not_fit_is_refused(tmp_path: Path, part: str, value: dict) -> None:
    save_whole(tmp_path / "dino_best.pth")
    path = ship(tmp_path)
    card = json.loads(path.with_suffix(".json").read_text())
    write_json(path.with_suffix(".json"), {**card, part: {**card[part], **value} if value else {}})
    with pytest.raises(UserError):
        load_model(path)


def as_of_old(settings: dict[str, Any]) -> dict[str, Any]:
    """The same settings as they were written before Fourier features had their name and two options went."""
    renamed = {"color_waves" if name == "fourier_features" else name: value for name, value in settings.items()}
    return {**renamed, "lora_rank_stabilised": False, "lora_dora": False}


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_files_of_before_the_renaming_load(tmp_path: Path, ending: str) -> None:
    model = save_whole(tmp_path / "dino_best.pth", patch_size=8, fourier_features=16)
    path = ship(tmp_path) if ending == ".safetensors" else tmp_path / "dino_best.pth"
    content = torch.load(tmp_path / "dino_best.pth", weights_only=True)
    torch.save({**content, "config": as_of_old(content["config"])}, tmp_path / "dino_best.pth")
    if ending == ".safetensors":
        card = json.loads(path.with_suffix(".json").read_text())
        write_json(path.with_suffix(".json"), {**card, "network": as_of_old(card["network"])})
    back = load_model(path)
    assert back.backbone.get_submodule("patch_embed.proj.0").get_buffer("directions").shape == (16, 3, 1, 1)
    with torch.inference_mode():
        assert torch.allclose(back({"images": noise()}), model({"images": noise()}), atol=5e-3)


@pytest.mark.parametrize("name", ["lora_rank_stabilised", "lora_dora"])
def test_a_network_of_a_removed_kind_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "dino_best.pth"
    save_whole(path)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "config": {**content["config"], name: True}}, path)
    with pytest.raises(UserError, match=f"{name} = True, which no longer exists") as refused:
        load_model(path)
    assert "\n" not in str(refused.value)


def test_the_committed_vision_network_loads() -> None:
    model = load_model(SHIPPED)
    assert (model.image_size, count_parameters(model)[1]) == (32, 2_269_825)
    assert model.init == f"file:dinov3.safetensors@{sha256(SHIPPED)[:12]}"

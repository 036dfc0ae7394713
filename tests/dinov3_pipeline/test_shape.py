"""A random start may be smaller than the published network: its size, its way back from a checkpoint, its refusals."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dinov3_pipeline.backbones import FourierFeatures, Shape, build, create_backbone
from dinov3_pipeline.model import count_parameters, create_dino_model, load_model
from dinov3_pipeline.train import VisionConfig, main
from tc_common.checkpoints import load_checkpoint, save_checkpoint
from tc_common.cli import parse
from tc_common.errors import UserError
from tc_common.predictions import read_predictions
from tests.dinov3_pipeline.conftest import Rendered
from tests.dinov3_pipeline.networks import SIZE, noise

DINO = "vit_small_patch16_dinov3"
SMALL = Shape(patch_size=8, width=48, depth=2, heads=3)
FLAGS = ["--init", "random", "--patch-size", "8", "--width", "48", "--depth", "2", "--heads", "3"]
FEW_FEATURES = ["--fourier-features", "4"]


def test_the_size_is_what_the_flags_say() -> None:
    vit, origin = create_backbone(DINO, SIZE, "random", SMALL)
    tokens = vit.get_submodule("patch_embed")(torch.zeros(1, 3, SIZE, SIZE)).flatten(1, -2)
    assert (origin, tokens.shape[1:], len(vit.get_submodule("blocks"))) == ("random", (16, 48), 2)  # type: ignore[arg-type]
    width, patch = 48, 3 * 8 * 8
    # two norms with scale and shift, qkv without a bias, its projection, an MLP of four widths, two layer scales
    block = 4 * width + 3 * width**2 + (width**2 + width) + (8 * width**2 + 5 * width) + 2 * width
    outside = (patch * width + width) + 5 * width + 2 * width  # patches, class and 4 register tokens, last norm
    assert sum(p.numel() for p in vit.parameters()) == 2 * block + outside


def test_nothing_chosen_is_the_published_network() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build(DINO, 64).parameters()) == 21_586_944


def test_average_pooling_forgets_where_the_class_token_remembers() -> None:
    """Without blocks that mix tokens the mean is the same for patches in any order; the class token sees none."""
    images = noise(1).float() / 255
    moved = torch.roll(images, SIZE // 2, dims=3)
    for pool, sees in (("avg", True), ("token", False)):
        vit, _ = create_backbone(DINO, SIZE, "random", Shape(patch_size=8, pool=pool))  # type: ignore[arg-type]
        vit.blocks = torch.nn.ModuleList()
        with torch.inference_mode():
            here, there, black = (vit.eval()(pixels) for pixels in (images, moved, torch.zeros_like(images)))
        assert torch.allclose(here, there, atol=1e-5)
        assert torch.equal(here, black) != sees


def test_a_run_is_rebuilt_from_its_checkpoint_and_predicts_the_same(rendered: Rendered, tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("models_dir", "results_dir", "cache_dir")}
    config = parse(VisionConfig, prog="train", description="", args=[*FLAGS, *FEW_FEATURES, "--backbone", DINO])
    settings: dict[str, Any] = {**vars(config), **folders, "tune": "full", "image_size": SIZE, "epochs": 1}
    settings |= {"data_dir": rendered.data_dir, "images_dir": rendered.images_dir, "precision": "fp32"}
    main(VisionConfig(**settings))
    path = folders["models_dir"] / "dino_best.pth"
    model = load_model(path)
    expected = create_dino_model(
        backbone=DINO, image_size=SIZE, tune="full", init="random", shape=replace(SMALL, fourier_features=4)
    )
    assert count_parameters(model) == count_parameters(expected)
    assert model.backbone.get_submodule("patch_embed.proj.1").in_channels == 3 + 4
    predicted = read_predictions(folders["results_dir"] / "dinov3_predictions.csv")
    for row, cif in zip(predicted.itertuples(), rendered.splits["test"]["cif"], strict=True):
        assert model.predict(cif) == pytest.approx(row.tc_pred, abs=1e-4)


@pytest.mark.parametrize("change", [{"width": 60}, {"depth": 3}, {"patch_size": 16}, {"patch_size": None}])
def test_a_checkpoint_of_another_shape_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    model = create_dino_model(backbone=DINO, image_size=SIZE, tune="full", init="random", shape=SMALL)
    config = parse(VisionConfig, prog="train", description="", args=[*FLAGS, "--backbone", DINO, "--tune", "full"])
    content = {"model_state_dict": model.state_dict(), "init": "random"}
    unused = {"epoch": 1, "optimizer_state_dict": {}, "scheduler_state_dict": {}, "val_loss": 0.0, "rng_state": []}
    settings = {**config.plain(), "image_size": SIZE, "target": "kelvin"}
    save_checkpoint(tmp_path / "same.pth", {**content, **unused, "config": settings})
    assert load_checkpoint(tmp_path / "same.pth")["config"]["width"] == 48
    assert torch.equal(load_model(tmp_path / "same.pth").features(noise()), model.eval().features(noise()))
    save_checkpoint(tmp_path / "m.pth", {**content, **unused, "config": {**settings, **change}})
    with pytest.raises(UserError, match="m.pth does not fit this model"):
        load_model(tmp_path / "m.pth")


def test_weights_of_the_published_shape_fit_no_other() -> None:
    with pytest.raises(UserError, match="pretrained brings weights of the published shape; --patch-size, --width, "):
        create_backbone(DINO, SIZE, "pretrained", Shape(pool="token"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--patch-size", "8"],
            "--fourier-features need --init random: --init pretrained has the published shape",
        ),
        (["--init", "weights.pth", "--depth", "4"], "need --init random: --init weights.pth"),
        (["--init", "random", "--width", "64"], "--width and --heads go together"),
        (["--init", "random", "--width", "64", "--heads", "3"], "--width 64: a multiple of 4 x --heads, 12"),
        (["--fourier-features", "8"], "--fourier-features need --init random"),
        (["--init", "random", "--fourier-features", "0"], "--fourier-features must be from 1 to 5120, got 0"),
        (["--init", "random", "--depth", "0"], "--depth must be from 1 to 5120, got 0"),
        (["--init", "random", "--depth", "1000"], "--depth must be at most 64, got 1000"),
        (["--init", "random", "--width", "4000000", "--heads", "1"], "--width must be from 1 to 5120, got 4000000"),
        (["--init", "random", "--pool", "max"], "max"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(flags: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(VisionConfig, prog="train", description="", args=flags)


def test_a_patch_that_does_not_divide_the_image_is_named() -> None:
    with pytest.raises(UserError, match=f"--image-size {SIZE} is no multiple of the patch of {DINO}, 12 pixels"):
        create_backbone(DINO, SIZE, "random", Shape(patch_size=12))


def flat(color: tuple[int, int, int]) -> torch.Tensor:
    """An image (1, 3, 2, 2) of one colour, as the network sees it."""
    return torch.tensor(color).view(1, 3, 1, 1).expand(1, 3, 2, 2) / 255 / 0.25


def test_fourier_features_keep_black_at_zero_and_the_pixel_as_it_is() -> None:
    waves = FourierFeatures(64)
    assert torch.equal(waves(flat((0, 0, 0))), torch.zeros(1, 67, 2, 2))
    pixel = flat((230, 234, 107))
    assert torch.equal(waves(pixel)[:, :3], pixel)


def test_fourier_features_tell_neighbouring_elements_apart_as_well_as_distant_ones() -> None:
    """Ni and Cu are 26 levels of red and 21 of green apart; as plain colours that is a tenth of the way to black."""
    waves = FourierFeatures(2000)
    nickel, copper, black = (waves(flat(color)) for color in ((204, 213, 111), (230, 234, 107), (0, 0, 0)))

    def apart(one: torch.Tensor, other: torch.Tensor, channels: slice) -> float:
        return float((one - other)[:, channels].norm())

    plain, waved = slice(0, 3), slice(3, None)
    assert apart(nickel, copper, plain) < 0.11 * apart(black, copper, plain)
    assert apart(nickel, copper, waved) > 0.8 * apart(black, copper, waved)


def test_fourier_features_are_exact_in_bf16_too() -> None:
    waves, pixel = FourierFeatures(64), flat((204, 213, 111))
    exact = waves(pixel)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(waves(pixel), exact)

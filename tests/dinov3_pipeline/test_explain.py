"""Attributions add up to what they explain, and land on the atoms that the pixels show."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from pymatgen.core import Structure
from torch import Tensor

from dinov3_pipeline.attribution import (
    BACKGROUND,
    BOND,
    attention_rollout,
    by_site,
    converged_gradients,
    integrated_gradients,
    site_maps,
)
from dinov3_pipeline.backbones import Shape
from dinov3_pipeline.explain import ExplainConfig, attribution_table, backbone_before, main
from dinov3_pipeline.model import DinoTcModel, as_images, load_model
from dinov3_pipeline.render.atoms import site_color
from dinov3_pipeline.render.options import RenderOptions
from dinov3_pipeline.render.rendering import views
from dinov3_pipeline.train import VisionConfig
from dinov3_pipeline.train import main as train
from tc_common.cli import parse
from tc_common.crystals import read_crystal
from tc_common.errors import UserError
from tests.dinov3_pipeline.conftest import Rendered
from tests.dinov3_pipeline.crystals import cuprate, rock_salt
from tests.dinov3_pipeline.networks import SIZE, noise, tiny_model

ROOT = Path(__file__).parents[2]
OPTIONS = RenderOptions(image_size=64, supercells=("1x1x1", "2x2x1"), random_views=1)


def awake(model: DinoTcModel) -> DinoTcModel:
    """A head that answers strongly, so that sums are not lost in rounding."""
    torch.nn.init.normal_(model.head.get_parameter("6.weight"), std=3.0, generator=torch.Generator().manual_seed(0))
    return model.eval()


@pytest.mark.parametrize("tune", ["lora", "head"])
def test_gradients_add_up_to_the_prediction_less_that_of_black(tune: str) -> None:
    model, images = awake(tiny_model(tune=tune)), noise(3)
    added_K = integrated_gradients(model, images, steps=64, batch_size=16)
    with torch.inference_mode():
        seen, black = model({"images": images}), model({"images": torch.zeros_like(images)})
    assert added_K.shape == (3, SIZE, SIZE)
    assert (seen - black).abs().min() > 0.01
    assert added_K.sum((1, 2)) == pytest.approx((seen - black).numpy(), rel=0.02)
    assert model.tune == tune


def test_steps_double_until_the_sum_is_right_and_not_beyond() -> None:
    """Along Fourier features the prediction swings: few steps miss more than many."""
    torch.manual_seed(0)
    model, images = awake(tiny_model(shape=Shape(fourier_features=32))), noise(1)
    few, gap_of_few_K = converged_gradients(model, images, 16, 64)
    many, gap_of_many_K = converged_gradients(model, images, 1024, 64)
    with torch.inference_mode():
        explained_K = float(model({"images": images}) - model({"images": torch.zeros_like(images)}))
    assert gap_of_few_K == pytest.approx(abs(float(few.sum()) - explained_K), abs=0.01)
    assert gap_of_few_K > 2 * gap_of_many_K and many.sum() == pytest.approx(explained_K, rel=0.06)
    smooth = awake(tiny_model())
    assert converged_gradients(smooth, noise(1), 256, 16)[0] == pytest.approx(
        integrated_gradients(smooth, noise(1), 32, 16), abs=1e-6
    )


def test_black_pixels_add_nothing() -> None:
    images = noise(2)
    images[:, :, :, :16] = 0
    added_K = integrated_gradients(awake(tiny_model()), images, steps=4, batch_size=4)
    assert (added_K[:, :, :16] == 0).all()
    assert (added_K[:, :, 16:] != 0).all()


def rolled_by_hand(model: DinoTcModel, images: Tensor) -> NDArray[np.float64]:
    """Rollout of the class token, one image and one head at a time, from the layers' own weights."""
    backbone, result = model.backbone, []
    for image in images:
        x = (image[None].float() - model.mean) / model.std
        x = backbone._pos_embed(backbone.patch_embed(x))  # type: ignore[operator]
        row = np.eye(x.shape[1])
        for block in backbone.blocks:  # type: ignore[union-attr]
            normed = block.norm1(x)
            q, k, _ = block.attn.qkv(normed).reshape(x.shape[1], 3, block.attn.num_heads, -1).unbind(1)
            q, k = block.attn.q_norm(q), block.attn.k_norm(k)
            heads = [torch.softmax(q[:, h] @ k[:, h].T / q.shape[-1] ** 0.5, -1) for h in range(block.attn.num_heads)]
            row = (0.5 * torch.stack(heads).mean(0).numpy() + 0.5 * np.eye(x.shape[1])) @ row
            x = block(x)
        result.append(row[0, 1:] / row[0, 1:].sum())
    return np.array(result)


@torch.inference_mode()
def test_rollout_is_the_product_of_attention_and_identity() -> None:
    model, images = tiny_model().eval(), noise(2)
    maps = attention_rollout(model, images)
    assert maps.sum((1, 2)) == pytest.approx(1)
    patches = maps.reshape(2, 2, 16, 2, 16).sum((2, 4)).reshape(2, 4)
    assert patches == pytest.approx(rolled_by_hand(model, images), abs=1e-6)


def test_rollout_leaves_the_attention_kernel_as_it_was() -> None:
    model, images = tiny_model().eval(), noise(1)
    before = [module.fused_attn for module in model.modules() if hasattr(module, "fused_attn")]
    attention_rollout(model, images)
    assert [module.fused_attn for module in model.modules() if hasattr(module, "fused_attn")] == before
    assert not any(module._forward_hooks for module in model.modules())


def test_dinov3_rolls_out_over_its_patches() -> None:
    model = tiny_model(backbone="vit_small_patch16_dinov3").eval()
    assert attention_rollout(model, noise(1)).shape == (1, SIZE, SIZE)


@pytest.mark.parametrize("structure", [rock_salt(), cuprate(0.15)], ids=["NaCl", "LSCO"])
def test_every_pixel_is_named_after_the_atom_that_colours_it(structure: Structure) -> None:
    images = views(structure, options=OPTIONS)
    sites = site_maps(structure, OPTIONS, OPTIONS.image_size)
    for number, site in enumerate(structure):
        colour = site_color({element.symbol: share for element, share in site.species.items()})
        assert (sites == number).any(), "seen in some view"
        assert (images[sites == number] == colour).all()
    assert (images[sites == BOND] == 80).all()
    assert (images[sites == BACKGROUND] == 0).all()


def test_dimming_by_depth_does_not_change_who_is_where() -> None:
    plain, dimmed = (site_maps(rock_salt(), replace(OPTIONS, depth_cue=cue), 64) for cue in (False, True))
    assert np.array_equal(plain, dimmed)


def test_sums_by_site_lose_nothing() -> None:
    sites = np.array([[[0, 0, 2], [BOND, BACKGROUND, 2]]])
    values = np.array([[[1, 2, 4], [8, 16, 32]]], np.float32)
    assert by_site(values, sites, 3).tolist() == [3, 0, 36, 8, 16]


def test_the_table_shares_out_everything() -> None:
    structure, model = cuprate(0.15), awake(tiny_model())
    model.render_options = OPTIONS
    images = as_images(views(structure, options=OPTIONS), SIZE)
    added_K = integrated_gradients(model, images, steps=32, batch_size=16)
    table = attribution_table(structure, model, attention_rollout(model, images), added_K)
    assert table["element"].tolist()[-3:] == [structure[-1].species_string, "bonds", "background"]
    assert table["attention_fraction"].sum() == pytest.approx(1)
    assert table["gradient_fraction"].sum() == pytest.approx(1)
    assert table["gradient_K"].sum() == pytest.approx(added_K.sum((1, 2)).mean(), abs=1e-5)
    like_atoms = table.groupby("element")["gradient_fraction"].sum()
    assert like_atoms["bonds"] + like_atoms["background"] < 0.9


def test_the_shipped_network_is_explained(tmp_path: Path) -> None:
    cif, shipped = ROOT / "data/sample/cifs/MgB2-AlB2.cif", ROOT / "models/3dsc/dinov3.safetensors"
    flags = [str(cif), "--checkpoint", str(shipped), "--out", str(tmp_path), "--steps", "2"]
    main(parse(ExplainConfig, prog="explain", description="", args=flags))
    table = pd.read_csv(tmp_path / "MgB2-AlB2_atoms.csv")
    assert table["element"].tolist() == ["Mg", "B", "B", "bonds", "background"]
    assert table["attention_fraction"].sum() == pytest.approx(1)
    sheet = cv2.imread(str(tmp_path / "MgB2-AlB2_views.png"))
    assert sheet is not None and sheet.shape == (6 * 224, 3 * 224, 3)
    image = cv2.resize(sheet[:224, :224], (32, 32), interpolation=cv2.INTER_NEAREST)[..., ::-1]
    model_options = load_model(shipped).render_options
    assert np.array_equal(image, views(read_crystal(cif), options=model_options)[0])


def flags_of(settings: dict[str, object]) -> list[str]:
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def test_the_command_writes_a_table_and_an_image(
    rendered: Rendered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {"models_dir": tmp_path / "m", "results_dir": tmp_path / "r", "cache_dir": tmp_path / "c"}
    data = {"data_dir": rendered.data_dir, "images_dir": rendered.images_dir, "limit": 4}
    tiny = {"init": "random", "backbone": "test_vit", "image_size": 32, "views_per_epoch": 1, "epochs": 1}
    train(parse(VisionConfig, prog="train", description="", args=flags_of({**folders, **data, **tiny})))
    cif = rendered.splits["test"]["cif"][0]
    flags = [cif, "--checkpoint", str(tmp_path / "m" / "dino_best.pth"), "--out", str(tmp_path / "x"), "--steps", "2"]
    main(parse(ExplainConfig, prog="explain", description="", args=flags))
    table = pd.read_csv(tmp_path / "x" / f"{Path(cif).stem}_atoms.csv")
    image = cv2.imread(str(tmp_path / "x" / f"{Path(cif).stem}_views.png"))
    assert list(table) == ["element", "site", "attention_fraction", "gradient_fraction", "gradient_K"]
    assert image is not None
    assert image.shape == (18 * 224, 3 * 224, 3)
    assert " K\n" in capsys.readouterr().out


def test_attention_before_fine_tuning_is_that_of_the_pretrained_backbone(tmp_path: Path) -> None:
    cif, shipped = ROOT / "data/sample/cifs/MgB2-AlB2.cif", ROOT / "models/3dsc/dinov3.safetensors"
    main(ExplainConfig(cif=cif, checkpoint=shipped, before="crystals", out=tmp_path, steps=2))
    table = pd.read_csv(tmp_path / "MgB2-AlB2_atoms.csv")
    model = load_model(shipped)
    before = backbone_before("crystals", model)
    images = as_images(views(read_crystal(cif), options=model.render_options), model.image_size)
    sites = site_maps(read_crystal(cif), model.render_options, model.image_size)
    expected = by_site(attention_rollout(before, images), sites, 3)
    assert table["attention_before_fraction"].to_numpy() == pytest.approx(expected / expected.sum(), abs=1e-5)
    assert not np.allclose(table["attention_before_fraction"], table["attention_fraction"], atol=1e-3)
    height, width, _ = cv2.imread(str(tmp_path / "MgB2-AlB2_views.png")).shape  # type: ignore[union-attr]
    assert (height, width) == (len(images) * 224, 4 * 224), "image, before, after, gradients"


def test_what_cannot_be_shown_before_is_one_line() -> None:
    with pytest.raises(UserError, match="--before pretrained is neither crystals nor a file of"):
        backbone_before("pretrained", tiny_model())
    with pytest.raises(UserError, match="learnt from images of 32 pixels, not 64"):
        backbone_before("crystals", tiny_model(image_size=64))

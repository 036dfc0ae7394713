"""Skipping empty patches gives what the whole picture gives with its empty tokens masked out of attention."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dinov3_pipeline.attribution import attention_rollout, converged_gradients
from dinov3_pipeline.backbones import Shape
from dinov3_pipeline.lit_patches import AttentionByPicture, lit_patches, products
from dinov3_pipeline.lora import Lora
from dinov3_pipeline.model import DinoTcModel, create_dino_model, load_model, write_shipped
from dinov3_pipeline.network import distinct_images
from dinov3_pipeline.render.options import RenderOptions
from dinov3_pipeline.train import VisionConfig, main, prepare
from tc_common.checkpoints import load_checkpoint, save_checkpoint
from tc_common.errors import UserError
from tc_common.predictions import read_predictions
from tc_common.runs import run_training
from tc_common.task import Task
from tests.dinov3_pipeline.conftest import Rendered
from tests.dinov3_pipeline.crystals import lone
from tests.dinov3_pipeline.networks import DINO, SIZE, TINY, noise, save_whole
from tests.tc_common.runs import after_step, differences, run_interrupted

PATCH, GRID = 8, SIZE // 8
SMALL = Shape(patch_size=PATCH, width=16, depth=2, heads=2)
FOURIER = "DINOv3, Fourier features"
# By name in timm: what timm's forward pass does besides.
NETWORKS = {
    "DINOv3": (DINO, SMALL),
    "DINOv3, class token": (DINO, replace(SMALL, pool="token")),
    FOURIER: (DINO, replace(SMALL, fourier_features=4)),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", SMALL),
    "DINOv2, mean": ("vit_small_patch14_reg4_dinov2", replace(SMALL, pool="avg")),
    "plain ViT, learnt positions of the class token too": ("vit_tiny_patch16_224", SMALL),
    "rotary positions of each head and block": ("vit_small_patch16_rope_mixed_224", SMALL),
    "EVA-02, learnt and rotary positions": ("eva02_tiny_patch14_224", SMALL),
    "no class token": ("vit_medium_patch16_gap_256", SMALL),
}  # fmt: skip


def pictures() -> Tensor:
    """Six images: all patches lit, half of them, three, one by one dark blue pixel, none, and half of them again."""
    images = noise(6)
    for image, kept in zip(images, (16, 8, 3, 1, 0, 7), strict=True):
        empty = np.random.default_rng(kept).permutation(GRID**2)[: GRID**2 - kept]
        for row, column in zip(*np.divmod(empty, GRID), strict=True):
            image[:, PATCH * row : PATCH * (row + 1), PATCH * column : PATCH * (column + 1)] = 0
    images[3][images[3] > 0] = 0
    images[3, 2, 31, 31] = 1
    return images


def network(name: str, shape: Shape, skip: bool = True, spread: float = 0.2, **options: Any) -> DinoTcModel:
    """Random weights large enough that everything matters, adapters among them."""
    lora = Lora(rank=4, dropout=0, targets=("attn.proj",) if name.startswith("eva02") else ("attn.qkv",))
    model = create_dino_model(
        backbone=name, image_size=SIZE, init="random", shape=shape, lora=lora, head_dropout=0,
        skip_empty_patches=skip, **options,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return model


def masked(model: DinoTcModel, images: Tensor) -> Tensor:
    """Features (B, D): timm's own forward pass over all tokens, the empty ones masked, pooled over the others."""
    vit = cast(Any, model.backbone)
    lit = torch.tensor([[bool(patch.any()) for patch in patches_of(image)] for image in images])
    lit[:, 0] |= ~lit.any(1)
    seen = F.pad(lit, (vit.num_prefix_tokens, 0), value=True)
    tokens = vit.forward_features((images.float() - model.mean) / model.std, attn_mask=seen[:, None, None])
    if vit.global_pool == "token":
        return vit.fc_norm(tokens[:, 0])
    patches = tokens[:, vit.num_prefix_tokens :]
    return vit.fc_norm(torch.stack([own[kept].mean(0) for own, kept in zip(patches, lit, strict=True)]))


def patches_of(image: Tensor) -> list[Tensor]:
    rows = image.split(PATCH, dim=1)
    return [patch for row in rows for patch in row.split(PATCH, dim=2)]


@pytest.mark.parametrize("kind", NETWORKS)
def test_features_are_those_of_masked_attention(kind: str) -> None:
    model, images = network(*NETWORKS[kind]).eval(), pictures()
    with torch.inference_mode():
        ours, theirs = model.features(images), masked(model, images)
        whole = model.backbone((images.float() - model.mean) / model.std)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    off = (whole - ours).abs().amax(1)
    assert off[0] < 1e-5, "a picture without an empty patch is read as ever"
    assert (off[1:] > 1e-3).all(), "empty patches matter to a network that reads them"


@pytest.mark.parametrize("kind", [kind for kind in NETWORKS if kind != FOURIER])  # which compute in fp32 always
def test_gradients_are_those_of_masked_attention(kind: str) -> None:
    gradients = []
    for features in (DinoTcModel.features, masked):
        model = network(*NETWORKS[kind]).train().double()
        model.head(features(model, pictures())).square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    assert any("lora_A" in name for name in gradients[0])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-8, rtol=1e-8, msg=name)


def test_recomputed_activations_give_the_same_gradients() -> None:
    gradients = []
    for again in (False, True):
        model = network(DINO, SMALL, gradient_checkpointing=again).train()
        model({"images": pictures()}).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients)


def test_pictures_do_not_see_each_other() -> None:
    model, images = network(DINO, SMALL).eval(), pictures()
    with torch.inference_mode():
        together = model({"images": images})
        alone = torch.cat([model({"images": image[None]}) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-5)
    assert together.isfinite().all(), "a picture without a lit patch predicts"


def test_attention_padded_by_products_and_one_by_one_agree() -> None:
    lengths, generator = [5, 1, 9], torch.Generator().manual_seed(0)
    rows = [torch.randn(1, 2, 15, 4, generator=generator, requires_grad=True) for _ in range(3)]
    inside = AttentionByPicture(lengths)
    expected = inside.attend(*rows)
    weight = torch.randn(expected.shape, generator=generator)
    of_products = torch.cat([products(*part) for part in zip(*(r.split(lengths, 2) for r in rows), strict=True)], 2)
    gradients = torch.autograd.grad((expected * weight).sum(), rows)
    for other in (inside.attend_padded(*rows), of_products):
        torch.testing.assert_close(other, expected)
        for ours, theirs in zip(torch.autograd.grad((other * weight).sum(), rows), gradients, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_attention_that_is_computed_elsewhere_is_noticed() -> None:
    model = network(DINO, SMALL)
    for module in model.backbone.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
    with pytest.raises(AssertionError, match="in a way of its own"):
        model.features(pictures())


def test_bf16_stays_near_fp32() -> None:
    from tc_common.devices import Placement

    model, images = network(DINO, SMALL).eval(), pictures()
    with torch.inference_mode():
        exact = model.features(images)
        model.adapt_to(Placement(torch.device("cpu"), bf16=True))
        rounded = model.features(images).float()
    assert not torch.equal(rounded, exact)
    assert F.cosine_similarity(rounded, exact).min() > 0.999


def test_a_patch_is_lit_by_one_pixel_of_one_channel() -> None:
    assert lit_patches(pictures(), PATCH).sum(1).tolist() == [16, 8, 3, 1, 1, 7]
    assert lit_patches(pictures(), PATCH)[3].nonzero().tolist() == [[15]]
    assert lit_patches(pictures().float(), PATCH)[4].nonzero().tolist() == [[0]]


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "vit_base_patch16_siglip_224", "vit_tiny_r_s16_p8_224"])
def test_other_networks_are_refused_in_one_line(name: str) -> None:
    shape = Shape() if "r_s16" in name else Shape(width=16, depth=1, heads=2)
    with pytest.raises(UserError, match="--skip-empty-patches cannot be had with --backbone") as refusal:
        create_dino_model(backbone=name, image_size=224, init="random", shape=shape, skip_empty_patches=True)
    assert "\n" not in str(refusal.value)


def test_equal_views_are_computed_once_and_counted_as_often_as_they_occur(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(DINO, SMALL, skip=False).eval()
    model.render_options = RenderOptions(image_size=32, bonds="none", views="axes", supercells=("1x1x1", "2x2x1"))
    images = model.crystal_inputs(lone("Nb"))["images"]
    assert distinct_images(images) == ([0, 3, 5], [0, 0, 0, 1, 1, 2])
    computed: list[int] = []
    plain = DinoTcModel.forward_backbone

    def counted(self: DinoTcModel, pixels: Tensor, lit: Tensor | None = None) -> Tensor:
        computed.append(len(pixels))
        return plain(self, pixels, lit)

    monkeypatch.setattr(DinoTcModel, "forward_backbone", counted)
    with torch.inference_mode():
        together = model({"images": images})
        alone = torch.cat([model({"images": image[None]}) for image in images])
        model.train()
        model({"images": images})
    assert computed == [len(distinct_images(images)[0]), *[1] * 6, 6], "training computes every view"
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-5)


def test_images_that_differ_by_one_are_not_equal() -> None:
    images = noise(1).repeat(3, 1, 1, 1)
    images[1, 0, 0, 0] ^= 1
    assert distinct_images(images) == ([0, 1], [0, 1, 0])


def test_an_explanation_adds_up_and_empty_patches_have_no_part_in_it() -> None:
    model = network(DINO, SMALL, spread=0.02).eval()
    images = pictures()[:4]
    added_K, gap_K = converged_gradients(model, images, most_steps=64, batch_size=16)
    empty = ~lit_patches(images, PATCH).view(4, GRID, GRID).numpy()
    maps = attention_rollout(model, images)
    by_patch = maps.reshape(4, GRID, PATCH, GRID, PATCH).sum((2, 4))
    assert np.abs(by_patch[empty]).max() == 0 < by_patch[~empty].min()
    assert maps.sum((1, 2)) == pytest.approx(1)
    assert np.abs(added_K.reshape(4, GRID, PATCH, GRID, PATCH).sum((2, 4))[empty]).max() == 0
    assert gap_K <= 0.06 * np.abs(added_K.sum((1, 2))).mean()


@pytest.fixture
def config(rendered: Rendered, tmp_path: Path) -> VisionConfig:
    """Two epochs of a tiny ViT on 32 images, empty patches skipped."""
    return VisionConfig(
        data_dir=rendered.data_dir, images_dir=rendered.images_dir, models_dir=tmp_path / "models",
        results_dir=tmp_path / "results", cache_dir=tmp_path / "cache", init="random", backbone=TINY, image_size=32,
        shape=Shape(patch_size=PATCH), views_per_epoch=2, epochs=2, device="cpu", precision="fp32",
        skip_empty_patches=True,
    )  # fmt: skip


def test_a_checkpoint_remembers_that_empty_patches_are_skipped(rendered: Rendered, config: VisionConfig) -> None:
    main(config)
    predictions = read_predictions(config.results_dir / "dinov3_predictions.csv")
    path, cif = config.models_dir / "dino_best.pth", rendered.splits["test"]["cif"][0]
    model = load_model(path)
    assert model.lit_only
    assert model.predict(cif) == pytest.approx(predictions["tc_pred"][0], abs=1e-4)
    content = load_checkpoint(path)
    del content["config"]["skip_empty_patches"]
    save_checkpoint(path, content)
    older = load_model(path)
    assert not older.lit_only, "a checkpoint from before the flag reads all patches"
    assert older.predict(cif) != model.predict(cif)


@pytest.mark.parametrize("step", [1, 6])
def test_an_interrupted_run_goes_on_to_the_same_bits(step: int, config: VisionConfig) -> None:
    whole = replace(config, models_dir=config.models_dir / "whole", results_dir=config.results_dir / "whole")
    main(whole)
    make: Any = prepare
    run_interrupted(make, config, after_step(step))  # type: ignore[arg-type]
    task: Task = prepare(config)
    run_training(task, config)
    ours, theirs = (load_checkpoint(c.models_dir / "dino_last.pth") for c in (config, whole))
    for content in (ours, theirs):
        for incidental in ("train_seconds", "config"):
            del content[incidental]
    assert not differences(ours, theirs)


def test_a_linear_probe_keeps_its_two_kinds_of_features_apart(config: VisionConfig) -> None:
    probe = replace(config, tune="head", views_per_epoch=None, epochs=1)
    lit = prepare(probe).datasets["val"].features  # type: ignore[attr-defined]
    whole = prepare(replace(probe, skip_empty_patches=False)).datasets["val"].features  # type: ignore[attr-defined]
    assert lit.shape == whole.shape
    assert np.abs(lit - whole).max() > 1e-3


def test_a_shipped_network_remembers_it_too(tmp_path: Path) -> None:
    save_whole(tmp_path / "whole.pth")
    content = load_checkpoint(tmp_path / "whole.pth")
    content["config"]["skip_empty_patches"] = True
    save_checkpoint(tmp_path / "whole.pth", content)
    card = write_shipped(tmp_path / "whole.pth", tmp_path / "shipped.safetensors")
    assert card["network"]["skip_empty_patches"] is True


def test_compiling_is_refused(config: VisionConfig) -> None:
    with pytest.raises(ValueError, match="--compile needs pictures of one shape"):
        replace(config, compile=True)


def test_the_flag_is_off_by_default() -> None:
    assert VisionConfig().skip_empty_patches is False

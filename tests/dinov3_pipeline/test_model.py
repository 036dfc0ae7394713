"""The network's numbers: its size, its precision, its views, and what it takes to have it again from a checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dinov3_pipeline.backbones import build
from dinov3_pipeline.lora import Lora, adapters
from dinov3_pipeline.model import (
    DinoTcModel,
    as_images,
    count_parameters,
    create_dino_model,
    load_model,
    restore_model,
)
from dinov3_pipeline.render.options import RenderOptions
from dinov3_pipeline.render.rendering import views
from tc_common.checkpoints import frozen_identity, random_state, save_checkpoint
from tc_common.crystals import CrystalError, read_crystal
from tc_common.devices import Placement
from tc_common.errors import UserError
from tc_common.targets import TargetTransform
from tests.dinov3_pipeline.crystals import rock_salt
from tests.dinov3_pipeline.networks import SIZE, TINY, batch, tiny_model

SETTINGS: dict[str, Any] = {
    "backbone": TINY,
    "image_size": SIZE,
    "tune": "lora",
    "head_dropout": 0.1,
    "target": "log1p",
    "lora_rank": 4,
    "lora_alpha": 8.0,
    "lora_dropout": 0.0,
    "lora_targets": ["attn.qkv", "attn.proj"],
}
FEW_VIEWS = RenderOptions(image_size=64, bonds="none", supercells=("1x1x1",))


@pytest.fixture
def cif(tmp_path: Path) -> Path:
    rock_salt().to(str(tmp_path / "NaCl.cif"), fmt="cif")
    return tmp_path / "NaCl.cif"


def test_the_studys_network_trains_1115137_parameters() -> None:
    study = {**SETTINGS, "backbone": "vit_base_patch16_dinov3", "image_size": 224, "lora_rank": 16}
    with torch.device("meta"):
        model = restore_model({**study, "lora_targets": ["attn.qkv"]})
    assert count_parameters(model) == (1_115_137, 85_641_216 + 1_115_137)


@pytest.mark.parametrize(("tune", "trained"), [("head", "head."), ("full", "")])
def test_head_or_all_of_it_is_trained(tune: Any, trained: str) -> None:
    model = tiny_model(tune=tune)
    assert all(p.requires_grad == name.startswith(trained) for name, p in model.named_parameters())
    model(batch()).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_a_frozen_backbone_leaves_no_graph() -> None:
    assert tiny_model(tune="head").features(batch()["images"]).grad_fn is None
    assert tiny_model(tune="lora").features(batch()["images"]).grad_fn is not None


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(1)
    first = tiny_model().state_dict()
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second, other = tiny_model().state_dict(), tiny_model(seed=7).state_dict()
    tensors = [name for name, value in first.items() if isinstance(value, Tensor)]
    assert all(torch.equal(first[name], second[name]) for name in tensors)
    assert not torch.equal(first["head.0.weight"], other["head.0.weight"])
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "building a model draws from torch's own generator"


def test_kelvins_are_not_rounded_to_bf16() -> None:
    model = tiny_model(target=TargetTransform("kelvin")).eval()
    torch.nn.init.constant_(model.head.get_parameter("6.bias"), 100.0)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        kelvin = model(batch())
    assert kelvin.dtype == torch.float32
    assert len(kelvin.unique()) == len(kelvin)  # bf16 knows nothing between 100 and 100.5


def test_recomputed_activations_give_the_same_gradients() -> None:
    gradients = []
    for again in (False, True):
        model = tiny_model(gradient_checkpointing=again, lora=Lora(dropout=0.0), head_dropout=0.0).train()
        torch.nn.init.constant_(model.backbone.get_parameter("blocks.0.attn.qkv.lora_B.default.weight"), 0.1)
        model(batch()).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-6) for name in gradients[0])


def test_prediction_is_the_mean_over_the_rendered_views(cif: Path) -> None:
    model = tiny_model().train()
    model.render_options = FEW_VIEWS
    with torch.no_grad():
        model.head[-1].bias += 10  # type: ignore[index]  # or it is cut at 0 K
    images = views(read_crystal(cif), options=FEW_VIEWS)
    one_by_one = [model.eval()({"images": as_images(image[None], SIZE)}).item() for image in images]
    model.train()
    assert len(one_by_one) == 6
    assert np.std(one_by_one) > 0
    assert model.predict(cif) == pytest.approx(np.mean(one_by_one), abs=1e-5)
    assert model.training, "a prediction in the midst of training leaves the model training"


def test_a_file_by_another_name_is_the_same_crystal(cif: Path, tmp_path: Path) -> None:
    model = tiny_model()
    model.render_options = FEW_VIEWS
    (tmp_path / "copy of it.cif").write_bytes(cif.read_bytes())
    assert torch.equal(model.predict_views(tmp_path / "copy of it.cif"), model.predict_views(cif))
    assert model.predict_views(cif).std() > 0


def test_a_broken_cif_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.cif").write_text("data_nothing")
    with pytest.raises(CrystalError, match="bad.cif"):
        tiny_model().predict(tmp_path / "bad.cif")


def saved(model: DinoTcModel, path: Path, config: dict[str, Any]) -> Path:
    unused = {"epoch": 1, "optimizer_state_dict": {}, "scheduler_state_dict": {}, "val_loss": 0.0}
    weights, frozen = model.state_dict(), model.frozen()
    content = {
        "model_state_dict": {name: weights[name] for name in weights if name not in frozen},
        "frozen": frozen_identity(model, frozen),
        "config": config,
        "init": model.init,
    }
    save_checkpoint(path, {**content, **unused, "rng_state": [random_state()]})
    return path


def trained(init: str = "random") -> DinoTcModel:
    """A network as `SETTINGS` describe it, whose adapters and views are no longer those of the start."""
    target = TargetTransform("log1p", torch.tensor([1.0, 40.0, 90.0]))
    lora = Lora(rank=4, alpha=8.0, dropout=0.0, targets=("attn.qkv", "attn.proj"))
    model = tiny_model(lora=lora, target=target, seed=5, init=init)
    model.render_options = FEW_VIEWS
    for _, layer in adapters(model.backbone):
        torch.nn.init.constant_(layer.lora_B["default"].weight, 0.1)
    return model


def test_a_checkpoint_of_a_random_start_is_enough_to_rebuild_the_model(tmp_path: Path, cif: Path) -> None:
    model = trained()
    again = load_model(saved(model, tmp_path / "m.pth", {**SETTINGS, "init": "random"}))
    assert again.predict(cif) == model.predict(cif)
    assert (again.init, again.render_options) == ("random", FEW_VIEWS)


def test_a_frozen_backbone_is_named_not_repeated(tmp_path: Path, cif: Path) -> None:
    weights = tmp_path / "vit.pth"
    torch.save(build(TINY, SIZE).state_dict(), weights)
    model = trained(str(weights))
    path = saved(model, tmp_path / "m.pth", {**SETTINGS, "init": str(weights)})
    assert path.stat().st_size < weights.stat().st_size
    again = load_model(path)
    assert again.predict(cif) == model.predict(cif)
    assert again.init == model.init
    weights.rename(tmp_path / "moved.pth")
    with pytest.raises(UserError, match="vit.pth"):
        load_model(path)
    assert load_model(path, init=str(tmp_path / "moved.pth")).predict(cif) == model.predict(cif)


def test_other_frozen_weights_are_refused(tmp_path: Path) -> None:
    for name in ("vit.pth", "other.pth"):
        torch.save(build(TINY, SIZE).state_dict(), tmp_path / name)
    model = trained(str(tmp_path / "vit.pth"))
    path = saved(model, tmp_path / "m.pth", {**SETTINGS, "init": str(tmp_path / "other.pth")})
    with pytest.raises(UserError, match="m.pth was trained on other frozen weights"):
        load_model(path)


@pytest.mark.parametrize("change", [{"lora_rank": 8}, {"backbone": "test_vit2"}, {"tune": "head"}])
def test_a_checkpoint_of_another_network_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = saved(trained(), tmp_path / "m.pth", {**SETTINGS, **change, "init": "random"})
    with pytest.raises(UserError, match="m.pth does not fit this model"):
        load_model(path)


def test_a_checkpoint_of_the_other_pipeline_is_refused(tmp_path: Path) -> None:
    path = saved(tiny_model(), tmp_path / "alignn.pth", {"hidden": 256})
    with pytest.raises(UserError, match="alignn.pth is no checkpoint of the vision model"):
        load_model(path)


CPU = torch.device("cpu")


def test_bf16_predicts_by_itself_what_fp32_does_within_its_rounding(cif: Path) -> None:
    model = trained()
    exact_K = model.predict(cif)
    model.adapt_to(Placement(CPU, bf16=True))
    assert {p.dtype for p in model.backbone.parameters() if p.ndim > 1 and not p.requires_grad} == {torch.bfloat16}
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert model.predict(cif) != exact_K
    assert model.predict(cif) == pytest.approx(exact_K, rel=0.02)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_bf16_checkpoint_comes_back_for_fp32(frozen: bool, tmp_path: Path, cif: Path) -> None:
    weights = tmp_path / "vit.pth"
    torch.save(build(TINY, SIZE).state_dict(), weights)
    init = str(weights) if frozen else "random"
    model = trained(init)
    model.adapt_to(Placement(CPU, bf16=True))
    again = load_model(saved(model, tmp_path / "m.pth", {**SETTINGS, "init": init}))
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert again.predict(cif) == pytest.approx(model.predict(cif), rel=0.02)
    again.adapt_to(Placement(CPU, bf16=True))
    assert again.predict(cif) == model.predict(cif)


def test_an_outer_autocast_is_obeyed(cif: Path) -> None:
    model = trained()
    exact_K = model.predict(cif)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.predict(cif) != exact_K


def test_full_tuning_keeps_its_weights_in_fp32() -> None:
    model = tiny_model(tune="full")
    model.adapt_to(Placement(CPU, bf16=True))
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_attention_goes_unfused_on_a_cpu_in_bf16_only() -> None:
    model = tiny_model()
    for bf16, fused in ((True, False), (False, True)):
        model.adapt_to(Placement(CPU, bf16))
        chosen = [module.fused_attn for module in model.modules() if hasattr(module, "fused_attn")]
        assert chosen == [fused] * 6


def test_shape_and_type_are_checked_at_the_door() -> None:
    with pytest.raises(AssertionError, match="images are torch.float32"):
        create_dino_model(backbone=TINY, image_size=SIZE, init="random").features(torch.zeros(1, 3, SIZE, SIZE))

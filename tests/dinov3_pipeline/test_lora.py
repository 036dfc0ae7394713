"""Adapters are nothing at first, the only thing that learns afterwards, and really part of the network."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dinov3_pipeline.lora import Lora, adapters, check_adapters_act
from dinov3_pipeline.model import DinoTcModel
from tc_common.devices import Placement
from tc_common.errors import UserError
from tests.dinov3_pipeline.networks import SIZE, Calls, batch, noise, tiny_model

VARIANTS = {
    "plain": Lora(),
    "wide": Lora(targets=("attn.qkv", "attn.proj", "mlp.fc1"), rank=4),
}


@pytest.fixture(params=list(VARIANTS))
def lora(request: pytest.FixtureRequest) -> Lora:
    return VARIANTS[request.param]


def wake(model: DinoTcModel, size: float = 0.05) -> None:
    """Give every adapter a B that is not zero."""
    generator = torch.Generator().manual_seed(1)
    for _, layer in adapters(model.backbone):
        nn.init.normal_(layer.lora_B["default"].weight, std=size, generator=generator)


@torch.inference_mode()
def features(model: DinoTcModel) -> Tensor:
    return model.eval().features(noise())


def test_untrained_adapters_change_nothing(lora: Lora) -> None:
    plain, adapted = features(tiny_model(tune="full")), features(tiny_model(lora=lora))
    assert torch.allclose(plain, adapted, atol=1e-6)


def test_a_non_zero_adapter_changes_the_output(lora: Lora) -> None:
    model = tiny_model(lora=lora)
    before = features(model)
    wake(model)
    assert (features(model) - before).abs().max() > 1e-3


def test_gradients_reach_every_adapter_and_the_head_and_nothing_else(lora: Lora) -> None:
    model = tiny_model(lora=lora)
    wake(model)
    model(batch()).sum().backward()
    for name, parameter in model.named_parameters():
        learns = "lora_" in name or name.startswith("head.")
        assert (parameter.grad is not None) == learns, name
        assert parameter.grad is None or parameter.grad.abs().sum() > 0, name


def test_merged_equals_unmerged(lora: Lora) -> None:
    model = tiny_model(lora=lora)
    wake(model)
    apart = features(model)
    for _, layer in adapters(model.backbone):
        layer.merge(safe_merge=True)
    merged = features(model)
    for _, layer in adapters(model.backbone):
        layer.unmerge()
    assert (merged - apart).abs().max() < 1e-5
    assert (features(model) - apart).abs().max() < 1e-5


def test_bf16_trains_the_same_parameters(lora: Lora) -> None:
    model = tiny_model(lora=lora)
    model.adapt_to(Placement(torch.device("cpu"), bf16=True))
    wake(model)
    model(batch()).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_one_product_is_what_peft_computes() -> None:
    model = tiny_model(lora=Lora(dropout=0.0, alpha=7))
    wake(model)
    for _, layer in adapters(model.backbone):
        x = torch.randn(2, 5, layer.in_features)
        pefts: Any = type(layer).__mro__[1]
        assert torch.allclose(layer(x), pefts.forward(layer, x), atol=1e-5)


def in_bf16(model: DinoTcModel) -> DinoTcModel:
    model.adapt_to(Placement(torch.device("cpu"), bf16=True))
    return model.eval()


def test_in_bf16_the_input_is_rounded_once_and_the_adapter_added_in_place() -> None:
    _, layer = adapters(in_bf16(tiny_model()).backbone)[0]
    x = torch.randn(2, 5, layer.in_features)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), Calls() as calls:
        layer(x)
    assert [shapes[0] for name, shapes in calls.made if "_to_copy" in name].count(x.shape) == 1
    assert len([name for name, _ in calls.made if name == "aten.addmm_.default"]) == 1


def test_one_product_in_bf16_is_no_further_from_the_exact_one_than_pefts() -> None:
    model = tiny_model(lora=Lora(dropout=0.0, alpha=7))
    wake(model)
    _, layer = adapters(in_bf16(model).backbone)[0]
    x = torch.randn(64, 5, layer.in_features).transpose(0, 1)  # not contiguous
    with torch.inference_mode():
        pefts: Any = type(layer).__mro__[1]
        with torch.autocast("cpu", torch.bfloat16):
            ours, theirs = layer(x), pefts.forward(layer, x)
        exact = pefts.forward(layer.double(), x.double())
    assert 0 < (ours - exact).norm() < 1.01 * (theirs - exact).norm() < 0.01 * exact.norm()


def test_an_update_too_small_for_bf16_weights_still_acts() -> None:
    """Merged into W it would be rounded away, so it must not be merged to predict."""
    model = in_bf16(tiny_model(lora=Lora(targets=("attn.qkv",))))
    _, layer = adapters(model.backbone)[0]
    for weight, constant in ((layer.weight, 1.0), (layer.lora_A["default"].weight, 0.0)):
        nn.init.constant_(weight, constant)
    nn.init.constant_(layer.lora_A["default"].weight[:, 0], 1.0)
    nn.init.constant_(layer.lora_B["default"].weight, 2**-14)
    update = layer.get_delta_weight("default").detach()
    assert torch.equal((layer.weight + update).bfloat16(), layer.weight), "bf16 weights can hold the update"
    x = torch.zeros(1, 1, layer.in_features)
    x[..., 0], x[..., 1] = 1, -1  # W x = 0: all that comes out is the update's
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(layer(x).float(), update[:, 0], rtol=0.01, atol=0)


@pytest.mark.parametrize("bf16", [False, True])
def test_new_weights_act_on_the_next_prediction(bf16: bool) -> None:
    """Loaded in evaluation, or stepped by an optimiser: nothing computed from older ones may be left."""
    model, other = tiny_model(), tiny_model(seed=7)
    for one in (model, other):
        one.adapt_to(Placement(torch.device("cpu"), bf16))
        wake(one)
    before, wanted = features(model), features(other)
    model.load_state_dict(other.state_dict())
    assert not torch.equal(before, wanted)
    assert torch.equal(features(model), wanted)
    model(batch()).sum().backward()
    torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    other.load_state_dict(model.state_dict())
    assert not torch.equal(features(model), wanted)
    assert torch.equal(features(model), features(other))


def test_the_scale_is_alpha_over_r() -> None:
    _, layer = adapters(tiny_model(lora=Lora(rank=4, alpha=6)).backbone)[0]
    assert layer.scaling["default"] == 1.5


def test_saved_adapters_come_back_exactly(lora: Lora) -> None:
    model, other = tiny_model(lora=lora), tiny_model(lora=lora, seed=7)
    wake(model)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(features(model), features(other))


@pytest.mark.parametrize("target", ["attn.kqv", "attn"])
def test_a_wrong_target_is_refused(target: str) -> None:
    with pytest.raises(UserError, match=f"--lora-targets {target}"):
        tiny_model(lora=Lora(targets=("attn.proj", target)))


def test_bypassed_adapters_are_noticed_at_the_start() -> None:
    with pytest.raises(UserError, match=r"adapters on attn.qkv do not change the output"):
        tiny_model(backbone="vit_small_patch16_dinov3_qkvb", lora=Lora(targets=("attn.proj", "attn.qkv")))


def test_the_check_leaves_no_trace() -> None:
    model = tiny_model()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    check_adapters_act(model.backbone, SIZE, Lora())
    assert model.backbone.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items() if name in before)

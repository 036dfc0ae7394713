"""Kelvins to the space of the loss and back."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tc_common.targets import TargetTransform

TRAIN_K = torch.tensor([0.0, 1.2, 9.2, 39.0, 92.0, 250.0])


@pytest.mark.parametrize("kind", ["kelvin", "log1p", "sqrt", "standardized"])
@given(tc_K=st.floats(0, 400, width=32))
def test_decoding_undoes_encoding(kind: Any, tc_K: float) -> None:
    target = TargetTransform(kind, TRAIN_K)
    back = float(target.decode(target.encode(torch.tensor([tc_K]))))
    assert back == pytest.approx(tc_K, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("kind", ["log1p", "sqrt", "standardized"])
def test_encoded_training_targets_have_mean_0_and_sd_1(kind: Any) -> None:
    encoded = TargetTransform(kind, TRAIN_K).encode(TRAIN_K)
    assert float(encoded.mean()) == pytest.approx(0, abs=1e-6)
    assert float(encoded.std(correction=0)) == pytest.approx(1, rel=1e-6)


def test_known_values() -> None:
    assert TargetTransform("kelvin", TRAIN_K).encode(TRAIN_K).tolist() == TRAIN_K.tolist()
    log = TargetTransform("log1p")
    assert float(log.encode(torch.tensor([math.e - 1]))) == pytest.approx(1.0)
    assert float(log.decode(torch.tensor([math.log(40)]))) == pytest.approx(39.0, rel=1e-5)


@pytest.mark.parametrize("kind", ["log1p", "sqrt"])
def test_no_prediction_has_an_infinite_loss_or_gradient(kind: Any) -> None:
    target, output = TargetTransform(kind, TRAIN_K), torch.tensor([-100.0], requires_grad=True)
    lowest = target.decode(output)
    assert float(lowest.detach()) >= -1
    loss = target.encode(lowest)
    loss.backward()
    assert torch.isfinite(loss).all() and output.grad is not None and torch.isfinite(output.grad).all()


def test_the_square_root_of_known_values() -> None:
    root = TargetTransform("sqrt")
    assert root.encode(torch.tensor([8.0, 99.0])).tolist() == [3.0, 10.0]
    assert root.decode(torch.tensor([3.0, 10.0])).tolist() == [8.0, 99.0]


def test_the_numbers_travel_with_the_checkpoint() -> None:
    fitted, empty = TargetTransform("log1p", TRAIN_K), TargetTransform("log1p")
    empty.load_state_dict(fitted.state_dict(), strict=True)
    assert torch.equal(empty.encode(TRAIN_K), fitted.encode(TRAIN_K))


def test_equal_targets_do_not_divide_by_zero() -> None:
    target = TargetTransform("standardized", torch.full((5,), 9.2))
    assert torch.isfinite(target.encode(TRAIN_K)).all()


def test_decoding_leaves_bf16() -> None:
    assert TargetTransform("kelvin").decode(torch.tensor([90.25], dtype=torch.bfloat16)).dtype == torch.float32

"""Settings: refused where they make no sense, plain where they are written down."""

import json
from pathlib import Path
from typing import Any

import pytest

from tc_common.config import TrainConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("batch_size", 0), ("grad_accumulation", 0), ("num_workers", -1), ("seed", -1), ("limit", 0),
        ("patience", 0), ("plateau_patience", -1), ("grad_clip", -0.1), ("grad_clip", float("nan")),
        ("save_every_minutes", 0.0), ("save_every_minutes", float("nan")), ("save_every_minutes", float("inf")),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_the_name_of_their_flag(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"--{field.replace('_', '-')} must be .*got {value}"):
        TrainConfig(**{field: value})


@pytest.mark.parametrize("name", ["", "../x", "a b", "x_val", "ensemble", "ensemble_2", "2nd", "é", "a\n"])
def test_a_name_that_would_be_mistaken_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="--name must be a letter"):
        TrainConfig(name=name)
    TrainConfig(name="finetuned_alignn2")


def test_limits_themselves_are_allowed() -> None:
    TrainConfig(epochs=1, batch_size=1, num_workers=0, seed=0, limit=1, plateau_patience=0, grad_clip=0.0)


def test_plain_settings_are_json() -> None:
    plain = TrainConfig(models_dir=Path("a"), limit=3).plain()
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["models_dir"], plain["limit"], plain["log_file"]) == ("a", 3, None)

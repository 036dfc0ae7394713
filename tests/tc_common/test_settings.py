"""Settings: refused where they make no sense, plain where they are written down."""

import json
from pathlib import Path
from typing import Any

import pytest

from tc_common.cli import current_settings
from tc_common.errors import UserError
from tc_common.task import TrainConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("batch_size", 0), ("grad_accumulation", 0), ("num_workers", -1), ("seed", -1), ("limit", 0),
        ("patience", 0), ("grad_clip", -0.1), ("grad_clip", float("nan")),
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
    TrainConfig(epochs=1, batch_size=1, num_workers=0, seed=0, limit=1, grad_clip=0.0)


def test_plain_settings_are_json() -> None:
    plain = TrainConfig(models_dir=Path("a"), limit=3).plain()
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["models_dir"], plain["limit"], plain["log_file"]) == ("a", 3, None)


def test_removed_settings_are_dropped_at_their_default_wherever_they_are() -> None:
    old = {"seed": 1, "plateau_patience": 5, "graph": {"neighbours": 12, "mixture_channels": False}}
    assert current_settings(old, "a.pth") == {"seed": 1, "graph": {"neighbours": 12}}


@pytest.mark.parametrize("old", [{"plateau_patience": 2}, {"graph": {"mixture_channels": True}}])
def test_a_removed_setting_of_another_value_is_refused_in_one_line(old: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^a\.pth was made with \w+ = \w+, which no longer exists; [^\n]+$"):
        current_settings(old, "a.pth")

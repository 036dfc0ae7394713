"""What is searched fits the trainers and the other settings."""

import pytest

from tc_common.errors import UserError
from tuning.pipelines import PIPELINES, as_words
from tuning.spaces import Choice, Interval, from_scratch


@pytest.mark.parametrize("name", PIPELINES)
def test_every_value_is_one_that_the_trainer_takes(name: str) -> None:
    pipeline = PIPELINES[name]
    assert set(pipeline.table) <= set(pipeline.read([]).plain())
    for parameter, row in pipeline.table.items():
        fixed = {"init": "random"} if row.applies is from_scratch else {}
        assert isinstance(row.values, Choice | Interval)
        values = row.values.choices if isinstance(row.values, Choice) else (row.values.low, row.values.high)
        for value in values:
            taken = pipeline.read(as_words({**fixed, parameter: value})).plain()[parameter]
            assert taken == value and type(taken) is type(value), parameter


@pytest.mark.parametrize("name", PIPELINES)
def test_the_trainers_own_defaults_lie_inside(name: str) -> None:
    pipeline = PIPELINES[name]
    for parameter, row in pipeline.table.items():
        default = pipeline.read([]).plain()[parameter]
        if isinstance(row.values, Interval):
            assert row.values.low <= default <= row.values.high, parameter
        elif default is not None:
            assert isinstance(row.values, Choice) and default in row.values.choices, parameter


def searched(name: str, *words: str, search: tuple[str, ...] = ()) -> set[str]:
    return set(PIPELINES[name].space(words, search))


def test_what_is_fixed_or_without_meaning_is_not_searched() -> None:
    usual = {"lr_head", "weight_decay", "loss", "target", "head_features", "batch_size"}
    assert searched("gat", "--init", "random") == usual
    assert searched("gat") == usual | {"lr_backbone"}
    assert searched("gat", "--init=random", "--batch_size=8", "--lr-head", "1e-3") == usual - {"batch_size", "lr_head"}
    adapters = {"lora_rank", "lora_alpha", "lora_dropout"}
    assert searched("vision") == {"lr", "loss", "target", "head_dropout", "views_per_epoch"} | adapters
    assert searched("vision", "--tune", "head") == {"lr", "loss", "target", "head_dropout"}
    assert searched("gat", "--init", "random", search=("hidden", "lr_head")) == {"hidden", "lr_head"}
    assert searched("vision", "--init", "random", "--tune", "full", search=("depth",)) == {"depth"}


@pytest.mark.parametrize(
    ("words", "search", "named"),
    [
        ((), ("momentum",), "no such parameter; there are lr_head, lr_backbone"),
        ((), ("hidden",), "no effect with the settings behind --"),
        (("--loss", "l1"), ("loss",), "it is fixed behind --"),
        (("--lr-heat", "1"), (), "did you mean --lr-head"),
    ],
)
def test_a_wrong_search_is_refused(words: tuple[str, ...], search: tuple[str, ...], named: str) -> None:
    with pytest.raises(UserError, match=named):
        searched("gat", *words, search=search)

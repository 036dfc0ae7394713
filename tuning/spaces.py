"""What may be searched: one table a pipeline, its names those of the trainer's flags."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution


@dataclass(frozen=True)
class Interval:
    """Any number from `low` to `high`."""

    low: float
    high: float
    logarithmic: bool = False
    """Equal chances for equal ratios."""

    def distribution(self) -> BaseDistribution:
        """As the sampler wants it."""
        return FloatDistribution(self.low, self.high, log=self.logarithmic)


@dataclass(frozen=True)
class Choice:
    """One of these values, none nearer to another than to a third."""

    options: tuple[str | int | float, ...]

    def distribution(self) -> BaseDistribution:
        """As the sampler wants it."""
        return CategoricalDistribution(self.options)


def always(config: Any) -> bool:
    """Whatever the other settings are."""
    return True


@dataclass(frozen=True)
class Parameter:
    """One setting that may be searched."""

    values: Interval | Choice
    applies: Callable[[Any], bool] = always
    """Whether the setting means anything beside the fixed ones (the trainer's whole settings)."""
    by_default: bool = True
    """False: only where --search names it."""


Table: TypeAlias = dict[str, Parameter]


def decades(low: float, high: float) -> Interval:
    """An interval in which every factor of ten is as likely as another."""
    return Interval(low, high, logarithmic=True)


def from_scratch(config: Any) -> bool:
    """Random weights: nothing prescribes the network's sizes."""
    return bool(config.init == "random")


def with_adapters(config: Any) -> bool:
    """LoRA."""
    return bool(config.tune == "lora")


LOSS = Parameter(Choice(("l1", "huber", "mse")))
TARGET = Parameter(Choice(("log1p", "sqrt", "standardized", "kelvin")))

GRAPH: Table = {
    "lr_head": Parameter(decades(1e-4, 1e-2)),
    "lr_backbone": Parameter(decades(1e-6, 1e-3), applies=lambda config: not from_scratch(config)),
    "weight_decay": Parameter(decades(1e-5, 1e-1)),
    "loss": LOSS,
    "target": TARGET,
    "head_features": Parameter(Choice(("none", "composition"))),
    "batch_size": Parameter(Choice((16, 32, 64))),
    "hidden": Parameter(Choice((64, 128, 256)), from_scratch, by_default=False),
    "alignn_layers": Parameter(Choice((1, 2, 3, 4)), from_scratch, by_default=False),
    "gcn_layers": Parameter(Choice((1, 2, 3, 4)), from_scratch, by_default=False),
}

VISION: Table = {
    "lr": Parameter(decades(1e-5, 3e-3)),
    "loss": LOSS,
    "target": TARGET,
    "lora_rank": Parameter(Choice((4, 8, 16, 32)), with_adapters),
    "lora_alpha": Parameter(Choice((8.0, 16.0, 32.0, 64.0)), with_adapters),
    "lora_dropout": Parameter(Interval(0.0, 0.3), with_adapters),
    "head_dropout": Parameter(Interval(0.0, 0.5)),
    "views_per_epoch": Parameter(Choice((1, 3, 6)), applies=lambda config: config.tune != "head"),
    "weight_decay": Parameter(decades(1e-5, 1e-1), by_default=False),
    "batch_size": Parameter(Choice((8, 16, 32)), by_default=False),
    "depth": Parameter(Choice((2, 3, 4, 6)), from_scratch, by_default=False),
    "fourier_features": Parameter(Choice((32, 64, 128, 256)), from_scratch, by_default=False),
}


def plain(table: Table) -> dict[str, str]:
    """Each parameter's values as a text that changes when they do."""
    return {name: str(row.values) for name, row in table.items()}

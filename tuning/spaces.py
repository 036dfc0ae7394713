"""Search spaces: one table a pipeline; names are those of the trainer's flags, values Optuna's distributions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution as Choice
from optuna.distributions import FloatDistribution as Interval


@dataclass(frozen=True)
class Parameter:
    """A setting that may be searched."""

    values: BaseDistribution
    applies: Callable[[Any], bool] = lambda config: True
    """Whether the setting has an effect, given all settings of the trainer."""
    by_default: bool = True
    """False: only where --search names it."""


Table: TypeAlias = dict[str, Parameter]


def decades(low: float, high: float) -> Interval:
    """Log-uniform distribution."""
    return Interval(low, high, log=True)


def from_scratch(config: Any) -> bool:
    """Random initial weights: the network's sizes are free."""
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
    "head_features": Parameter(Choice(("none", "composition", "continuous", "physics"))),
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

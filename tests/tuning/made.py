"""Searches of the toy pipeline, whose test materials must not be read."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from tc_common.task import Task
from tests.tc_common.runs import flags
from tests.tc_common.toy import ToyConfig, toy_task
from tuning.pipelines import PARTS, Pipeline
from tuning.search import search
from tuning.spaces import Choice, Parameter, Table, decades
from tuning.study import TuneConfig

RATES: Table = {"learning_rate": Parameter(decades(1e-6, 0.3)), "loss": Parameter(Choice(("l1", "mse")))}


EPOCHS = 2


class Untouchable:
    """Materials that nobody may read."""

    def __len__(self) -> int:
        raise AssertionError("the test materials were counted")

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("a test material was read")

    def set_epoch(self, epoch: int) -> None:
        raise AssertionError("the test materials were prepared")


def prepare(config: ToyConfig, parts: Sequence[str]) -> Task:
    assert tuple(parts) == PARTS
    task = toy_task(config)
    task.datasets = {**task.datasets, "test": Untouchable()}
    return task


def pipeline(table: Table) -> Pipeline:
    return Pipeline("tests.tc_common.toy", ToyConfig, prepare, table)


def tune(folder: Path, table: Table = RATES, words: Sequence[str] = (), **settings: Any) -> dict[str, Any]:
    """Search the toy's settings with the study in `folder`; returns what the best file holds."""
    config = replace(TuneConfig(pipeline="gat", name="toy", out=folder, trials=4, startup_trials=2), **settings)
    return search(pipeline(table), config, [*flags(folder / "elsewhere", epochs=EPOCHS), *words])


def trials(folder: Path) -> pd.DataFrame:
    """The table of trials without what differs between two equal searches."""
    return pd.read_csv(folder / "toy_trials.csv", keep_default_na=False).drop(columns="seconds")

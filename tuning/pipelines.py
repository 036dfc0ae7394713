"""The two trainers behind one interface: settings from flags, a task from settings."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dinov3_pipeline import train as vision
from gat_pipeline import train as graph
from tc_common.cli import parse
from tc_common.errors import UserError
from tc_common.task import Task, TrainConfig
from tuning.spaces import GRAPH, VISION, Table

# The test materials stay unread: a trial is judged on `val`.
PARTS = ("train", "val")


@dataclass(frozen=True)
class Pipeline:
    """One trainer."""

    module: str
    """Its name for `python -m`."""
    config: type[TrainConfig]
    prepare: Callable[[Any, Sequence[str]], Task]
    """Task of these settings with these splits."""
    table: Table

    def read(self, words: Sequence[str]) -> TrainConfig:
        """The trainer's settings with these flags.

        Raises:
            UserError: the trainer refuses them.
        """
        return parse(self.config, prog=f"python -m {self.module}", description="", args=words)

    def command(self, words: Sequence[str]) -> str:
        """The trainer's command line, ready to be pasted."""
        return shlex.join(["python", "-m", self.module, *words])

    def space(self, fixed: Sequence[str], search: Sequence[str]) -> Table:
        """Parameters to search: those in `search`, or all usual ones that apply and are not fixed.

        Raises:
            UserError: a name in `search` is unknown, fixed or without meaning here, or nothing is left to search.
        """
        given, config = flags(fixed), self.read(fixed)
        for name in search:
            self._refuse(name, name in given, config)
        chosen = {
            name: row
            for name, row in self.table.items()
            if (name in search if search else row.by_default and name not in given and row.applies(config))
        }
        if not chosen:
            raise UserError("every parameter is fixed behind --, nothing is left to search; take a flag away")
        return chosen

    def _refuse(self, name: str, is_fixed: bool, config: TrainConfig) -> None:
        if name not in self.table:
            raise UserError(f"--search {name}: no such parameter; there are {', '.join(self.table)}")
        if is_fixed:
            raise UserError(f"--search {name}: it is fixed behind --; take it away in one of the two places")
        if not self.table[name].applies(config):
            raise UserError(f"--search {name}: it has no effect with the settings behind --")


def flags(words: Sequence[str]) -> set[str]:
    """Names of the settings that these flags set."""
    return {word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")}


def as_words(values: dict[str, Any]) -> list[str]:
    """Settings as flags, numbers with all their digits."""
    return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]


PIPELINES = {
    "gat": Pipeline("gat_pipeline.train", graph.GraphTrainConfig, graph.prepare, GRAPH),
    "vision": Pipeline("dinov3_pipeline.train", vision.VisionConfig, vision.prepare, VISION),
}

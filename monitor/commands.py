"""A trainer's command line: reading and replacing its flags, never its source."""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tc_common.errors import UserError

# The trainers of this project, as `python -m` names them.
TRAINERS = ("dinov3_pipeline.train", "gat_pipeline.train", "gat_pipeline.pretrain")


@dataclass(frozen=True)
class Command:
    """A trainer's argument list."""

    words: tuple[str, ...]

    def flag(self, name: str) -> str | None:
        """Value of the last `--name value` or `--name=value`; dashes and underscores are one."""
        return self._split(name)[0][name]

    def with_flags(self, **values: Any) -> "Command":
        """The command with these flags in place of whatever they were."""
        flags = [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        return Command((*self._split(*values)[1], *flags))

    def _split(self, *names: str) -> tuple[dict[str, str | None], list[str]]:
        """Values of these flags, and all other words."""
        parser = ArgumentParser(add_help=False, allow_abbrev=False)
        for name in names:
            parser.add_argument(f"--{name.replace('_', '-')}", f"--{name}", dest=name, nargs="?")
        found, others = parser.parse_known_args(self.words)
        return vars(found), others

    @property
    def models_dir(self) -> Path:
        """Folder with the trainer's lock and status file."""
        return Path(self.flag("models_dir") or "models")

    @property
    def module(self) -> str | None:
        """What follows `-m`."""
        return next((self.words[at + 1] for at, word in enumerate(self.words[:-1]) if word == "-m"), None)

    def __str__(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class Cut:
    """How the samples of an optimiser step are split into micro-batches; the product never changes."""

    batch_size: int
    grad_accumulation: int

    def __str__(self) -> str:
        return f"batch {self.batch_size} x {self.grad_accumulation}"

    def halved(self, min_batch: int) -> "Cut | None":
        """About half the batch at the same samples per step; None if that would be less than `min_batch`.

        An odd batch goes down to the largest divisor of the step's samples.
        """
        samples = self.batch_size * self.grad_accumulation
        for batch in range(self.batch_size // 2, min_batch - 1, -1):
            if samples % batch == 0:
                return Cut(batch, samples // batch)
        return None


def split_at_dashes(arguments: Sequence[str]) -> tuple[list[str], Command | None]:
    """The monitor's own flags, and the command behind `--` if there is one.

    Raises:
        UserError: there is nothing behind `--`.
    """
    if "--" not in arguments:
        return list(arguments), None
    at = list(arguments).index("--")
    if at == len(arguments) - 1:
        raise UserError("no command behind --; for example: -- python -m dinov3_pipeline.train")
    return list(arguments[:at]), Command(tuple(arguments[at + 1 :]))

"""A predictor without networks for tests of the engines: Tc is a simple sum over the atoms, in microseconds."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from tc_common.errors import UserError

DIES_AT = "SCREENING_TEST_DIES_AT"
"""Environment variable: a file; the first process that reads a crystal of this name in it kills itself and the file."""


@dataclass(frozen=True)
class Said:
    """What it says of one crystal, in the form of a prediction or a failure."""

    plain: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return self.plain


@dataclass(frozen=True)
class StandIn:
    """Tc from the mean atomic number and the volume of an atom."""

    model: str
    members: tuple[str, ...] = ("sum",)

    def predict_many(
        self, items: Iterable[Any], names: Sequence[str], read: Callable[[Any], Structure]
    ) -> Iterator[Said]:
        for item, name in zip(items, names, strict=True):
            _die_if_asked(name)
            try:
                structure = read(item)
            except UserError as error:
                yield Said({"name": name, "formula": "", "error": str(error), "model": self.model})
                continue
            yield Said(self._row(name, structure))

    def _row(self, name: str, structure: Structure) -> dict[str, Any]:
        numbers = [float(site.species.average_electroneg) for site in structure]
        tc_K = 10.0 * sum(numbers) / len(numbers) + structure.volume / len(structure)
        near = {"formula": "Nb3Sn", "tc_K": 18.0, "lowest_K": 17.0, "highest_K": 18.3, "entries": 4, "source": "3DSC"}
        return {
            "name": name, "formula": structure.composition.reduced_formula, "error": None, "model": self.model,
            "tc_K": tc_K, "lower_K": 0.8 * tc_K, "upper_K": 1.3 * tc_K, "coverage": 0.9, "known": None,
            "members": [{"name": "sum", "tc_K": tc_K, "lower_K": None, "upper_K": None, "weight": 1.0}],
            "nearest": [{**near, "distance": 0.5}],
            "warnings": [{"kind": "composition", "text": "far"}] if "O" in structure.composition else [],
            "remarks": [],
        }  # fmt: skip


def _die_if_asked(name: str) -> None:
    asked = os.environ.get(DIES_AT)
    if asked and Path(asked).exists() and Path(asked).read_text() == name:
        Path(asked).unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def load(folder: Path, model: str, *, device: str = "cpu") -> StandIn:
    """In the place of `prediction.load_predictor`."""
    return StandIn(model)

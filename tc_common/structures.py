"""The structures that a training shows: the chosen one of each composition, all of them, or one drawn every epoch;
and those of extra labels.

Legend: n samples of an epoch, R rows (structures) that they are taken from.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tc_common.errors import UserError
from tc_common.extra_structures import EXTRA_STRUCTURES, read_extra_structures, with_structures
from tc_common.extra_structures import MADE_BY as EXTRA_MADE_BY
from tc_common.labels import ExtraLabels
from tc_common.splits import MADE_BY, OTHER_STRUCTURES, read_other_structures

Structures = Literal["one", "all", "draw"]


class TrainingStructures:
    """Rows to train on, and which of them each sample shows in an epoch.

    A composition with k structures shows each of them once in k epochs, in an order drawn anew every k epochs. It
    depends on (seed, epoch) and the table alone: a resumed run, and any number of loader processes, draw the same.

    Args:
        table: R rows (`tc_common.splits`); the first n are the chosen structures, in the order of the samples.
        sample: sample that each row belongs to (R,); None: every row is a sample of its own.
    """

    def __init__(self, table: pd.DataFrame, sample: NDArray[np.int64] | None = None, seed: int = 0) -> None:
        self.table, self.seed = table, seed
        self.sample = np.arange(len(table)) if sample is None else sample
        self._by_number = _by_number_of_rows(self.sample)

    def __len__(self) -> int:
        return int(self.sample.max(initial=-1)) + 1

    def chosen(self) -> NDArray[np.int64]:
        """Row of each sample's chosen structure (n,)."""
        return np.arange(len(self))

    def drawn(self, epoch: int) -> NDArray[np.int64]:
        """Row that each sample shows in this epoch (n,)."""
        rows = self.chosen()
        for number, candidates in self._by_number.items():
            cycle, turn = divmod(epoch, number)
            random = np.random.default_rng((self.seed, number, cycle))
            order = random.random(candidates.shape).argsort(axis=1)
            rows[self.sample[candidates[:, 0]]] = candidates[np.arange(len(candidates)), order[:, turn]]
        return rows

    def fingerprint(self) -> str:
        """Digest of the rows' ids and Tc, for checkpoints: the split files' own does not cover other structures."""
        digest = hashlib.sha256()
        for material_id, tc_K, sample in zip(self.table["material_id"], self.table["tc"], self.sample, strict=True):
            digest.update(f"{material_id}\t{float(tc_K)!r}\t{sample}\n".encode())
        return digest.hexdigest()[:12]


def _by_number_of_rows(sample: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """For each number k > 1 of rows a sample: the rows (samples, k) of all samples that have so many."""
    rows = np.argsort(sample, kind="stable")
    numbers = np.bincount(sample)
    first = np.cumsum(numbers) - numbers
    return {
        int(number): rows[first[numbers == number][:, None] + np.arange(number)]
        for number in np.unique(numbers[numbers > 1])
    }


def structures_of(materials: pd.DataFrame | TrainingStructures) -> TrainingStructures:
    """The structures of a dataset: those of a training, or every row of a split table as a sample of its own."""
    return materials if isinstance(materials, TrainingStructures) else TrainingStructures(materials)


def training_structures(
    data_dir: Path,
    splits: dict[str, pd.DataFrame],
    kind: Structures,
    seed: int,
    extra: ExtraLabels | None = None,
) -> TrainingStructures:
    """The structures of the training compositions in `splits`; with `all`, each counts alike, however many there are.

    Args:
        extra: compositions with a structure of their own, samples after those of `splits`.

    Raises:
        UserError: `other_structures.csv` is needed and is missing or contradicts the split files.
    """
    train = with_structures(splits["train"], extra)
    if kind == "one":
        return TrainingStructures(train, seed=seed)
    if not (data_dir / OTHER_STRUCTURES).exists():
        raise UserError(
            f"{data_dir / OTHER_STRUCTURES} is missing, from which --structures {kind} takes further structures; "
            f"make it with: {MADE_BY}, or train on the chosen ones alone with --structures one"
        )
    others = read_other_structures(data_dir, splits)
    others = others[others["split"] == "train"]
    table = pd.concat([train, others.drop(columns=["split", "chosen"])], ignore_index=True)
    if kind == "all":
        return TrainingStructures(table, seed=seed)
    number = {material_id: number for number, material_id in enumerate(splits["train"]["material_id"])}
    sample = [*range(len(train)), *others["chosen"].map(number)]
    return TrainingStructures(table, np.array(sample, np.int64), seed)


def extra_of_training(
    content: Mapping[str, Any], data_dir: Path, splits: dict[str, pd.DataFrame], limit: int | None
) -> ExtraLabels | None:
    """The extra structures that a checkpoint's network was trained on; None if on none.

    Args:
        content: of the checkpoint, which was made with `splits`.

    Raises:
        UserError: see `read_extra_structures`; or there are other ones now.
    """
    config = content["config"]
    extra = read_extra_structures(data_dir, bool(config.get("extra_structures")), limit)
    if extra is None:
        return None
    found = training_structures(data_dir, splits, config["structures"], 0, extra).fingerprint()
    if found != content["identity"].get("structures_sha256"):
        raise UserError(
            f"{data_dir / EXTRA_STRUCTURES} holds other structures than the network was trained on; make it as it "
            f"was: {EXTRA_MADE_BY}"
        )
    return extra

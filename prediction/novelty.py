"""How far a crystal lies from the training materials, measured by how far those lie from each other.

Two distances, each to the nearest training material: between compositions the L1 distance of atomic fractions (0 the
same composition, 2 no element in common), between graphs the Euclidean distance of the network's crystal vectors,
standardised over the training set. A distance's percentile (0 to 1) is the fraction of training materials whose own
nearest neighbour in the training set is closer.

Legend: n training materials, m crystals, E elements, D width of a crystal vector.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tc_common.composition import element_fractions
from tc_common.errors import UserError
from tc_common.model_files import read_tensors

Array = NDArray[np.float64]
FAR, VERY_FAR = 0.95, 0.99
ROWS_AT_ONCE = 500
NAMES = ("vectors", "mean", "std", "composition_nearest", "graph_nearest")


@dataclass(frozen=True)
class Distance:
    """To the nearest training material."""

    value: float
    percentile: float
    """Fraction (0 to 1) of the training materials that have a closer neighbour in the training set."""
    row: int
    """Index of the nearest training material."""


@dataclass(frozen=True, eq=False)
class Training:
    """The training set, as far as distances need it."""

    table: pd.DataFrame
    """`material_id, formula, tc` (K), n rows."""
    fractions: Array
    """(n, E)"""
    vectors: Array
    """(n, D), standardised"""
    mean: Array
    std: Array
    """(D,)"""
    composition_nearest: Array
    graph_nearest: Array
    """(n,) ascending: distance of every training material to the nearest other one."""

    def by_composition(self, formulas: list[str]) -> list[Distance]:
        """Distances (m) of compositions."""
        rows = element_fractions(formulas)
        return [_nearest(np.abs(self.fractions - row).sum(axis=1), self.composition_nearest) for row in rows]

    def by_graph(self, vectors: NDArray[np.float32]) -> list[Distance]:
        """Distances (m) of crystal vectors (m, D)."""
        rows = (vectors - self.mean) / self.std
        return [_nearest(np.linalg.norm(self.vectors - row, axis=1), self.graph_nearest) for row in rows]


def _nearest(distances: Array, known: Array) -> Distance:
    """The least of the distances (n,), and its percentile among those of the training materials."""
    row = int(distances.argmin())
    value = float(distances[row])
    return Distance(value, float(np.searchsorted(known, value) / len(known)), row)


def read_training(table: pd.DataFrame, path: Path) -> Training:
    """Training materials with the tensors that `training_tensors` made.

    Raises:
        UserError: the file is damaged or belongs to other materials.
    """
    tensors = read_tensors(path)
    fitting = set(tensors) == {*NAMES} and len(tensors["vectors"]) == len(table)
    if not fitting:
        raise UserError(f"{path} does not belong to the {len(table)} materials of training.csv; fetch both again")
    arrays = {name: value.double().numpy() for name, value in tensors.items()}
    return Training(table=table, fractions=element_fractions(table["formula"].tolist()), **arrays)


def training_tensors(formulas: list[str], vectors: NDArray[np.float32]) -> dict[str, Tensor]:
    """Tensors shipped for n training materials: standardised vectors in half precision, and nearest distances."""
    mean, std = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64).clip(min=1e-6)
    kept = ((vectors - mean) / std).astype(np.float16)
    fractions = element_fractions(formulas)
    arrays = {
        "vectors": kept,
        "mean": mean.astype(np.float32),
        "std": std.astype(np.float32),
        "composition_nearest": np.sort(nearest_other(fractions, "cityblock")).astype(np.float32),
        "graph_nearest": np.sort(nearest_other(kept.astype(np.float64), "euclidean")).astype(np.float32),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def nearest_other(points: Array, metric: str) -> Array:
    """Distance (n,) of each point to the nearest of the others."""
    from scipy.spatial.distance import cdist  # takes 0.2 s to import; whoever predicts needs none

    nearest = np.empty(len(points))
    for start in range(0, len(points), ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, len(points)))
        matrix = cdist(points[rows], points, metric)
        matrix[np.arange(len(rows)), rows] = np.inf
        nearest[rows] = matrix.min(axis=1)
    return nearest


def warning(kind: str, distance: Distance, training: Training) -> str:
    """One sentence where the distance's percentile is 0.95 or more, else nothing."""
    if distance.percentile < FAR:
        return ""
    near = training.table.iloc[distance.row]
    how = "very far" if distance.percentile >= VERY_FAR else "far"
    return (
        f"{kind} {how} from the training data: {distance.value:.3g} from the nearest ({near['formula']}, "
        f"{near['tc']:g} K), {100 * distance.percentile:.1f} % of the training materials have a closer neighbour"
    )

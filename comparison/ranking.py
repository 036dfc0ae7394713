"""How well predictions rank materials: precision, recall and enrichment of those at or above a Tc.

A search measures the top of a ranking, not the mean error. Materials with equal predictions share their place: hits
among them are spread evenly, so that the order of a file changes nothing.

Legend: n materials, g groups of equal prediction.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
# Liquid hydrogen, the McMillan limit, liquid nitrogen.
THRESHOLDS_K = (20.0, 40.0, 77.0)
# With fewer materials at or above a threshold, one more hit would change every number by a fifth.
LEAST_POSITIVE = 5


def precision_recall(positive: Flags, pred_K: Array) -> tuple[Array, Array]:
    """Precision and recall (g,) of taking all materials down to each distinct prediction, from the highest on."""
    taken, hits = _cumulative(positive, pred_K)
    return hits / taken, hits / positive.sum()


def average_precision(positive: Flags, pred_K: Array) -> float:
    """Mean of the precision over the steps of recall, without interpolation; the base rate for a random order."""
    precision, recall = precision_recall(positive, pred_K)
    return float(np.sum(precision * np.diff(recall, prepend=0.0)))


def enrichment(positive: Flags, pred_K: Array, taken: Array) -> Array:
    """Hits among the highest predictions over hits expected from as many materials taken at random.

    Args:
        taken: how many materials are taken, each from 1 to n; any shape, which is that of the answer.
    """
    places, hits = _cumulative(positive, pred_K)
    found = np.interp(taken, np.concatenate([[0.0], places]), np.concatenate([[0.0], hits]))
    return np.asarray(found / (taken * positive.mean()))


def best_enrichment(positive: Flags, taken: Array) -> Array:
    """Enrichment of a perfect ranking."""
    return np.asarray(np.minimum(taken, positive.sum()) / (taken * positive.mean()))


def _cumulative(positive: Flags, pred_K: Array) -> tuple[Array, Array]:
    """Materials (g,) and hits (g,) at or above each distinct prediction, from the highest on."""
    _, group = np.unique(-pred_K, return_inverse=True)
    return np.cumsum(np.bincount(group)).astype(float), np.cumsum(np.bincount(group, positive))

"""Who is trained on and who is tested."""

from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tc_common.errors import UserError
from tc_common.splits import SPLITS, TC_EDGES_K

Integers: TypeAlias = NDArray[np.int64]
HELD_OUT_SHARE = 0.15  # of the materials for validation, and as many for the test


def tc_strata(tc_K: pd.Series) -> Integers:
    """Stratum of each Tc: 0 for no superconductivity, then one per range that ends at the edges, then beyond them."""
    return np.digitize(tc_K.to_numpy(float), TC_EDGES_K, right=True)


def stratified_split(materials: pd.DataFrame, seed: int) -> pd.Series:
    """Name of the split of each material, 70/15/15 in every range of Tc; independent of the rows' order.

    Raises:
        UserError: fewer than 3 materials.
    """
    if len(materials) < len(SPLITS):
        raise UserError(f"{len(materials)} materials cannot be split in three; raise --limit or check the source")
    ordered = materials.sort_values("material_id")
    strata = tc_strata(ordered["tc"])
    shuffled = np.random.default_rng(seed).permutation(len(ordered))
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    held_out = max(1, int(len(ordered) * HELD_OUT_SHARE + 0.5))
    names = np.full(len(ordered), "train", dtype=object)
    names[_every(by_stratum, 2 * held_out)[::2]] = "val"
    names[_every(by_stratum, 2 * held_out)[1::2]] = "test"
    return pd.Series(names, index=ordered.index).reindex(materials.index)


def _every(positions: Integers, count: int) -> Integers:
    """`count` of the positions at even steps, the first step halfway in: every stretch gives its share to within 1."""
    return positions[((np.arange(count) + 0.5) * len(positions) / count).astype(int)]

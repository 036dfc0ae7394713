"""Three ways to divide materials into training, validation and test, once or in folds."""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tc_common.errors import UserError
from tc_common.splits import SPLITS, tc_strata

Split = Literal["stratified", "chemical-system", "parent"]
Integers: TypeAlias = NDArray[np.int64]

HELD_OUT_SHARE = 0.15  # of the materials for validation, and as many for the test where there are no folds
# The column whose values are never in two splits. Structures of one composition stay together in every split.
GROUPED_BY: dict[Split, str] = {"stratified": "key", "chemical-system": "chemical_system", "parent": "parent_group"}


def divide(materials: pd.DataFrame, split: Split, seed: int) -> pd.Series:
    """Name of the split of each material, 70/15/15; depends on the materials and the seed, not on the rows' order.

    Raises:
        UserError: fewer than three groups.
    """
    units = _units(materials, split)
    random = np.random.default_rng(seed)
    if split == "stratified":
        names = _deal(units, random)
    else:
        names = _fill(units, {"train": 1 - 2 * HELD_OUT_SHARE, "val": HELD_OUT_SHARE, "test": HELD_OUT_SHARE}, random)
    return materials[GROUPED_BY[split]].map(names)


def divide_in_folds(materials: pd.DataFrame, split: Split, seed: int, folds: int, repeats: int) -> Iterator[pd.Series]:
    """`folds` times `repeats` divisions; in each repeat every material is tested once, validation has 15 %.

    Raises:
        UserError: fewer groups than folds.
    """
    units = _units(materials, split)
    if len(units) < max(folds, len(SPLITS)):
        raise UserError(f"{len(units)} groups cannot fill {folds} folds; lower --folds or raise --limit")
    for repeat in range(repeats):
        random = np.random.default_rng([seed, repeat])
        if split == "stratified":
            parts = _deal_in_parts(units, folds, random)
        else:
            parts = _fill(units, dict.fromkeys(range(folds), 1 / folds), random)
        for part in range(folds):
            rest = units[parts != part]
            validation = HELD_OUT_SHARE / (1 - 1 / folds)
            names = _fill(rest, {"train": 1 - validation, "val": validation}, random)
            yield materials[GROUPED_BY[split]].map(names.reindex(units.index, fill_value="test"))


def _units(materials: pd.DataFrame, split: Split) -> pd.DataFrame:
    """One row per group that must stay together, with its number of materials in each Tc stratum."""
    strata = tc_strata(materials["tc"].to_numpy(float))
    units = pd.crosstab(materials[GROUPED_BY[split]], strata)
    if len(units) < len(SPLITS):
        raise UserError(f"{len(units)} groups cannot be split in three; raise --limit or choose another --split")
    return units


def _deal(units: pd.DataFrame, random: np.random.Generator) -> pd.Series:
    """Exact shares: shuffled within each stratum, then every so many-th to validation and test in turn."""
    ordered = _shuffled_by_stratum(units, random)
    held_out = max(1, int(len(ordered) * HELD_OUT_SHARE + 0.5))
    # The first step is taken halfway in, so every stretch of the list gives its share to within one.
    steps = ((np.arange(2 * held_out) + 0.5) * len(ordered) / (2 * held_out)).astype(int)
    names = np.full(len(ordered), "train", dtype=object)
    names[steps[::2]], names[steps[1::2]] = "val", "test"
    return pd.Series(names, index=units.index[ordered])


def _deal_in_parts(units: pd.DataFrame, folds: int, random: np.random.Generator) -> pd.Series:
    """Parts of equal size to within one, in every stratum too."""
    ordered = _shuffled_by_stratum(units, random)
    return pd.Series(np.arange(len(ordered)) % folds, index=units.index[ordered]).reindex(units.index)


def _shuffled_by_stratum(units: pd.DataFrame, random: np.random.Generator) -> Integers:
    shuffled = random.permutation(len(units))
    strata = units.to_numpy().argmax(axis=1)
    return shuffled[np.argsort(strata[shuffled], kind="stable")]


def _fill(
    units: pd.DataFrame, shares: "dict[str, float] | dict[int, float]", random: np.random.Generator
) -> pd.Series:
    """Give whole groups, large ones first, to the part that is least full of what the group holds.

    Fullness is relative to a part's share and counted in each Tc stratum, so groups of any size are spread over the
    parts in proportion to their shares and strata stay as balanced as groups allow. The order is jittered: without
    that the largest groups would meet the same parts under every seed.
    """
    counts = units.to_numpy(float)
    totals = np.maximum(counts.sum(axis=0), 1)
    share = np.array(list(shares.values()))
    filled = np.zeros((len(share), counts.shape[1]))
    chosen = np.empty(len(units), dtype=int)
    for group in np.argsort(-counts.sum(axis=1) * random.uniform(0.5, 1.5, len(units))):
        fullness = (filled / (totals * share[:, None])) @ counts[group]
        chosen[group] = _least(fullness, share, random)
        filled[chosen[group]] += counts[group]
    return pd.Series(np.array(list(shares))[chosen], index=units.index)


def _least(fullness: NDArray[np.float64], share: NDArray[np.float64], random: np.random.Generator) -> int:
    """The least full part; parts equally full are drawn in proportion to their shares."""
    candidates = np.flatnonzero(fullness <= fullness.min() * (1 + 1e-9))
    if len(candidates) == 1:
        return int(candidates[0])
    return int(random.choice(candidates, p=share[candidates] / share[candidates].sum()))

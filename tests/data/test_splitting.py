"""Divisions: exact shares, groups that stay together, nothing that depends on the order of rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.splitting import GROUPED_BY, Split, divide, divide_in_folds
from tc_common.errors import UserError
from tc_common.splits import tc_strata

KINDS: tuple[Split, ...] = ("stratified", "chemical-system", "parent")


def materials(count: int, seed: int = 0) -> pd.DataFrame:
    """As skewed as 3DSC: 31 % at 0 K, the rest exponential; systems and parents of one to a few percent of all."""
    random = np.random.default_rng(seed)
    tc_K = np.where(random.random(count) < 0.31, 0, random.exponential(14, count))
    return pd.DataFrame(
        {
            "material_id": [f"m{n:05d}" for n in range(count)],
            "key": [f"c{n}" for n in range(count)],
            "tc": tc_K,
            "chemical_system": [f"s{int(n)}" for n in count / 2 * random.random(count) ** 2],
            "parent_group": [f"p{int(n)}" for n in count / 3 * random.random(count) ** 2],
        }
    )


def test_the_upstream_table_of_5773_rows_gives_4041_866_866() -> None:
    table = materials(5773)
    names = divide(table, "stratified", seed=42)
    assert names.value_counts().to_dict() == {"train": 4041, "val": 866, "test": 866}
    strata = pd.crosstab(tc_strata(table["tc"].to_numpy()), names)
    expected = strata.sum(axis=1).to_numpy()[:, None] * np.array([0.15, 0.7, 0.15])
    assert np.abs(strata[["test", "train", "val"]].to_numpy() - expected).max() <= 2


@pytest.mark.parametrize("split", KINDS)
def test_no_group_stands_on_two_sides_over_20_seeds(split: Split) -> None:
    table = materials(600)
    for seed in range(20):
        names = divide(table, split, seed)
        assert names.groupby(table[GROUPED_BY[split]]).nunique().max() == 1
        assert set(names) == {"train", "val", "test"}


@pytest.mark.parametrize("split", KINDS)
def test_divisions_are_independent_of_row_order_and_follow_the_seed(split: Split) -> None:
    table = materials(300)
    shuffled = table.sample(frac=1, random_state=1)
    first = divide(table, split, 7)
    assert first.equals(divide(shuffled, split, 7).sort_index())
    assert not first.equals(divide(table, split, 8))


@pytest.mark.parametrize("split", ["chemical-system", "parent"])
def test_grouped_splits_are_balanced_as_well_as_groups_allow(split: Split) -> None:
    """Sizes to 2 % of the materials, and the share of each Tc range to 4 % of them, whatever the seed."""
    table = materials(3000)
    largest = table[GROUPED_BY[split]].value_counts().max() / len(table)
    strata = pd.Series(tc_strata(table["tc"].to_numpy()))
    for seed in range(5):
        names = divide(table, split, seed)
        shares = names.value_counts(normalize=True)
        assert abs(shares["test"] - 0.15) < max(0.02, largest)
        assert abs(shares["val"] - 0.15) < max(0.02, largest)
        ranges = pd.crosstab(strata, names, normalize="columns")
        assert ranges.sub(ranges["train"], axis=0).abs().to_numpy().max() < max(0.04, largest)


def test_large_groups_meet_different_sides_under_different_seeds() -> None:
    table = materials(600)
    largest = table["chemical_system"].value_counts().index[:8]
    first = table.drop_duplicates("chemical_system").set_index("chemical_system").loc[largest, "material_id"]
    place = table.set_index("material_id").index.get_indexer(first)
    sides = {tuple(divide(table, "chemical-system", seed).iloc[place]) for seed in range(30)}
    assert len(sides) >= 20


@pytest.mark.parametrize("split", KINDS)
def test_folds_test_everybody_once_in_each_repeat(split: Split) -> None:
    table = materials(400)
    divisions = list(divide_in_folds(table, split, seed=1, folds=5, repeats=2))
    assert len(divisions) == 10
    for repeat in (divisions[:5], divisions[5:]):
        tested = sum((names == "test").astype(int) for names in repeat)
        assert (tested == 1).all()
    for names in divisions:
        assert names.groupby(table[GROUPED_BY[split]]).nunique().max() == 1
        assert names.value_counts(normalize=True)["val"] == pytest.approx(0.15, abs=0.08)
    assert not divisions[0].equals(divisions[5])


def test_folds_of_a_stratified_split_are_equal_to_within_one() -> None:
    table = materials(403)
    sizes = [(names == "test").sum() for names in divide_in_folds(table, "stratified", 0, 5, 1)]
    assert max(sizes) - min(sizes) <= 1


def test_structures_of_one_composition_stay_together_in_a_stratified_split() -> None:
    table = materials(300).assign(key=[f"c{n // 3}" for n in range(300)])
    assert divide(table, "stratified", 0).groupby(table["key"]).nunique().max() == 1


@pytest.mark.parametrize("split", KINDS)
def test_too_few_groups_are_refused(split: Split) -> None:
    with pytest.raises(UserError, match="cannot be split in three"):
        divide(materials(6).head(2), split, 0)
    with pytest.raises(UserError, match="cannot fill 400 folds"):
        list(divide_in_folds(materials(300), split, 0, 400, 1))


@settings(max_examples=30, deadline=None)
@given(count=st.integers(3, 60), seed=st.integers(0, 10_000))
def test_stratified_shares_are_exact_for_any_number(count: int, seed: int) -> None:
    names = divide(materials(max(count, 6)).head(count), "stratified", seed)
    held_out = max(1, int(count * 0.15 + 0.5))
    assert (names == "val").sum() == (names == "test").sum() == held_out
    assert (names == "train").sum() == count - 2 * held_out

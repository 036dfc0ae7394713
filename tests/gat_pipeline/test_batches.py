"""Batches: every crystal once, alike, within the memory, and joined without a bond between crystals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gat_pipeline.dataset import bounded_micro_batches, bucketed_batches, collator, join
from gat_pipeline.graphs import GraphOptions
from tests.gat_pipeline.crystals import OPTIONS, sample_graphs

SIZES = np.random.default_rng(0).lognormal(7, 1, 1000).astype(np.int64)


@given(st.integers(2, 600), st.integers(2, 40), st.integers(0, 5))
def test_every_crystal_once_an_epoch(crystals: int, batch: int, epoch: int) -> None:
    batches = bucketed_batches(SIZES[:crystals], batch, seed=1)(epoch)
    assert sorted(index for indices in batches for index in indices) == list(range(crystals))
    assert all(2 <= len(indices) <= max(3, batch) for indices in batches), "batch normalisation needs two"
    assert np.ptp([len(indices) for indices in batches]) <= 1


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    assert bucketed_batches(SIZES, 32, 1)(4) == bucketed_batches(SIZES, 32, 1)(4)
    assert bucketed_batches(SIZES, 32, 1)(4) != bucketed_batches(SIZES, 32, 1)(5)
    assert bucketed_batches(SIZES, 32, 1)(4) != bucketed_batches(SIZES, 32, 2)(4)


def test_batches_are_as_large_as_each_other() -> None:
    totals = [SIZES[indices].sum() for indices in bucketed_batches(SIZES, 32, 1)(0)]
    order = np.random.default_rng(0).permutation(len(SIZES))
    at_random = [SIZES[order[at : at + 32]].sum() for at in range(0, len(SIZES) - 32, 32)]
    assert np.std(totals) < 0.6 * np.std(at_random)
    assert max(totals) < 1.7 * np.median(totals) < max(at_random)


def test_a_batch_holds_small_and_large_crystals() -> None:
    quartiles = np.quantile(SIZES, [0.25, 0.75])
    for indices in bucketed_batches(SIZES, 32, 1)(0):
        assert 6 <= (SIZES[indices] <= quartiles[0]).sum() <= 10
        assert 6 <= (SIZES[indices] >= quartiles[1]).sum() <= 10


@given(st.lists(st.integers(1, 100), min_size=1, max_size=50), st.integers(1, 10), st.integers(1, 300))
def test_micro_batches_are_bounded(sizes: list[int], batch: int, most: int) -> None:
    array, indices = np.array(sizes), list(range(len(sizes)))[::-1]
    micro_batches = bounded_micro_batches(array, indices, batch, most)
    assert [index for indices in micro_batches for index in indices] == indices
    assert all(len(indices) <= batch for indices in micro_batches)
    assert all(len(indices) == 1 or array[indices].sum() <= most for indices in micro_batches)


def test_joined_crystals_share_no_bond() -> None:
    graphs = sample_graphs()[:5]
    batch = join(graphs)
    crystal = batch["crystal"]
    assert batch["atoms"].tolist() == [len(graph.atom_features) for graph in graphs]
    assert torch.equal(crystal[batch["source"]], crystal[batch["target"]])
    assert torch.equal(batch["target"][batch["first_bond"]], batch["source"][batch["second_bond"]])
    assert len(batch["angle_cosine"]) == sum(graph.angles for graph in graphs)
    assert batch["lattice"].shape == (5, 6) and batch["composition"].shape == (5, 101)
    assert batch["lattice"][2].tolist() == graphs[2].lattice.tolist()


def test_an_angle_cutoff_keeps_all_bonds_and_short_angles() -> None:
    every, short = join(sample_graphs()[:3]), join(sample_graphs()[:3], angle_cutoff_A=3.0)
    length = short["bond_A"].norm(dim=1)
    assert torch.equal(every["bond_A"], short["bond_A"])
    assert length[short["first_bond"]].max() <= 3.0 and length[short["second_bond"]].max() <= 3.0
    kept = (length[every["first_bond"]] <= 3.0) & (length[every["second_bond"]] <= 3.0)
    assert 0 < kept.sum() == len(short["first_bond"])


@pytest.mark.parametrize("options", [OPTIONS, GraphOptions(angle_cutoff_A=3.0)])
def test_collate_gives_the_loops_batch(options: GraphOptions) -> None:
    batch = collator(options)(
        [("b", 2.0, sample_graphs()[0], None, True), ("a", 1.0, sample_graphs()[1], None, False)]
    )
    assert batch["material_id"] == ["b", "a"] and batch["tc"].tolist() == [2.0, 1.0]
    assert batch["tc"].dtype == torch.float32

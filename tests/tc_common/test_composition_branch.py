"""Pretraining of the composition branch: it learns what compositions say, by its seed alone."""

from typing import TypeAlias

import numpy as np
import pytest
import torch

from tc_common.chemistry import composition_features
from tc_common.composition_branch import CompositionBranch, pretrain
from tc_common.targets import TargetTransform

METALS = ("V", "Ta", "Mo", "Zr")
Fitted: TypeAlias = tuple[CompositionBranch, torch.nn.Linear, TargetTransform]


def alloys(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of binary alloys of niobium, and their Tc (K): 20 times its fraction."""
    random = np.random.default_rng(seed)
    share = random.uniform(0.05, 0.95, count).round(3)
    formulas = [f"Nb{x:.3f}{random.choice(METALS)}{1 - x:.3f}" for x in share]
    return composition_features(formulas, "physics").astype(np.float32), 20 * share


def fitted(
    tc_K: np.ndarray, seed: int = 0, epochs: int = 15
) -> tuple[CompositionBranch, torch.nn.Linear, TargetTransform]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        branch = CompositionBranch("physics")
    target = TargetTransform("sqrt", torch.tensor(tc_K))
    end = pretrain(branch, alloys(200, 3)[0], tc_K, target, epochs, seed)
    return branch.eval(), end, target


@torch.no_grad()
def predicted(fit: Fitted, features: np.ndarray) -> np.ndarray:
    branch, end, target = fit
    return target.decode(end(branch({"physics": torch.from_numpy(features)})).squeeze(1)).numpy()


def test_the_branch_learns_tc_of_compositions_and_nothing_from_shuffled_ones() -> None:
    tc_K, (wanted, wanted_K) = alloys(200, 3)[1], alloys(60, 4)
    median_mae_K = np.abs(wanted_K - np.median(tc_K)).mean()
    error_K = np.abs(predicted(fitted(tc_K), wanted) - wanted_K).mean()
    assert error_K < 0.35 * median_mae_K
    shuffled = np.random.default_rng(5).permutation(tc_K)
    assert np.abs(predicted(fitted(shuffled), wanted) - wanted_K).mean() > 0.9 * median_mae_K


def test_everything_depends_on_the_seed_alone() -> None:
    tc_K, wanted = alloys(200, 3)[1], alloys(20, 4)[0]
    first = predicted(fitted(tc_K, epochs=2), wanted)
    torch.rand(7)
    state = torch.random.get_rng_state()
    assert np.array_equal(predicted(fitted(tc_K, epochs=2), wanted), first)
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random numbers stay as they were"
    assert not np.allclose(predicted(fitted(tc_K, seed=1, epochs=2), wanted), first, atol=0.1)


def test_its_input_is_standardised_by_the_compositions_it_learned_from() -> None:
    features, tc_K = alloys(200, 3)
    branch = fitted(tc_K, epochs=1)[0]
    assert branch.mean.numpy() == pytest.approx(features.mean(axis=0), abs=1e-4)

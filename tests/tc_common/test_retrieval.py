"""KNNRegressor: the median is a median, distance is that of the features, the mixing weight follows their use."""

import numpy as np
import pytest
import torch

from tc_common.retrieval import RETRIEVED, FeatureSet, KNNRegressor, fit, principal_axes, weighted_median


def test_the_weighted_median_is_the_least_value_at_half_the_weight() -> None:
    random = np.random.default_rng(0)
    values, weights = random.integers(0, 9, (50, 7)).astype(float), random.random((50, 7))
    for row, median in enumerate(weighted_median(torch.tensor(values), torch.tensor(weights)).tolist()):
        reached = [weights[row][values[row] <= value].sum() / weights[row].sum() for value in sorted(values[row])]
        assert median == sorted(values[row])[next(n for n, weight in enumerate(reached) if weight >= 0.5)]


def seen(count: int, seed: int, clusters: bool = True, network_error_K: float = 5.0) -> FeatureSet:
    """Materials in twenty narrow clusters of 80 dimensions; Tc is the cluster's, or has nothing to do with it."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, 80))
    cluster = random.integers(0, 20, count)
    features = centres[cluster] + 0.01 * random.normal(size=(count, 80))
    tc_K = 4.0 * cluster if clusters else random.uniform(0, 80, count)
    network_K = tc_K + random.normal(0, network_error_K, count)
    return FeatureSet(torch.tensor(features, dtype=torch.float32), network_K, tc_K.astype(float))


def test_retrieval_has_the_weight_that_its_error_on_validation_deserves() -> None:
    knowing = fit(seen(400, 1), seen(100, 2))
    test = seen(100, 3)
    assert float(knowing.mixing_weight) == 1.0
    np.testing.assert_allclose(knowing(test.features, torch.tensor(test.network_K)).numpy(), test.tc_K, atol=1e-4)
    ignorant = fit(seen(400, 1, clusters=False), seen(100, 2, clusters=False))
    assert float(ignorant.mixing_weight) < 0.15
    perfect = fit(seen(400, 1), seen(100, 2, network_error_K=0.0))
    assert float(perfect.mixing_weight) == 0.0


def test_a_training_material_retrieves_itself_and_a_small_bandwidth_leaves_out_the_rest() -> None:
    train_set = seen(400, 1, clusters=False)
    fitted = fit(train_set, seen(100, 2))
    fitted.bandwidth.fill_(1e-4)
    np.testing.assert_allclose(fitted.estimate(train_set.features).numpy(), train_set.tc_K, rtol=1e-5)
    distance, index = fitted.nearest(train_set.features[:5])
    assert index[:, 0].tolist() == [0, 1, 2, 3, 4] and distance.shape == (5, RETRIEVED)
    fitted.bandwidth.fill_(1e6)  # all thirty alike: the plain median
    ordered, median = np.sort(train_set.tc_K[index.numpy()], axis=1), fitted.estimate(train_set.features[:5]).numpy()
    middle = ordered[:, RETRIEVED // 2 - 1 : RETRIEVED // 2 + 1]  # of an even number there are two
    assert (middle[:, 0] - 1e-4 <= median).all() and (median <= middle[:, 1] + 1e-4).all()


def test_a_crystal_far_from_all_is_given_the_tc_of_its_nearest_materials() -> None:
    """All distances are many bandwidths; no material may lose its weight to rounding, or the lowest Tc would win."""
    train_set = seen(400, 1)
    far = 100 * train_set.features[train_set.tc_K.argmax()][None]  # in the direction of the cluster of the highest Tc
    estimated_K = fit(train_set, seen(100, 2)).estimate(far)
    assert estimated_K.tolist() == pytest.approx([76.0])


def test_principal_axes_keep_distances_and_leave_out_what_varies_least() -> None:
    random = torch.Generator().manual_seed(0)
    features = torch.randn(200, 100, generator=random) * torch.cat([torch.ones(60), torch.zeros(40)]) + 3
    mean, axes = principal_axes(features)
    np.testing.assert_allclose((axes.T @ axes).numpy(), np.eye(64), atol=1e-5)
    projected = (features - mean) @ axes
    np.testing.assert_allclose(_distances(projected), _distances(features), atol=1e-4)


def _distances(points: torch.Tensor) -> np.ndarray:
    return torch.cdist(points.double(), points.double()).numpy()


def test_fewer_materials_than_neighbours() -> None:
    small = KNNRegressor(3, 8, 4)
    assert small.nearest(torch.zeros(2, 8))[1].shape == (2, 3)

"""Precision, recall and enrichment against counting by hand and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from comparison.ranking import average_precision, best_enrichment, enrichment, precision_recall

# Five materials by falling prediction: hit, miss, hit, miss, miss.
POSITIVE = np.array([True, False, True, False, False])
PRED_K = np.array([50.0, 40.0, 30.0, 20.0, 10.0])


def test_precision_and_recall_by_hand() -> None:
    precision, recall = precision_recall(POSITIVE, PRED_K)
    assert precision == pytest.approx([1, 1 / 2, 2 / 3, 2 / 4, 2 / 5])
    assert recall == pytest.approx([1 / 2, 1 / 2, 1, 1, 1])
    assert average_precision(POSITIVE, PRED_K) == pytest.approx((1 + 2 / 3) / 2)


def test_equal_predictions_share_one_place() -> None:
    tied = np.array([50.0, 50.0, 30.0, 10.0, 10.0])
    precision, recall = precision_recall(POSITIVE, tied)
    assert precision == pytest.approx([1 / 2, 2 / 3, 2 / 5])
    assert recall == pytest.approx([1 / 2, 1, 1])
    # of the one hit among the two highest, half is expected in the first place: 0.5 / (1 · 2/5)
    assert enrichment(POSITIVE, tied, np.array([1.0])) == pytest.approx([0.5 / 0.4])


def test_enrichment_by_hand() -> None:
    found = enrichment(POSITIVE, PRED_K, np.array([1.0, 2.0, 3.0, 5.0]))
    assert found == pytest.approx([1 / 0.4, 1 / 0.8, 2 / 1.2, 1.0]), "all materials: no gain over a random choice"
    assert best_enrichment(POSITIVE, np.array([1.0, 2.0, 5.0])) == pytest.approx([2.5, 2.5, 1.0])


def test_the_order_of_the_file_changes_nothing_and_scikit_learn_agrees() -> None:
    random = np.random.default_rng(0)
    positive, pred_K = random.random(200) < 0.2, random.integers(0, 20, 200).astype(float)
    order, taken = random.permutation(200), np.arange(1.0, 201.0)
    assert average_precision(positive, pred_K) == pytest.approx(average_precision_score(positive, pred_K))
    assert enrichment(positive, pred_K, taken) == pytest.approx(enrichment(positive[order], pred_K[order], taken))
    assert np.all(enrichment(positive, pred_K, taken) <= best_enrichment(positive, taken) + 1e-12)

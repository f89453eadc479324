"""Metrics against hand-computed cases, a search over all matchings, and their symmetries."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from hume_turtle.estimators.voting import match_clusters
from hume_turtle.evaluation.metrics import (
    adjusted_rand_index,
    cluster_accuracy,
    confusion_matrix,
    evaluate,
    normalized_mutual_info,
    per_class_accuracy,
)

MEASURES = [cluster_accuracy, adjusted_rand_index, normalized_mutual_info]


def best_over_permutations(y_true, y_pred) -> float:
    """Cluster accuracy by trying every one-to-one matching."""
    classes, clusters = sorted(set(y_true)), sorted(set(y_pred))
    classes += [None] * (len(clusters) - len(classes))  # a cluster may stay without a class
    best = 0
    for chosen in permutations(classes, len(clusters)):
        to_class = dict(zip(clusters, chosen))
        best = max(best, sum(to_class[k] == c for c, k in zip(y_true, y_pred)))
    return best / len(y_true)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "accuracy", "per_class"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], 1.0, [1, 1]),
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0, [1, 1]),  # renamed
        ([0, 0, 1, 1], [7, 7, -3, -3], 1.0, [1, 1]),  # gaps and negative names
        ([5, 5, -2, -2], [0, 0, 1, 1], 1.0, [1, 1]),
        ([0, 0, 1, 1], [2, 2, 2, 2], 0.5, None),  # one cluster; either class may have it
        ([0, 0, 0, 1], [0, 0, 1, 2], 0.75, [2 / 3, 1]),  # more clusters than classes
        ([0, 0, 0, 1, 1, 2], [4, 4, 4, 4, 9, 9], 4 / 6, [1, 0.5, 0]),  # fewer clusters
        ([0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1], 4 / 6, [0.5, 1]),
        ([0], [3], 1.0, [1]),
    ],
)
def test_accuracies_computed_by_hand(y_true, y_pred, accuracy, per_class):
    assert cluster_accuracy(y_true, y_pred) == pytest.approx(accuracy)
    if per_class is not None:
        np.testing.assert_allclose(per_class_accuracy(y_true, y_pred), per_class)


def test_majority_vote_is_not_a_matching():
    # Both clusters hold mostly class 0, but only one of them may have it.
    assert cluster_accuracy([0, 0, 0, 0, 0, 1], [0, 0, 0, 1, 1, 1]) == pytest.approx(4 / 6)


@pytest.mark.parametrize("n_clusters", [2, 4, 6])
def test_accuracy_is_the_best_of_all_matchings(n_clusters):
    rng = np.random.default_rng(n_clusters)
    for _ in range(20):
        y_true = rng.integers(0, 4, 15).tolist()
        y_pred = rng.integers(0, n_clusters, 15).tolist()
        assert cluster_accuracy(y_true, y_pred) == pytest.approx(
            best_over_permutations(y_true, y_pred)
        )


@pytest.mark.parametrize("measure", MEASURES)
def test_symmetric_and_blind_to_names(measure):
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 5, 60), rng.integers(0, 7, 60)
    value = measure(y_true, y_pred)
    assert measure(y_pred, y_true) == pytest.approx(value)
    renamed = np.array([40, -7, 3, 12, 0, 99, -1])[y_pred]
    assert measure(y_true, renamed) == pytest.approx(value)
    assert measure(renamed, renamed) == pytest.approx(1)


def test_rand_index_and_mutual_information_by_hand():
    y_true, y_pred = [0, 0, 1, 1], [0, 0, 1, 2]
    # Pairs joined by both: 1; by the first 2, by the second 1, of 6: expected 2 · 1 / 6.
    assert adjusted_rand_index(y_true, y_pred) == pytest.approx((1 - 1 / 3) / (1.5 - 1 / 3))
    # I = log 2, H(true) = log 2, H(pred) = 1.5 log 2.
    assert normalized_mutual_info(y_true, y_pred) == pytest.approx(1 / np.sqrt(1.5))
    assert normalized_mutual_info(y_true, [0, 0, 0, 0]) == pytest.approx(0, abs=1e-9)


def test_confusion_matrix_has_the_matching_on_its_diagonal():
    np.testing.assert_array_equal(
        confusion_matrix([0, 0, 0, 1, 1, 1], [1, 1, 2, 0, 0, 2]), [[2, 0, 1], [0, 2, 1]]
    )
    fewer = confusion_matrix([0, 0, 1, 2, 2], [8, 8, 8, 5, 5])  # class 1 gets no cluster
    np.testing.assert_array_equal(fewer, [[2, 0, 0], [1, 0, 0], [0, 0, 2]])


def test_evaluate_collects_fractions():
    y_true, y_pred = [0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1]
    scores = evaluate(y_true, y_pred)
    assert list(scores) == ["cluster_accuracy", "mean_per_class_accuracy", "ari", "nmi"]
    assert scores["cluster_accuracy"] == pytest.approx(4 / 6)
    assert scores["mean_per_class_accuracy"] == pytest.approx(0.75)
    assert scores["ari"] == adjusted_rand_index(y_true, y_pred)
    assert all(type(value) is float for value in scores.values())


def test_named_classes_are_not_matched():
    y_true, y_pred = [3, 3, 5, 5, 5], [5, 3, 3, 3, 5]
    scores = evaluate(y_true, y_pred, named=True)
    assert scores["cluster_accuracy"] == pytest.approx(2 / 5)
    assert scores["mean_per_class_accuracy"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert evaluate(y_true, y_pred)["cluster_accuracy"] == pytest.approx(3 / 5)
    assert scores["ari"] == evaluate(y_true, y_pred)["ari"]


def test_match_clusters_renames_to_the_reference():
    assert match_clusters([10, 10, 20, 20], [1, 1, 0, 0]) == {0: 20, 1: 10}
    assert match_clusters([0, 0, 0, 1], [5, 5, 6, 7]) == {5: 0, 7: 1}  # 6 is left over


def test_match_clusters_of_all_classes_is_a_permutation():
    reference, labels = [0, 0, 3, 3], [2, 2, 1, 1]
    mapping = match_clusters(reference, labels, n_classes=4)
    assert mapping[2] == 0
    assert mapping[1] == 3
    assert sorted(mapping) == sorted(mapping.values()) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2"):
        match_clusters([0, 1, 2], [0, 1, 3], n_classes=3)


def test_whole_numbers_of_any_type_are_labels():
    y_true = torch.tensor([0, 0, 1])
    for y_pred in ([1.0, 1.0, 0.0], np.array([True, True, False]), np.array([9, 9, 4], np.uint8)):
        assert cluster_accuracy(y_true, y_pred) == 1


@pytest.mark.parametrize("measure", [*MEASURES, per_class_accuracy, confusion_matrix, evaluate])
def test_bad_input(measure):
    with pytest.raises(ValueError, match="y_true is empty"):
        measure([], [])
    with pytest.raises(ValueError, match="y_true has 3 labels but y_pred has 2"):
        measure([0, 1, 2], [0, 1])
    for bad in ([0.5, 1.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="y_pred must hold integers"):
            measure([0, 1], bad)
    with pytest.raises(ValueError, match="one-dimensional"):
        measure([[0], [1]], [0, 1])
    with pytest.raises(ValueError, match="integers"):
        measure(["a", "b"], [0, 1])

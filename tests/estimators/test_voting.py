"""Majority votes counted by hand."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from hume_turtle.estimators import voting
from hume_turtle.estimators.voting import class_order, majority_vote, matched, vote_shares


def test_class_order_undoes_a_renaming():
    labels = np.array([0, 0, 1, 2, 2, 2, 1])
    renamed = np.array([2, 0, 1])[labels]
    order = class_order(labels, renamed, 3)
    assert (np.argsort(order)[renamed] == labels).all()


def test_equally_good_matchings_are_decided_as_published():
    """The published evaluation assigns a run's classes, as rows, to those of the reference."""
    rng = np.random.default_rng(0)
    differ = False
    for _ in range(20):
        reference, labels = rng.integers(6, size=(2, 30))
        counts = np.zeros((6, 6), int)
        np.add.at(counts, (labels, reference), 1)
        _, names = linear_sum_assignment(counts.max() - counts)
        np.testing.assert_array_equal(names[class_order(reference, labels, 6)], np.arange(6))
        rows, columns = linear_sum_assignment(counts.T, maximize=True)
        differ |= any(names[columns] != rows)
    assert differ  # the other way round has other matchings


def test_vote_shares_by_hand():
    labelings = np.array([[0, 1, 2], [0, 2, 2], [1, 0, 2], [1, 1, 0]])
    for best, labels in ((0, [0, 1, 2]), (2, [1, 1, 2]), (3, [1, 1, 2])):
        shares = vote_shares(labelings, best, 4)
        assert shares.shape == (3, 4)
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
        assert (shares.argmax(1) == labels).all()
    np.testing.assert_allclose(vote_shares(labelings, 0, 4)[0] * 4.5, [2.5, 2, 0, 0])


def test_ties_go_to_the_lowest_class_where_no_run_decides_them():
    labelings = np.array([[2, 1, 3], [0, 3, 3], [2, 1, 1], [0, 3, 1]])
    np.testing.assert_array_equal(majority_vote(labelings, None, 4), [0, 1, 1])
    np.testing.assert_array_equal(majority_vote(labelings, 1, 4), [0, 3, 3])
    np.testing.assert_allclose(vote_shares(labelings, None, 4)[0], [0.5, 0, 0.5, 0])


def test_the_vote_of_renamed_noisy_labelings_is_what_they_are_noise_of(monkeypatch):
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=100)
    noisy = [np.where(rng.random(100) < 0.1, rng.integers(4, size=100), truth) for _ in range(9)]
    renamed = np.stack([truth, *(rng.permutation(4)[labels] for labels in noisy)])
    found = majority_vote(matched(renamed, 0, 4), 0, 4)
    np.testing.assert_array_equal(found, truth)
    monkeypatch.setattr(voting, "VOTES_AT_ONCE", 4 * 7)  # seven rows at a time
    np.testing.assert_array_equal(majority_vote(matched(renamed, 0, 4), 0, 4), found)

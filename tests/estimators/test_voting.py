"""Majority votes counted by hand."""

import numpy as np

from hume_turtle.estimators import voting
from hume_turtle.estimators.voting import class_order, majority_vote, matched, vote_shares


def test_class_order_undoes_a_renaming():
    labels = np.array([0, 0, 1, 2, 2, 2, 1])
    renamed = np.array([2, 0, 1])[labels]
    order = class_order(labels, renamed, 3)
    assert (np.argsort(order)[renamed] == labels).all()


def test_vote_shares_by_hand():
    labelings = np.array([[0, 1, 2], [0, 2, 2], [1, 0, 2], [1, 1, 0]])
    for best, labels in ((0, [0, 1, 2]), (2, [1, 1, 2]), (3, [1, 1, 2])):
        shares = vote_shares(labelings, best, 4)
        assert shares.shape == (3, 4)
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
        assert (shares.argmax(1) == labels).all()
    np.testing.assert_allclose(vote_shares(labelings, 0, 4)[0] * 4.5, [2.5, 2, 0, 0])


def test_the_vote_of_renamed_noisy_labelings_is_what_they_are_noise_of(monkeypatch):
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=100)
    noisy = [np.where(rng.random(100) < 0.1, rng.integers(4, size=100), truth) for _ in range(9)]
    renamed = np.stack([truth, *(rng.permutation(4)[labels] for labels in noisy)])
    found = majority_vote(matched(renamed, 0, 4), 0, 4)
    np.testing.assert_array_equal(found, truth)
    monkeypatch.setattr(voting, "VOTES_AT_ONCE", 4 * 7)  # seven rows at a time
    np.testing.assert_array_equal(majority_vote(matched(renamed, 0, 4), 0, 4), found)

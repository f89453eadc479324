"""Majority votes counted by hand."""

import numpy as np

from hume_turtle.voting import class_order, vote_shares


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

"""Margins by hand, against a support vector machine, and of what does not belong together."""

import numpy as np
import pytest
from sklearn.svm import SVC

from hume_turtle import margins


def test_a_distance_by_hand():
    """Two classes split by x = 1: the boundary's normal is (2, 0), whatever the heads' scale."""
    space = np.array([[3.0, 7.0], [0.0, 1.0], [0.5, 0.0]])
    heads = [np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 2.0]])]
    np.testing.assert_allclose(margins(space, heads, [0, 1, 0]), [[2.0, 1.0, -0.5]])
    np.testing.assert_allclose(margins(space, [9 * heads[0]], [0, 1, 0]), [[2.0, 1.0, -0.5]])


def test_of_several_classes_the_nearest_boundary_counts():
    space, heads = np.array([[0.0, 0.0]]), np.zeros((3, 3))
    heads[1], heads[2] = [3.0, 0.0, -6.0], [0.0, 4.0, -4.0]  # boundaries at x = 2 and y = 1
    np.testing.assert_allclose(margins([space, 2 * space], [heads, heads], [0]), [[1.0], [1.0]])


def test_no_other_line_has_a_wider_margin_than_the_support_vector_machine(blobs):
    (space,), planted = blobs(60, 2, (2,))
    machine = SVC(kernel="linear", C=1e6).fit(space, planted)
    normal, bias = machine.coef_[0], machine.intercept_[0]
    best = np.stack([np.append(-normal, -bias), np.append(normal, bias)])
    widest = margins(space, [best], planted).min()
    assert widest == pytest.approx(1 / np.linalg.norm(normal), rel=1e-2)
    rng = np.random.default_rng(0)
    for _ in range(20):
        turned = best + rng.normal(0, 0.1, best.shape)
        assert margins(space, [turned], planted).min() <= widest + 1e-6


@pytest.mark.parametrize(
    ("heads", "labels", "message"),
    [
        ([np.zeros((2, 4))], [0, 1], "dimensions"),
        ([np.zeros((2, 3))] * 2, [0, 1], "2 spaces|1 spaces"),
        ([np.zeros((2, 3))], [0], "2 rows but there are 1"),
        ([np.zeros((2, 3))], [0, 2], "outside"),
    ],
)
def test_what_does_not_belong_together(heads, labels, message):
    with pytest.raises(ValueError, match=message):
        margins(np.zeros((2, 2)), heads, labels)

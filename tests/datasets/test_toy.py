import numpy as np

from hume_turtle.datasets.toy import toy_spaces


def separable(space, labels):
    """Whether the sign of one coordinate tells the labels apart."""
    return any(((space[:, k] > 0) == labels).mean() > 0.99 for k in range(2))


def test_only_the_shape_is_separable_in_both_spaces():
    spaces, truth = toy_spaces()
    found = {name: [separable(space, labels) for space in spaces] for name, labels in truth.items()}
    assert found == {"shape": [True, True], "background": [True, False], "light": [False, True]}


def test_all_combinations_of_the_properties_are_equally_frequent():
    _, truth = toy_spaces(n=40)
    counts = np.unique(np.stack(list(truth.values())), axis=1, return_counts=True)[1]
    assert counts.tolist() == [5] * 8


def test_the_same_seed_gives_the_same_points():
    first, second = toy_spaces(seed=3)[0], toy_spaces(seed=3)[0]
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    assert first[0].shape == (96, 2)
    assert first[0].dtype == np.float32

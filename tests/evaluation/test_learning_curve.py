"""A probe given ever more labels."""

import numpy as np
import pytest

from hume_turtle import learning_curve
from hume_turtle.evaluation.linear_probe import linear_probe


def test_more_labels_help_and_all_of_them_give_the_probe_itself(blobs):
    spaces, planted = blobs(200, 4, (6, 5))
    random = np.random.default_rng(0)
    spaces = [space + random.normal(0, 3, space.shape) for space in spaces]  # classes overlap
    train, test = slice(120), slice(120, 200)
    parts = [space[train] for space in spaces], planted[train]
    rest = [space[test] for space in spaces], planted[test]
    curve = learning_curve(*parts, *rest, [8, 30, 120], seeds=range(6))
    means = curve.groupby("labels")["accuracy"].mean()
    assert means[8] < means[30] < means[120]
    probe = linear_probe(*parts)
    expected = (probe.predict(rest[0]) == rest[1]).mean()
    whole = curve.query("labels == 120 and seed == 0")["accuracy"].item()
    assert whole == pytest.approx(expected, abs=0.03)


def test_a_seed_gives_the_same_rows_and_each_count_the_first_of_them(blobs):
    (space,), planted = blobs(60, 2, (3,))
    first, second = (
        learning_curve(space, planted, space, planted, counts, seeds=[3])
        for counts in ([10, 20], [20])
    )
    assert first["accuracy"].iloc[1] == second["accuracy"].iloc[0]


def test_counts_that_cannot_be_are_refused_before_any_fit(monkeypatch):
    monkeypatch.setattr("hume_turtle.evaluation.learning_curve.linear_probe", None)
    space, labels = np.zeros((10, 2)), np.arange(10)
    for count in (4, 11):
        with pytest.raises(ValueError, match="counts"):
            learning_curve(space, labels, space, labels, [5, count])

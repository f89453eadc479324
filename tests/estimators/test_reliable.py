"""The most confident rows of each class, against a literal loop and by hand."""

import numpy as np
import pytest

from hume_turtle import Hume, Turtle, reliable_rows

pytestmark = pytest.mark.usefixtures("one_thread")


def literal(labels, confidence, count_of):
    """Class by class: sort its rows by falling confidence, keep the first ones."""
    kept = []
    for c in sorted(set(labels)):
        mine = [i for i in range(len(labels)) if labels[i] == c]
        mine.sort(key=lambda i: -confidence[i])  # stable: equals stay in row order
        kept += mine[: count_of(len(mine))]
    return sorted(kept)


def test_the_surest_of_each_class_by_hand():
    labels = np.array([0, 0, 0, 0, 7, 7, -1])
    confidence = np.array([0.1, 0.9, 0.5, 0.9, 0.2, 0.3, 0.0])
    assert reliable_rows(labels, confidence, share=0.5).tolist() == [1, 3, 5, 6]
    assert reliable_rows(labels, confidence, share=0.25).tolist() == [1, 5, 6], "ties: the first"
    assert reliable_rows(labels, confidence, share=1e-9).tolist() == [1, 5, 6], "at least one"
    assert reliable_rows(labels, confidence, share=1.0).tolist() == list(range(7))
    assert reliable_rows(labels, confidence, per_class=3).tolist() == [1, 2, 3, 4, 5, 6]
    assert reliable_rows(labels.tolist(), confidence.tolist(), per_class=1).tolist() == [1, 5, 6]


def test_as_a_loop_over_the_classes():
    rng = np.random.default_rng(0)
    labels = rng.integers(6, size=300)
    for confidence in (rng.random(300), rng.integers(4, size=300), np.ones(300, np.float32)):
        for share in (0.01, 0.2, 0.29, 0.5, 1):
            found = reliable_rows(labels, confidence, share)
            expected = literal(labels, confidence, lambda n, s=share: max(1, round(s * n)))
            assert found.tolist() == expected
            assert found.dtype == np.int64
        found = reliable_rows(labels, confidence, per_class=48)
        assert found.tolist() == literal(labels, confidence, lambda n: 48)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0.5]), r"one number for each of 2 labels, not .* shape \(1,\)"),
        (([0, 1], [[0.5, 0.5]]), r"shape \(1, 2\)"),
        (([0, 1], [0.5, np.nan]), "confidence holds NaN"),
        (([0, 1], ["high", "low"]), "confidence must hold numbers"),
        (([0, 1], [0.5, None]), "confidence"),
        (([0.5, 1], [0.5, 0.5]), "labels must hold integers"),
        (([], []), "labels is empty"),
        (([0, 1], [0.5, 0.5], 0), "share=0 must be a number > 0"),
        (([0, 1], [0.5, 0.5], 1.1), r"share=1\.1 must be a number <= 1"),
        (([0, 1], [0.5, 0.5], np.nan), "share=nan"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        reliable_rows(*arguments)


@pytest.mark.parametrize("per_class", [0, -1, 1.5, "2", True])
def test_a_number_per_class_that_is_refused(per_class):
    with pytest.raises(ValueError, match="per_class"):
        reliable_rows([0, 1], [0.5, 0.5], per_class=per_class)


def test_from_a_fit_to_pseudo_labels(blobs):
    """Rows far from every class get less confidence, and are not among those kept."""
    spaces, planted = blobs(60, 3, (6, 5))
    noise = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)
    spaces = [np.concatenate([z, noise[:, : z.shape[1]]]) for z in spaces]
    turtle = Turtle(3, outer_steps=150, inner_lr=0.01, outer_lr=0.01, warm_start=True).fit(spaces)
    rows = reliable_rows(turtle.labels_, turtle.confidence(spaces), per_class=15)
    assert len(rows) == 45
    assert rows.max() < 60
    names = {(found, true) for found, true in zip(turtle.labels_[rows], planted[rows])}
    assert len(names) == 3, "every found class is one planted class"
    votes = Hume(3, n_runs=3, outer_steps=20, inner_steps=20, n_subsets=2, outer_lr=0.1)
    votes.fit(spaces)
    kept = reliable_rows(votes.labels_, votes.confidence(spaces), share=0.5)
    assert set(votes.labels_[kept]) == set(votes.labels_)

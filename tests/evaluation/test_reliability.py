"""Votes of runs and reliable rows, on labelings small enough to count by hand."""

import numpy as np
import pandas as pd
import pytest

from hume_turtle import Hume
from hume_turtle.estimators import voting
from hume_turtle.evaluation.metrics import cluster_accuracy
from hume_turtle.evaluation.reliability import (
    aggregation_curve,
    mean_reliability,
    numbers_of_runs,
    reliability_curve,
    scored_vote,
)

TRUTH = np.repeat([0, 1, 2], 4)


def noisy_runs(runs: int, wrong: int) -> np.ndarray:
    """Labelings (runs, 12), each numbered in its own way, each with other rows wrong."""
    rng = np.random.default_rng(0)
    labelings = np.tile(TRUTH, (runs, 1))
    for run in labelings:
        rows = rng.choice(12, wrong, replace=False)
        run[rows] = (run[rows] + 1) % 3
        run[:] = rng.permutation(3)[run]
    return labelings


def test_the_vote_is_right_where_runs_err_on_different_rows():
    labelings = noisy_runs(9, 2)
    scores = np.linspace(0.5, 0.9, 9)
    assert max(cluster_accuracy(TRUTH, run) for run in labelings) < 0.9
    vote = scored_vote(labelings, scores, 3)
    assert cluster_accuracy(TRUTH, vote) == 1
    curve = aggregation_curve(TRUTH, labelings, scores, 3, draws=4)
    assert curve["runs"].value_counts().to_dict() == {1: 9, 2: 4, 3: 4, 5: 4, 9: 1}
    one, last = curve[curve["runs"] == 1], curve.iloc[-1]
    assert (one["single"] == one["best"]).all()
    assert (one["single"] == one["vote"]).all()
    assert last["single"] == pytest.approx(10 / 12)
    assert last["best"] == pytest.approx(10 / 12)
    assert last["vote"] == 1


def test_the_best_run_decides_ties_and_is_chosen_by_its_score_not_by_the_truth():
    labelings = np.array([TRUTH, np.roll(TRUTH, 1)])
    for scores, better in (([0.9, 0.1], 0), ([0.1, 0.9], 1)):
        np.testing.assert_array_equal(scored_vote(labelings, scores, 3), labelings[better])
        last = aggregation_curve(TRUTH, labelings, scores, 3).iloc[-1]
        assert last["best"] == cluster_accuracy(TRUTH, labelings[better])


def test_the_vote_of_all_runs_is_the_fits_own(blobs, monkeypatch):
    spaces, _ = blobs(60, 3, (6, 5))
    settings = {"outer_steps": 2, "inner_steps": 2, "n_subsets": 1, "subset_size": 30}
    fit = Hume(3, n_runs=5, device="cpu", **settings).fit(spaces)
    shuffled = np.array([np.roll([0, 1, 2], r)[run] for r, run in enumerate(fit.run_labels_)])
    best = int(np.argmax(fit.run_scores_))
    monkeypatch.setattr(voting, "VOTES_AT_ONCE", 3 * 7)  # seven rows at a time
    vote = scored_vote(shuffled, fit.run_scores_, 3)
    np.testing.assert_array_equal(vote, np.roll([0, 1, 2], best)[fit.labels_])


def test_numbers_of_runs():
    assert numbers_of_runs(1) == [1]
    assert numbers_of_runs(10) == [1, 2, 3, 5, 10]
    assert numbers_of_runs(100) == [1, 2, 3, 5, 10, 20, 30, 50, 100]


def test_reliable_rows_are_the_most_confident_of_each_class():
    y = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    labels = np.array([5, 5, 5, 7, 7, 7, 7, 7])
    confidence = np.array([0.9, 0.8, 0.7, 0.9, 0.8, 0.7, 0.6, 0.1])
    curve = reliability_curve(y, labels, confidence)
    assert curve["kept"].tolist() == [1, 2, 4, 8]
    assert curve["rows"].tolist() == [2, 4, 7, 8]
    assert curve["cluster_accuracy"].tolist() == [1, 1, 1, 7 / 8]
    last = reliability_curve(y, labels, 1 - confidence)
    assert last["cluster_accuracy"].tolist() == [1 / 2, 3 / 4, 6 / 7, 7 / 8]


def test_equal_confidence_is_worth_its_mean_whatever_the_order_of_the_rows():
    y, labels = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 0, 0, 1, 1])
    for order in (np.arange(6), np.arange(6)[::-1]):
        curve = reliability_curve(y[order], labels[order], np.ones(6))
        assert curve["cluster_accuracy"].iloc[0] == pytest.approx((3 / 4 + 1) / 2)


def test_a_cluster_that_no_class_is_left_for_is_wrong():
    curve = reliability_curve(np.zeros(3, int), np.array([0, 0, 1]), np.ones(3))
    assert curve["cluster_accuracy"].iloc[-1] == cluster_accuracy([0, 0, 0], [0, 0, 1])


def test_the_mean_of_curves_keeps_the_end_of_the_shorter_one():
    curves = [
        pd.DataFrame({"kept": kept, "rows": 1, "cluster_accuracy": values})
        for kept, values in (([1, 2], [1.0, 0.5]), ([1, 2, 4], [0.8, 0.7, 0.1]))
    ]
    mean = mean_reliability(curves)
    assert mean["kept"].tolist() == [1, 2, 4]
    np.testing.assert_allclose(mean["mean"], [0.9, 0.6, 0.3])
    assert mean["seeds"].tolist() == [2, 2, 2]
    assert mean_reliability(curves[:1])["std"].isna().all()

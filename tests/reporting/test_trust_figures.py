"""Votes, confidence and worth in labels: the data, counted by hand, and what is drawn of them."""

import numpy as np
import pandas as pd
import pytest

from hume_turtle.estimators.reliable import reliable_rows
from hume_turtle.evaluation.learning_curve import labels_to_reach
from hume_turtle.evaluation.metrics import cluster_accuracy
from hume_turtle.evaluation.reliability import (
    agreement,
    calibration_curve,
    mean_reliability,
    reliability_curve,
)
from hume_turtle.reporting.figures.hume import plot_reliable
from hume_turtle.reporting.figures.trust import (
    plot_calibration,
    plot_learning_curve,
    plot_signs,
)
from hume_turtle.reporting.style import method_look

TRUTH = np.array([0, 0, 0, 1, 1, 1, 1, 0])
FOUND = np.array([5, 5, 5, 7, 7, 7, 7, 7])
SURE = np.array([0.9, 0.8, 0.7, 0.9, 0.8, 0.7, 0.6, 0.1])
CURVE = pd.DataFrame(
    [
        (n, s, a)
        for s, row in enumerate(((0.5, 0.7, 0.9), (0.6, 0.95, 0.9)))
        for n, a in zip((10, 100, 1000), row)
    ],
    columns=["labels", "seed", "accuracy"],
)


def test_agreement_marks_the_rows_that_cluster_accuracy_counts():
    np.testing.assert_array_equal(agreement(TRUTH, FOUND), [True] * 7 + [False])
    rng = np.random.default_rng(0)
    y, found = rng.integers(0, 4, 50), rng.integers(0, 6, 50)  # two clusters match no class
    assert agreement(y, found).mean() == pytest.approx(cluster_accuracy(y, found))


def test_shares_keep_the_rows_that_reliable_rows_keeps():
    rng = np.random.default_rng(1)
    y, found, sure = rng.integers(0, 3, 60), rng.integers(0, 3, 60), rng.permutation(60) / 60
    curve = reliability_curve(y, found, sure, [0.01, 0.25, 0.5, 1])
    right = agreement(y, found)
    kept = [reliable_rows(found, sure, share) for share in curve["share"]]
    assert curve["rows"].tolist() == [len(rows) for rows in kept]
    np.testing.assert_allclose(curve["cluster_accuracy"], [right[rows].mean() for rows in kept])
    assert curve["rows"].iloc[0] == 3  # one of each class at least


def test_the_mean_over_seeds_is_by_share():
    curves = [reliability_curve(TRUTH, FOUND, sure, [0.5, 1]) for sure in (SURE, 1 - SURE)]
    mean = mean_reliability(curves)
    assert mean["share"].tolist() == [0.5, 1]
    # Of three rows two and of five two are kept: all right, or one of the four wrong.
    np.testing.assert_allclose(mean["mean"], [7 / 8, 7 / 8])


def test_calibration_by_hand():
    right = [True, False, True, True, False]
    table = calibration_curve(right, [0.95, 1.0, 0.91, 0.3, 0.39], bins=10)
    assert table["rows"].tolist() == [2, 3]  # 1.0 is in the last bin
    np.testing.assert_allclose(table["confidence"], [0.345, 0.9533333])
    np.testing.assert_allclose(table["right"], [1 / 2, 2 / 3])


def test_labels_to_reach_is_interpolated_where_a_probe_last_comes_from_below():
    worth = labels_to_reach(CURVE, 0.8)
    assert worth[0] == pytest.approx(10**2.5)  # half of the way from 100 to 1000, by logarithm
    assert worth[1] == pytest.approx(10 ** (1 + 0.2 / 0.35))
    assert labels_to_reach(CURVE, 0.5).tolist() == [10, 10]
    assert labels_to_reach(CURVE, 0.92).isna().all()  # seed 1 was above it, and fell back


@pytest.fixture
def worth(style):
    """The learning curve of two spaces: in the second the probe never comes to TURTLE's level."""
    parts = [CURVE.assign(spaces=s, choice=c) for s in ("a", "a+b") for c in ("C chosen", "C = 1")]
    rows = [("a", "turtle", 0, 0.8), ("a", "k-means", 0, 0.7), ("a+b", "turtle", 0, 0.99)]
    levels = pd.DataFrame(rows, columns=["spaces", "method", "seed", "accuracy"])
    reached = {"a": np.array([90.0, 316.2]), "a+b": np.array([np.nan, np.nan])}
    return plot_learning_curve(pd.concat(parts), levels, reached)


def test_the_learning_curve_marks_where_the_probe_overtakes(worth):
    crossing, without = worth.axes
    assert "at 90 to 316 labels" in crossing.texts[0].get_text()
    assert not without.texts
    first = crossing.lines[0]
    np.testing.assert_allclose(first.get_ydata(), [0.55, 0.825, 0.9])
    assert first.get_color() == method_look("linear-probe")["color"]
    levels = [line for line in crossing.lines if len(set(line.get_ydata())) == 1]
    colours = [line.get_color() for line in levels]
    assert colours == [method_look(name)["color"] for name in ("turtle", "k-means")]
    assert [tick.get_text() for tick in crossing.get_xticklabels()] == ["10", "100", "1000"]


@pytest.mark.usefixtures("style")
def test_calibration_has_a_line_for_each_labeling_and_areas_for_rows():
    table = calibration_curve([True, False, True, True], [0.95, 0.91, 0.92, 0.3])
    (ax,) = plot_calibration({("turtle", "one"): table, ("turtle", "two"): table}).axes
    one, two = ax.lines[1:]
    assert one.get_color() == two.get_color() == method_look("turtle")["color"]
    assert one.get_linestyle() != two.get_linestyle()
    small, large = ax.collections[0].get_sizes()
    assert large == pytest.approx(3 * small)


@pytest.mark.usefixtures("style")
def test_shares_are_drawn_in_percent_and_lines_of_one_method_differ_by_style():
    curve = mean_reliability([reliability_curve(TRUTH, FOUND, SURE, [0.5, 1])])
    keys = [("d", "turtle", "a"), ("d", "turtle", "b"), ("e", "hume", "a")]
    rows = [curve.assign(dataset=d, method=m, spaces=s) for d, m, s in keys]
    left, right = plot_reliable(pd.concat(rows)).axes
    one, two = left.lines
    np.testing.assert_allclose(one.get_xdata(), [50, 100])
    np.testing.assert_allclose(one.get_ydata(), [100, 87.5])
    assert one.get_linestyle() != two.get_linestyle()
    assert right.lines[0].get_linestyle() == one.get_linestyle()  # the first of its method
    assert [ax.get_title() for ax in (left, right)] == ["d", "e"]


@pytest.mark.usefixtures("style")
def test_signs_have_the_rank_correlation():
    table = pd.DataFrame({"dataset": list("aab"), "cluster_accuracy": [0.1, 0.5, 0.9]})
    table = table.assign(up=[0.2, 0.3, 0.9], down=[0.9, 0.3, 0.2])
    left, right = plot_signs(table, {"up": "rises", "down": "falls"}).axes
    assert left.get_title() == "Spearman's correlation 1.00"
    assert right.get_title() == "Spearman's correlation −1.00"
    assert right.get_xlabel() == "falls (%)"

"""Figures of choices without labels, from made-up data: what is drawn, against hand counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hume_turtle.estimators.number_of_classes import NumberOfClasses
from hume_turtle.reporting.figures.ablations import plot_ablations
from hume_turtle.reporting.figures.choices import (
    plot_confusions,
    plot_gains,
    plot_imbalance,
    plot_number_of_classes,
)
from hume_turtle.reporting.figures.selection import correlations, misjudged

pytestmark = pytest.mark.usefixtures("style")


def test_misjudged_is_the_fit_farthest_behind_one_of_lower_score():
    # By hand: 0.5 and 0.9 score less than the third, which is behind the first by 0.2; the last
    # has a score equal to the third's, which is no lower one, and is behind the second by 0.1.
    score, accuracy = np.array([0.5, 0.9, 0.95, 0.95]), np.array([0.6, 0.5, 0.4, 0.55])
    fit, behind = misjudged(score, accuracy)
    assert (fit, pytest.approx(behind)) == (2, 0.2)
    assert misjudged(np.array([1.0, 2, 3]), np.array([1.0, 1, 2])) == (0, 0.0)


def test_correlations_are_of_ranks_and_of_values():
    # Ranks of (1, 2, 10) and (3, 5, 4): differences 0, 1, 1, so ρ = 1 - 6 · 2 / (3 · 8) = 0.5.
    text = correlations(np.array([1.0, 2, 10]), np.array([3.0, 5, 4]))
    r = np.corrcoef([1, 2, 10], [3, 5, 4])[0, 1]
    assert text == f"Spearman's ρ = 0.50, Pearson's r = {r:.2f}"
    assert "−1.00" in correlations(np.array([1.0, 2, 3]), np.array([3.0, 2, 1]))
    assert "too few" in correlations(np.array([1.0, 1, 1]), np.array([3.0, 2, 1]))


def test_ablations_show_means_and_stds_and_mark_the_usual_value():
    frame = pd.DataFrame(
        {
            "ablation": ["start"] * 4 + ["M"] * 2,
            "value": ["cold", "cold", "warm", "warm", "1", "1"],
            "usual": [False, False, True, True, False, False],
            "cluster_accuracy": [0.7, 0.9, 0.5, 0.5, 0.3, 0.4],
            "generalization_score": [0.9, 0.9, 0.8, 1.0, 0.6, 0.6],
        }
    )
    axes = np.array(plot_ablations(frame).axes).reshape(2, 2)
    assert [ax.get_title() for ax in axes[0]] == ["start", "M"]
    (points, _, (bars,)) = axes[0, 0].containers[0]
    np.testing.assert_allclose(np.float64(points.get_ydata()), [80, 50])
    ends = [np.float64(segment)[:, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(ends, [[70, 90], [50, 50]])  # the std of two is half their distance
    assert [text.get_text() for text in axes[1, 0].get_xticklabels()] == ["cold", "warm"]
    (band,) = axes[0, 0].patches
    assert band.get_x() + band.get_width() / 2 == pytest.approx(1)
    assert not axes[0, 1].patches


@pytest.fixture
def choice() -> NumberOfClasses:
    candidates = np.array([2, 3, 4])
    return NumberOfClasses(
        candidates, np.array([0.04, 0.01, 0.05]), np.full(3, 0.04), np.array([0.5, 0.9, 0.3]), 100
    )


def test_number_of_classes_rings_the_choice_in_every_panel(choice):
    fig = plot_number_of_classes({"one": choice.table(), "two": choice.table()}, truth=4)
    assert len(fig.axes) == 4
    for ax, height in zip(fig.axes, (1, 1, 0.9, 0.9)):  # percent above, the index below
        lines = {line.get_label(): line for line in ax.lines}
        np.testing.assert_allclose(lines["chosen, without labels"].get_xydata(), [[3, height]])
        assert lines["true number, for the reader only"].get_xdata()[0] == 4
        assert ax.get_ylim()[0] == 0
        assert ax.get_ylim()[1] > lines["measured"].get_ydata().max()
    assert [ax.get_title() for ax in fig.axes[:2]] == ["one", "two"]


def test_number_of_classes_of_one_table_has_no_title_and_of_own_data_no_true_number(choice):
    share, agreement = plot_number_of_classes({"one": choice.table()}).axes
    assert share.get_title() == ""
    np.testing.assert_allclose(share.lines[0].get_ydata(), [4, 4, 4])  # the trend, in percent
    assert {line.get_label() for line in agreement.lines} == {"measured", "chosen, without labels"}


def test_gains_have_a_dot_for_each_case_and_say_where_a_class_is_lost():
    frame = pd.DataFrame({"case": ["a", "b"], "gain": [40.0, np.nan], "agreement": [0.7, 0.9]})
    left, right = plot_gains(frame, {"gain": 2.0, "agreement": 0.8}).axes
    np.testing.assert_allclose(right.collections[0].get_offsets(), [[0.7, 1], [0.9, 0]])
    assert [text.get_text() for text in left.texts] == [" a class is lost"]
    assert (left.get_xscale(), right.get_xscale()) == ("log", "linear")
    assert set(left.lines[0].get_xdata()) == {2.0}
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "b"]


def test_imbalance_has_percent_over_the_ratio_and_colours_of_methods():
    rows = [
        (ratio, method, gamma, accuracy, share)
        for ratio in (1, 10)
        for method, gamma, accuracy, share in (
            ("k-means", "", 0.9, np.nan),
            ("turtle", "10", 0.8 / ratio, 0.01),
            ("turtle", "auto", 0.95, 0.002),
        )
    ]
    names = ["ratio", "method", "gamma", "cluster_accuracy", "unexplained"]
    left, right = plot_imbalance(pd.DataFrame(rows, columns=names)).axes
    assert [text.get_text() for text in left.texts] == ["γ = 10", "k-means", "γ chosen"]
    assert [text.get_text() for text in right.texts] == ["γ chosen", "γ = 10"]
    heights = [text.get_position()[1] for text in left.texts]  # 90 and 95 % would overlap
    assert np.diff(heights).min() > 0.06
    means, fixed, auto = (bars[0] for bars in left.containers)
    np.testing.assert_allclose(fixed.get_xydata(), [[1, 80], [10, 8]])  # the one in the middle
    assert fixed.get_color() == auto.get_color() != means.get_color()
    assert fixed.get_linestyle() != auto.get_linestyle()


def test_confusions_order_found_classes_by_their_main_true_one():
    table = np.array([[0, 7], [5, 0], [1, 2]])
    (ax,) = plot_confusions({"C = 3": table}, range(2)).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "0", "2"]
    assert [text.get_text() for text in ax.texts] == ["5", "", "", "7", "1", "2"]
    shown = ax.collections[0].get_array().reshape(3, 2)
    np.testing.assert_allclose(shown, [[1, 0], [0, 1], [1 / 3, 2 / 3]])

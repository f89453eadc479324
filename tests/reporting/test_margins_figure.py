"""Figures of margins on cases that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hume_turtle.reporting.figures.margins import (
    plot_inner_steps,
    plot_margin,
    plot_margin_distributions,
    plot_margins,
)
from hume_turtle.reporting.style import DARK, GREY, method_look

TURTLE = method_look("turtle")["color"]

pytestmark = pytest.mark.usefixtures("style")


def test_a_margin_by_hand():
    """Points two to the left and three to the right of x = 0, which the head of length 4 gives."""
    space = np.array([[-2.0, 1.0], [-2.0, -1.0], [3.0, 0.0]])
    head = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    cases = {"right": ([0, 0, 1], head), "wrong": ([0, 1, 1], head)}
    right, wrong = plot_margin(space, cases).axes
    assert right.get_xlabel() == "margin 2.000"
    assert [line.get_xy1()[0] for line in right.lines] == pytest.approx([0, 2, -2])
    np.testing.assert_array_equal(right.collections[-1].get_offsets(), space[:2])  # ringed
    assert wrong.get_xlabel() == "margin -2.000"
    assert len(wrong.lines) == 1


def test_inner_steps_show_the_mean_and_the_range_of_the_starts():
    values = np.array([[1.0, 3.0], [0.5, 0.7], [0.1, 0.3]])  # (S, R)
    curves = {"margin": {"Adam": values, "other": -values}}
    (ax,) = plot_inner_steps([1, 10, 100], curves, machine={"margin": 0.25}, marked=10).axes
    adam, other, machine, mark = ax.lines
    assert adam.get_ydata() == pytest.approx([2, 0.6, 0.2])
    assert other.get_ydata() == pytest.approx([-2, -0.6, -0.2])
    corners = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == (0.1, 3.0)
    assert set(machine.get_ydata()) == {0.25}
    assert set(mark.get_xdata()) == {10}
    assert [text.get_text() for text in ax.texts] == ["M = 10"]
    assert len(plot_inner_steps([1, 10, 100], curves).axes[0].lines) == 2


def test_margins_over_iterations_stand_beside_the_machine():
    warm = np.array([[-1.0, -2.0], [0.2, 0.1], [0.4, 0.2], [0.45, 0.25], [0.5, 0.25]])
    reached = {"TURTLE, warm start": warm, "TURTLE, cold start": warm - 0.1}
    axes = plot_margins(np.arange(1, 6), reached, [0.5, 0.3], settled=2).axes
    for k, ax in enumerate(axes):
        line, dots, zero, machine, settled = ax.lines
        np.testing.assert_array_equal(line.get_ydata(), warm[:, k])
        assert line.get_color() == TURTLE
        assert (dots.get_linestyle(), dots.get_color()) == ("None", GREY)
        assert set(zero.get_ydata()) == {0}
        assert set(machine.get_ydata()) == {[0.5, 0.3][k]}
        assert set(settled.get_xdata()) == {2}
        assert ax.get_ylim() == pytest.approx((-0.5, 1.15 * 0.5))
    assert len(plot_margins(np.arange(1, 6), {"TURTLE": warm}, [0.5, 0.3]).axes[0].lines) == 3


def test_distributions_count_rows_and_end_at_the_nearest():
    distances = {"turtle": np.arange(1.0, 21.0), "true labels": np.arange(20.0) / 2}
    left, right = plot_margin_distributions(distances).axes
    first, second = left.patches
    assert first.get_edgecolor() != second.get_edgecolor()
    heights = first.get_xy()[:, 1]
    assert heights.max() >= 1
    turtle, truth = right.lines
    assert turtle.get_color() == TURTLE
    assert truth.get_color() == DARK
    assert turtle.get_xdata().tolist() == [1, 2]  # a tenth of 20 rows
    assert turtle.get_ydata().tolist() == [5, 10]
    legend = left.figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["TURTLE", "true labels"]

"""Figures of TURTLE at work on made-up data; and the notebook's plain lines are the library."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from hume_turtle.reporting.explore import HEADLESS
from hume_turtle.reporting.figures.training import (
    draw_boundary,
    draw_labeling,
    plot_film,
    plot_histories,
    plot_labelings,
    plot_points,
    plot_seeds,
    plot_training,
)
from hume_turtle.reporting.run_notebook import read_source
from hume_turtle.reporting.style import DARK, method_look
from tests.helpers.notebooks import display

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03_turtle.ipynb"
POINTS = np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
HEAD = np.array([[0.0, 0.0, 0.0], [2.0, 1.0, -1.0]])  # its boundary is 2x + y = 1

pytestmark = pytest.mark.usefixtures("style")


def grey(color) -> bool:
    red, green, blue, *_ = color
    return red == green == blue


def test_points_are_told_apart_in_grey():
    spaces = {"one": POINTS, "two": 2 * POINTS}
    for ax in plot_points(spaces, [0, 1, 1, 2]).axes:
        assert [len(dots.get_offsets()) for dots in ax.collections] == [1, 2, 1]
        assert all(grey(dots.get_facecolor()[0]) for dots in ax.collections)
        faces = {to_hex(dots.get_facecolor()[0]) for dots in ax.collections}
        assert len(faces) == 3
    assert len(plot_points({"one": POINTS}, [0, 1, 1, 2]).axes) == 1


def test_a_boundary_lies_where_both_logits_are_equal():
    ax = plt.subplots()[1]
    draw_boundary(ax, HEAD)
    (line,) = ax.lines
    for x, y in (line.get_xy1(), line.get_xy2()):
        assert 2 * x + y == pytest.approx(1)
    draw_boundary(ax, np.zeros((2, 3)))  # the same logits everywhere: no boundary
    assert len(ax.lines) == 1


def test_a_label_is_as_white_as_its_probability_of_class_1():
    ax = plt.subplots()[1]
    draw_labeling(ax, POINTS, np.array([0.0, 0.25, 0.75, 1.0]), np.array([0, 0, 1, 1]))
    circles, squares = ax.collections
    assert circles.get_facecolor()[:, 0] == pytest.approx([0, 0.25], abs=0.01)
    assert squares.get_facecolor()[:, 0] == pytest.approx([0.75, 1], abs=0.01)
    np.testing.assert_array_equal(squares.get_offsets(), POINTS[2:])


def test_a_film_has_a_column_for_each_iteration_and_a_row_for_each_space():
    labeling = np.array([[1, 0], [0.5, 0.5], [0, 1], [0, 1]])
    film = {t: (labeling, [HEAD, -HEAD]) for t in (0, 7, 30)}
    axes = plot_film([POINTS, POINTS], film, [0, 1, 0, 1]).axes
    assert [ax.get_title() for ax in axes] == ["t = 0", "t = 7", "t = 30", "", "", ""]
    assert [ax.get_ylabel() for ax in axes] == ["space 1", "", "", "space 2", "", ""]
    assert all(len(ax.lines) == 1 for ax in axes)


def test_labelings_show_their_errors_and_the_sum():
    labelings = {"a": [0, 1, 1, 0], "b": [0, 0, 1, 1]}
    errors = [[0.125, 0.25], [0.5, 0.75]]
    axes = plot_labelings([POINTS, POINTS], labelings, [[HEAD, HEAD]] * 2, errors).axes
    assert [ax.get_title() for ax in axes] == ["a, sum 0.375", "b, sum 1.250", "", ""]
    shown = [ax.get_xlabel().split()[2] for ax in axes]
    assert shown == ["0.125", "0.500", "0.250", "0.750"]


def test_histories_have_a_line_for_each_fit():
    histories = {f"γ = {g}": {"entropy": np.full(4, g), "loss": -np.full(4, g)} for g in (0, 1)}
    left, right = plot_histories(histories, {"entropy": "H", "loss": "loss"}).axes
    assert [line.get_ydata()[0] for line in left.lines] == [0, 1]
    assert [line.get_ydata()[0] for line in right.lines] == [0, -1]


def test_seeds_stand_beside_what_they_were_given():
    rows = [("space 1", 0, "shape", 0.1), ("space 1", 1, "light", 0.2), ("both", 0, "shape", 0.3)]
    frame = pd.DataFrame(rows, columns=["spaces", "seed", "found", "error"])
    (ax,) = plot_seeds(frame, ["shape", "light", "none"]).axes
    shape, light, none = (dots.get_offsets() for dots in ax.collections)
    assert shape[:, 0].tolist() == [0.1, 0.3]
    assert np.round(shape[:, 1]).tolist() == [0, 1]
    assert light[:, 0].tolist() == [0.2]
    assert len(none) == 0
    assert [label.get_text() for label in ax.get_yticklabels()] == ["space 1", "both"]


def test_training_draws_runs_their_mean_and_the_accuracy_in_percent():
    loss = np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    left, right = plot_training({"loss": loss}, [0.5, 0.75], [1, 3], method="turtle").axes
    assert [len(line.get_xdata()) for line in left.lines] == [3, 3, 3]
    assert left.lines[-1].get_ydata().tolist() == [2, 1.5, 1]
    assert left.lines[-1].get_xdata().tolist() == [1, 2, 3]
    (curve,) = right.lines
    assert curve.get_ydata().tolist() == [50, 75]
    assert curve.get_xdata().tolist() == [1, 3]
    assert curve.get_color() == method_look("turtle")["color"]
    assert "reader only" in right.texts[0].get_text()
    (plain,) = plot_training({"loss": loss[0]}).axes
    assert plain.lines[0].get_color() == DARK
    assert not plain.texts


def test_the_plain_lines_of_the_notebook_are_the_library(one_thread, monkeypatch):
    monkeypatch.setenv(HEADLESS, "1")
    names = {"__name__": "__main__", "display": display}
    for cell in read_source(NOTEBOOK, {"quick": True}).cells:
        if cell.cell_type == "code" and "by_tau" not in names:
            exec(compile(cell.source, cell.id, "exec"), names)
    assert names["by_loss"] < 1e-4
    assert names["by_tau"] < 1e-4
    code = [cell.source for cell in read_source(NOTEBOOK, {}).cells if cell.cell_type == "code"]
    whole = next(text for text in code if "def inner_loop" in text).partition("\ndef ")[2]
    whole += "\n" + next(text for text in code if text.startswith("def turtle"))
    assert sum(bool(line.strip()) for line in whole.splitlines()) <= 30

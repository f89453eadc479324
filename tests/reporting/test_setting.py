"""Labelings of a line, their errors and gaps, groups as pictures; figures from small data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.svm import SVC

from hume_turtle.datasets.toy import toy_spaces
from hume_turtle.reporting.explore import film_strip
from hume_turtle.reporting.figures.groups import (
    Grouping,
    enlarged,
    image_rows,
    order_groups,
    plot_groupings,
    plot_rows,
    purity,
)
from hume_turtle.reporting.figures.setting import (
    draw_line,
    label_errors,
    learn_labels,
    line_labelings,
    plot_errors_by_gap,
    plot_inductive_biases,
    plot_separable,
    plot_transfer_types,
    plot_two_labelings,
    row_of,
    separable_labelings,
)
from hume_turtle.reporting.publish import save_figure

pytestmark = pytest.mark.usefixtures("style", "one_thread")

CORNERS = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)


@pytest.fixture(scope="module")
def toy():
    return toy_spaces()


def test_a_line_labels_the_points_on_its_left():
    assert line_labelings(CORNERS, [0, 90]).tolist() == [[1, 1, 0, 0], [0, 1, 1, 0]]
    steep = line_labelings(CORNERS, [44, 46])  # on either side of a corner
    assert steep.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0]]


def test_a_horizontal_line_gives_the_second_property_and_a_vertical_one_the_first(toy):
    (one, two), properties = toy
    for space, second in ((one, "background"), (two, "light")):
        horizontal, vertical = line_labelings(space, [0, 90])
        np.testing.assert_array_equal(horizontal, properties[second])
        np.testing.assert_array_equal(vertical, 1 - properties["shape"])


def test_heads_and_errors_are_those_of_torch(toy):
    """The oracle: torch.nn.Linear, torch's Adam and cross-entropy, one labeling at a time.

    The classes differ in size: where they do not, the bias has a gradient of zero at the start,
    and Adam makes a step of its rounding error.
    """
    spaces, properties = toy
    labels = np.stack([properties["shape"] & properties["light"], properties["background"]])
    labels[1, :9] = 1
    heads = learn_labels(spaces, labels, steps=30, lr=0.05)
    errors = label_errors(spaces, labels, heads)
    near = {"rtol": 1e-4, "atol": 1e-5}
    for k, space in enumerate(spaces):
        rows = torch.from_numpy(space)
        for a, wanted in enumerate(torch.from_numpy(labels)):
            layer = torch.nn.Linear(2, 2)
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
            adam = torch.optim.Adam(layer.parameters(), lr=0.05)
            for _ in range(30):
                adam.zero_grad()
                torch.nn.functional.cross_entropy(layer(rows), wanted).backward()
                adam.step()
            torch.testing.assert_close(heads[k][a, :, :2], layer.weight.detach(), **near)
            torch.testing.assert_close(heads[k][a, :, 2], layer.bias.detach(), **near)
            error = torch.nn.functional.cross_entropy(layer(rows), wanted).item()
            assert errors[k, a] == pytest.approx(error, rel=1e-5)


def test_heads_of_more_classes_and_wider_spaces():
    rng = np.random.default_rng(0)
    spaces = [rng.standard_normal((12, d)).astype(np.float32) for d in (3, 5)]
    labels = np.arange(12)[None] % 4
    heads = learn_labels(spaces, labels, steps=2, lr=0.1)
    assert [tuple(head.shape) for head in heads] == [(1, 4, 4), (1, 4, 6)]
    untrained = learn_labels(spaces, labels, steps=0, lr=0.1)
    np.testing.assert_allclose(label_errors(spaces, labels, untrained), np.log(4), rtol=1e-6)


def test_separable_labelings_of_four_corners():
    """Of the seven labelings of four corners a line gives six: not that of the diagonals."""
    labels, table = separable_labelings(CORNERS + [[0.01, 0], [0, 0.02], [0, 0], [0, 0]], 360)
    assert len(labels) == 6
    assert (labels[:, 0] == 0).all()
    assert [0, 1, 0, 1] not in labels.tolist()
    found = {tuple(row): values for row, values in zip(labels.tolist(), table.to_numpy())}
    assert found[0, 1, 1, 0] == pytest.approx((0.5, 2.0), abs=0.03)  # half and half, 2 apart
    assert found[0, 1, 0, 0] == pytest.approx((0.25, np.sqrt(2)), abs=0.03)  # a corner


def test_gaps_are_those_of_a_support_vector_machine(toy):
    (space, _), properties = toy
    labels, table = separable_labelings(space, 720)
    assert table["gap"].min() > 0
    assert len(table) <= 96 * 95 // 2  # as many as n points in general position have
    assert len(table) > 0.95 * 96 * 95 // 2
    for name in ("shape", "background"):
        machine = SVC(kernel="linear", C=1e6).fit(space, properties[name])
        row = row_of(labels, properties[name])
        np.testing.assert_array_equal(labels[row] ^ properties[name][0], properties[name])
        gap = table["gap"][row]
        assert gap == pytest.approx(2 / np.linalg.norm(machine.coef_), rel=0.01)
    balanced = table[table["smaller"] >= 0.4]
    assert (balanced["gap"] > 0.5).sum() == 2  # what notebook 02 says


def test_only_the_shape_is_learnt_in_both_spaces(toy):
    spaces, properties = toy
    labels = np.stack([properties[name] for name in ("background", "shape", "light")])
    errors = label_errors(spaces, labels, learn_labels(spaces, labels, 100, 0.05))
    assert (errors < 0.1).tolist() == [[True, True, False], [False, True, True]]
    assert errors.sum(0).argmin() == 1


def test_figures_of_the_toy(toy, tmp_path):
    spaces, properties = toy
    degrees = np.arange(0, 181, 30)
    labels = [line_labelings(space, degrees) for space in spaces]
    heads = [learn_labels(spaces, some, 5, 0.05) for some in labels]
    errors = [label_errors(spaces, *pair) for pair in zip(labels, heads)]
    named = {name: properties[name] for name in ("background", "shape", "light")}
    three = learn_labels(spaces, np.stack(list(named.values())), 5, 0.05)
    fig = plot_inductive_biases(spaces, degrees, errors, named, three)
    curves = [line.get_ydata() for line in fig.axes[0].get_lines()]
    np.testing.assert_allclose(curves[2], curves[0] + curves[1])
    assert all(path.stat().st_size for path in save_figure(fig, tmp_path, "biases"))

    def draw(ax, degree):
        i = list(degrees).index(degree)
        draw_line(ax, degree, spaces, labels[0][i], [h[i] for h in heads[0]], errors[0][:, i])

    film_strip(draw, [0, 90], aspect=0.6).canvas.draw()
    found, table = separable_labelings(spaces[0], 20)
    rows = {"shape": row_of(found, properties["shape"])}
    plot_separable(spaces[0], table, rows).canvas.draw()
    plot_errors_by_gap(table["gap"], np.ones(len(table)), rows).canvas.draw()


def test_other_figures():
    images = np.random.default_rng(0).integers(0, 255, (4, 8, 8), np.uint8)
    fig = plot_transfer_types(images, ("two", "seven", "two", "zero"), 10)
    texts = [text.get_text() for text in fig.axes[0].texts]
    assert texts.count("group 1") == 2  # both images of the first name
    assert {"group 2", "group 3", "C = 10"} <= set(texts)
    rows = [("a", "digit", 0.9, 0.1), ("a", "colour", 1.0, 0.01), ("b", "digit", 0.8, 0.2)]
    columns = ["spaces", "labeling", "accuracy", "share"]
    plot_two_labelings(pd.DataFrame(rows, columns=columns)).canvas.draw()


def test_groups_are_ordered_by_what_they_mostly_hold():
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3])
    values = np.array([1, 1, 0, 0, 0, 1, 1, 1, 0, 2])
    assert order_groups(labels, values) == [1, 3, 2, 0]  # 0s: all, half; 1s: all, two thirds
    assert purity(labels, values) == 0.8  # 2 + 2 + 3 + 1 of 10
    assert purity(np.zeros(10, int), values) == 0.5  # one group: the most frequent value


def test_rows_of_images_lie_where_they_belong():
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.full((1, 8, 8), 50, np.uint8)
    sheet = image_rows(images, [[0, 3], [4]], per_row=2)
    side = enlarged(images[0], 24).shape[0]
    step = sheet.shape[0] - side
    assert sheet.shape == (step + side, step + side, 3)
    assert (sheet[:side, :side] == 0).all()
    assert (sheet[:side, step:] == 150).all()
    assert (sheet[step:, :side] == 200).all()
    assert (sheet[step:, step:] == 255).all()  # the row has one image only
    assert (sheet[:, side:step] == 255).all()


def test_groupings_side_by_side_are_small_files(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (30, 8, 8, 3), np.uint8)
    labels = np.arange(30) % 3
    panels = [Grouping(images, labels, order, "pixels", "two\nlines") for order in ([2, 0, 1], [1])]
    assert [row.tolist() for row in panels[0].rows(2)] == [[2, 5], [0, 3], [1, 4]]
    fig = plot_groupings(panels, per_row=4)
    assert [ax.get_title() for ax in fig.axes] == ["pixels", "pixels"]
    assert all(path.stat().st_size < 300_000 for path in save_figure(fig, tmp_path, "groups"))
    plot_rows(images, [range(5), range(2)]).canvas.draw()

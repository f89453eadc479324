"""Figures of the notebooks on HUME: what is drawn from small made-up data, and what it is from."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.colors import to_rgb

from hume_turtle.reporting.figures.correlation import (
    group_looks,
    pearson_and_spearman,
    plot_correlation,
)
from hume_turtle.reporting.figures.hume_method import (
    draw_labeling,
    draw_landscape,
    fold,
    plot_angles,
    plot_hume_method,
    plot_landscape,
    plot_runs,
)
from hume_turtle.reporting.figures.hypergradient import (
    plot_cosines,
    plot_label_gradients,
    plot_slopes,
)
from hume_turtle.reporting.style import method_look

pytestmark = pytest.mark.usefixtures("style")


def drawn(fig):
    fig.canvas.draw()
    return fig


def test_diagram_names_every_part():
    (ax,) = drawn(plot_hume_method()).axes
    words = " ".join(text.get_text() for text in ax.texts)
    for part in ("φ₁", "φ₂", "task encoder θ", "labeling τ", "inner head", "loss", "gradient"):
        assert part in words


def test_correlations_are_scipys_with_ties():
    x, y = np.array([3.0, 1.0, 1.0, 7.0, 2.0]), np.array([0.2, 0.9, 0.8, 0.2, 0.2])
    r, rho = pearson_and_spearman(x, y)
    assert r == pytest.approx(scipy.stats.pearsonr(x, y)[0])
    assert rho == pytest.approx(scipy.stats.spearmanr(x, y)[0])
    assert np.isnan(pearson_and_spearman([1, 2], [1, 2])).all()
    assert np.isnan(pearson_and_spearman([1, 2, 3], [1, 1, 1])).all()


def test_only_methods_have_colours_and_variants_are_hollow():
    looks = group_looks(["random", "turtle", "turtle-early", "true labels", "noisy", "hume"])
    assert looks["turtle"]["color"] == looks["turtle-early"]["color"]
    assert looks["turtle"]["color"] == method_look("turtle")["color"] != looks["hume"]["color"]
    assert looks["turtle-early"]["markerfacecolor"] == "white"
    assert "markerfacecolor" not in looks["turtle"]
    for name in ("random", "noisy", "true labels"):
        red, green, blue = to_rgb(looks[name]["color"])
        assert red == green == blue
    assert looks["random"]["marker"] != looks["noisy"]["marker"]


def test_correlation_enlarges_the_good_ones():
    objective, accuracy = [0.1, 0.2, 0.3, 0.9], [0.9, 0.8, 0.85, 0.1]
    groups = ["turtle", "turtle", "true labels", "random"]
    left, right = drawn(plot_correlation(objective, accuracy, groups, xlabel="o", good=0.3)).axes
    assert left.get_title().startswith("all: 4 labelings, r = −0.9")
    assert right.get_title() == "enlarged: 3 labelings, r = −0.50, ρ = −0.50"
    points = {line.get_label(): line.get_xydata().tolist() for line in right.lines}
    assert points["TURTLE"] == [[0.1, 90], [0.2, 80]]
    assert points["random"] == []


def test_angles_are_folded_into_one_period():
    np.testing.assert_allclose(
        fold([-45, 0, 134, 135, 180, -90, 275]), [-45, 0, 134, -45, 0, 90, 95]
    )


def test_boundary_is_normal_to_the_angle():
    _, ax = plt.subplots()
    draw_labeling(ax, np.array([[1.0, 0.5], [-1.0, 0.2]]), [0, 1], angle=30)
    (line,) = ax.lines
    along = line.get_xydata()[1] - line.get_xydata()[0]
    assert along @ [np.cos(np.pi / 6), np.sin(np.pi / 6)] == pytest.approx(0, abs=1e-12)


def test_path_lies_on_the_landscape():
    angles = np.arange(0.0, 180.0, 10)  # another period than the one that is drawn
    loss = (fold(angles) / 100) ** 2
    path, starts, ends = [170.0, 95.0, 185.0], [170.0, 20.0], [5.0, 20.0]
    above, below = drawn(plot_landscape(angles, loss, loss / 2, path, starts, ends)).axes
    (run,) = [line for line in above.lines if line.get_label().startswith("HUME")]
    np.testing.assert_allclose(run.get_xdata(), [-10, 95, 5])
    np.testing.assert_allclose(run.get_ydata(), np.interp([-10, 95, 5], *curve(above)))
    marks = [line for line in below.lines if line.get_marker() != "None"]
    np.testing.assert_allclose([line.get_xdata() for line in marks], [[-10, 20], [5, 20]])


def curve(ax):
    x, y = ax.lines[0].get_data()
    assert (np.diff(x) > 0).all()
    return x, y


def test_landscape_and_angles_and_runs_are_drawn():
    _, ax = plt.subplots()
    draw_landscape(ax, [0, 45, 90], [0.1, 0.5, 0.7])
    assert len(ax.lines) == 1
    points = np.random.default_rng(0).normal(size=(6, 2))
    fig = drawn(plot_angles([points, points], [[0, 1] * 3, [1, 0] * 3], [0, -30]))
    assert [ax.get_title() for ax in fig.axes[:2]] == ["α = 0°", "α = −30°"]
    (ax,) = drawn(plot_runs([0.1, 0.7, 0.2], [0.9, 0.4, 0.95], [True, False, True])).axes
    right, wrong = ax.lines
    np.testing.assert_allclose(right.get_xydata(), [[0.1, 90], [0.2, 95]])
    np.testing.assert_allclose(wrong.get_xydata(), [[0.7, 40]])


def test_gradients_by_row_and_slopes_are_drawn():
    gradients = {"all": np.array([0.1, -0.2, 0.5]), "first": np.array([0.0, 0.0, 0.5])}
    fig = drawn(plot_label_gradients(gradients, n_train=2))
    assert [ax.get_ylabel() for ax in fig.axes] == ["all", "first"]
    assert fig.axes[0].get_ylim() == fig.axes[1].get_ylim()
    slopes = {"true": np.ones(3), "unrolled": np.ones(3), "first-order": np.zeros(3)}
    (ax,) = drawn(plot_slopes([-45, 45, 135], slopes)).axes
    assert [line.get_label() for line in ax.lines[:3]] == list(slopes)


def test_cosines_are_means_over_draws_in_the_methods_colours():
    rows = [
        ("toy", method, gradient, draw, steps, 0.1 * draw + (0.5 if steps == 10 else 0.2))
        for method in ("hume", "turtle")
        for gradient in ("first-order", "unrolled")
        for draw in (0, 1)
        for steps in (1, 10)
    ]
    columns = ["data", "method", "gradient", "draw", "steps", "cosine"]
    (ax,) = drawn(plot_cosines(pd.DataFrame(rows, columns=columns))).axes
    means = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    assert list(means) == [
        f"{name}'s loss, {gradient}"
        for name in ("HUME", "TURTLE")
        for gradient in ("first-order", "unrolled")
    ]
    for name, line in means.items():
        np.testing.assert_allclose(line.get_xydata(), [[1, 0.25], [10, 0.55]])
        assert line.get_color() == method_look(name.partition("'")[0].lower())["color"]
        assert line.get_linestyle() == ("--" if "first-order" in name else "-")

"""The data behind the benchmark's figures, on tables small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hume_turtle.benchmarks.cases import growth_cases
from hume_turtle.reporting.figures.images import plot_clusters
from hume_turtle.reporting.figures.scores import plot_benchmark, plot_vs_baselines
from hume_turtle.reporting.figures.speed import FIXED, plot_growth, speedup
from hume_turtle.reporting.style import FULL, HALF, method_look

pytestmark = pytest.mark.usefixtures("style")


def long_table(rows) -> pd.DataFrame:
    """The long table of (dataset, method, spaces, accuracies of seeds)."""
    long = [
        (dataset, method, spaces, seed, "cluster_accuracy", value)
        for dataset, method, spaces, values in rows
        for seed, value in enumerate(values)
    ]
    columns = ["dataset", "method", "spaces", "seed", "metric", "value"]
    return pd.DataFrame(long, columns=columns)


def dots(ax, method: str):
    """(x, y) of a method's dots in a panel, (n, 2)."""
    look = method_look(method)
    (found,) = [
        line
        for line in ax.lines
        if line.get_marker() == look["marker"] and line.get_color() == look["color"]
    ]
    return np.asarray(found.get_xydata(), float)


PAIRS = long_table(
    [
        ("one", "turtle", "a", (0.5, 0.7)),
        ("one", "turtle", "b", (0.8, 0.8)),
        ("one", "turtle", "a+b", (0.98, 0.96)),
        ("one", "k-means", "a", (0.6, 0.6)),
        ("one", "hume", "a+b", (0.9, 0.8)),
        ("two", "turtle", "a", (0.95, 0.95)),
        ("two", "k-means", "a", (0.97, 0.99)),
        ("two", "k-means", "b", (0.92, 0.92)),
    ]
)


def test_few_datasets_have_a_panel_each_and_a_row_per_spaces():
    one, two = plot_benchmark(PAIRS).axes
    assert (one.get_title(), two.get_title()) == ("one", "two")
    assert [label.get_text() for label in one.get_yticklabels()] == ["a", "b", "a + b"]
    np.testing.assert_allclose(sorted(dots(one, "turtle")[:, 0]), [60, 80, 97])
    top, bottom = one.get_ylim()[::-1]
    assert top < bottom  # the first row is on top
    crosses = [len(line.get_xdata()) for line in two.lines if line.get_marker() == "x"]
    assert sum(crosses) == 3  # TURTLE in b and a+b, HUME in a+b: run on the other dataset
    assert plot_benchmark(PAIRS).get_figwidth() == FULL


def test_the_zoom_is_as_wide_as_the_label_says_and_only_where_dots_crowd():
    fig = plot_benchmark(PAIRS)  # 5 of 11 cells are above 90 %
    assert "4 times as wide" in fig.get_supxlabel()
    place = fig.axes[0].transData.transform
    x = place([(70, 0), (80, 0), (90, 0), (100, 0)])[:, 0]
    np.testing.assert_allclose(np.diff(x) / (x[1] - x[0]), [1, 1, 4])
    low = PAIRS.assign(value=PAIRS["value"] / 2)
    assert "times as wide" not in plot_benchmark(low).get_supxlabel()
    high = PAIRS.assign(value=0.95)
    assert "times as wide" not in plot_benchmark(high).get_supxlabel()


def test_many_datasets_have_a_panel_per_spaces_and_rise_with_their_mean():
    datasets = [f"d{i}" for i in range(26)]
    rows = [
        (dataset, method, spaces, (0.9 - 0.03 * i, 0.9 - 0.03 * i))
        for i, dataset in enumerate(datasets)
        for method in ("turtle", "k-means")
        for spaces in ("a", "b", "a+b")
    ]
    fig = plot_benchmark(long_table(rows))
    assert [ax.get_title() for ax in fig.axes] == ["a", "b", "a + b"]
    labels = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert labels == datasets[::-1]
    height = fig.get_figheight() / len(datasets)
    assert 0.15 < height < 0.3  # inches a row: no lower than its name, no higher than it needs


def test_vs_baselines_is_one_panel_with_a_colour_per_baseline():
    fig = plot_vs_baselines(PAIRS)
    (ax,) = fig.axes
    assert fig.get_figwidth() == HALF
    drawn = {}
    for container in ax.containers:
        line = container.lines[0]
        drawn.setdefault(line.get_color(), []).extend(map(tuple, line.get_xydata()))
    colours = {method: method_look(method)["color"] for method in ("k-means", "hume")}
    np.testing.assert_allclose(drawn[colours["k-means"]], [(60, 60), (98, 95)])
    np.testing.assert_allclose(drawn[colours["hume"]], [(85, 97)])
    assert set(drawn) == set(colours.values())
    shapes = {container.lines[0].get_marker() for container in ax.containers}
    assert len(shapes) == 2  # of the datasets
    labels = [text.get_text() for text in fig.legends[0].get_texts()]
    assert labels == ["against k-means", "against HUME", "one", "two"]


def test_vs_baselines_says_what_was_not_run():
    without = PAIRS[PAIRS["method"] != "hume"]
    labels = [text.get_text() for text in plot_vs_baselines(without).legends[0].get_texts()]
    assert "against HUME: not run" in labels
    (ax,) = plot_vs_baselines(PAIRS[PAIRS["method"] != "turtle"]).axes
    assert "no scores" in ax.texts[0].get_text()


GROWTH = pd.DataFrame(
    [
        ("n", 1000, "reference", 6.0, "cpu"),
        ("n", 1000, "turtle", 2.0, "cpu"),
        ("n", 4000, "reference", 5.0, "cpu"),  # ours was not measured
        ("n", 1000, "reference", 8.0, "gpu"),
        ("n", 1000, "turtle", 1.0, "gpu"),
    ],
    columns=["axis", "value", "method", "seconds", "hardware"],
)


def test_speedup_divides_the_references_seconds_by_ours():
    ratios = speedup(GROWTH)
    assert ratios["hardware"].tolist() == ["cpu", "gpu"]
    assert ratios["ratio"].tolist() == [3.0, 8.0]
    assert speedup(GROWTH[:0]).empty


def test_growth_states_the_sizes_that_the_benchmark_keeps_fixed():
    labels = [ax.get_xlabel() for ax in plot_growth(GROWTH).axes]
    assert labels[0] == "rows n\n(d = 256, C = 10, 1 run)"
    assert labels[3] == "batched runs\n(n = 4000, d = 256, C = 10)"
    cases = {(axis, value): case for axis, value, case in growth_cases("cpu")}
    (space,), classes = cases["C", FIXED["C"]].data()
    assert space.shape == (FIXED["n"], FIXED["d"])
    assert len(np.unique(classes)) == FIXED["C"]


def test_clusters_frame_the_images_of_another_true_class():
    truth = np.array([0, 0, 0, 1, 1, 1])
    found = np.array([0, 0, 1, 1, 1, 2])  # two are wrong; the found class 2 matches none
    images = np.random.default_rng(0).random((6, 8, 8))
    confidence = np.array([0.9, 0.8, 0.2, 0.9, 0.8, 0.7])
    left, right = plot_clusters(images, truth, found, confidence, ["zero", "one"]).axes
    frames = [patch.get_bbox() for patch in left.patches]
    assert len(frames) == 2
    step = 10  # pixels: a tile of 8 and white of 2
    place = [(round(box.y0 + 1) // step, round(box.x0 + 1) // step) for box in frames]
    assert place == [(1, 2), (2, 0)]  # the third of the found class 1, the first of class 2
    counts = [text.get_text() for text in right.texts]
    assert counts == ["2", "", "1", "2", "", "1"]  # rows of found, columns of true classes
    assert "share of the row" in right.get_title()

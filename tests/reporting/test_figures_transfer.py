"""Figures of many datasets and spaces: what is drawn, what is missing, the same bytes twice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from hume_turtle.reporting.figures.hume import plot_aggregation, plot_reliable, plot_reported
from hume_turtle.reporting.figures.transfer import (
    plot_architectures,
    plot_transfer_benchmark,
    plot_vs_probe,
    plot_vs_zeroshot,
)
from hume_turtle.reporting.publish import save_figure

KEYS = {"dataset": "stl10", "method": "hume-inductive", "spaces": "moco+dino"}
PAIR = "clip-vit-l-14+dinov2"
COLUMNS = {"k-means": ("k-means", PAIR), "one": ("turtle", "dinov2"), "turtle": ("turtle", PAIR)}
MAIN = {"cars": 60.0, "pets": 90.0, "dtd": np.nan}  # TURTLE's in the pair


pytestmark = pytest.mark.usefixtures("style")


def table(**constant) -> pd.DataFrame:
    """A benchmark of three datasets, in percent; `dtd` is reported but was not run."""
    rows = []
    for dataset, value in MAIN.items():
        for method, spaces, less in (
            ("turtle", PAIR, 0),
            ("turtle", "dinov2", 5),
            ("k-means", PAIR, 20),
        ):
            reported = 70.0 if (method, spaces) == ("turtle", PAIR) else np.nan
            rows.append((dataset, method, spaces, reported, value - less))
    for spaces, mean in ((PAIR, 75.0), ("dinov2", np.nan)):
        rows.append(("mean", "turtle", spaces, np.nan, mean))
    frame = pd.DataFrame(rows, columns=["dataset", "method", "spaces", "reported", "mean"])
    return frame.assign(metric="cluster_accuracy", std=1.0, seeds=2, **constant)


def pairs(differences=(3.0, -2.0, np.nan)) -> pd.DataFrame:
    differences = np.array(differences)
    second = np.array([50.0, 80.0, 40.0])[: len(differences)]
    names = ["cars", "pets", "dtd"][: len(differences)]
    both = {"dataset": names, "first": second + differences, "second": second}
    return pd.DataFrame({**both, "difference": differences})


def sizes() -> pd.DataFrame:
    rows = [
        (encoder, method, 50.0 + i, 0.5, 2, 26)
        for i, encoder in enumerate(("clip-rn50", "clip-rn101", "clip-vit-b-32"))
        for method in ("turtle", "turtle + dinov2", "zero-shot")
    ]
    return pd.DataFrame(rows, columns=["encoder", "method", "mean", "std", "seeds", "datasets"])


def aggregation() -> pd.DataFrame:
    rows = [(1, 0, 0.5, 0.5, 0.5), (1, 1, 0.7, 0.7, 0.7), (2, 0, 0.6, 0.7, 0.8)]
    return pd.DataFrame(rows, columns=["runs", "draw", "single", "best", "vote"]).assign(**KEYS)


def reliability() -> pd.DataFrame:
    return pd.DataFrame(
        {"kept": [1, 2, 4], "mean": [1.0, 0.9, 0.5], "std": 0.0, "seeds": 1, **KEYS}
    )


FIGURES = {
    "benchmark": lambda: plot_transfer_benchmark(table(), COLUMNS),
    "vs_zeroshot": lambda: plot_vs_zeroshot({"one": pairs(), "two": pairs()}),
    "architectures": lambda: plot_architectures(sizes()),
    "vs_probe": lambda: plot_vs_probe({"one": pairs(), "not run": pairs()[:0]}),
    "reported": lambda: plot_reported(table()),
    "aggregation": lambda: plot_aggregation(aggregation()),
    "reliable": lambda: plot_reliable(reliability()),
}
EMPTY = {
    "benchmark": lambda: plot_transfer_benchmark(table()[:0], COLUMNS),
    "benchmark, reported only": lambda: plot_transfer_benchmark(
        table().assign(mean=np.nan), COLUMNS
    ),
    "vs_zeroshot": lambda: plot_vs_zeroshot({"one": pairs()[:0]}),
    "vs_zeroshot, one side": lambda: plot_vs_zeroshot({"one": pairs((np.nan,) * 3)}),
    "architectures": lambda: plot_architectures(sizes()[:0]),
    "vs_probe": lambda: plot_vs_probe({"one": pairs()[:0]}),
    "reported": lambda: plot_reported(table()[:0]),
    "aggregation": lambda: plot_aggregation(aggregation()[:0]),
    "reliable": lambda: plot_reliable(reliability()[:0]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_the_same_bytes_twice(name, tmp_path):
    first, second = (
        [path.read_bytes() for path in save_figure(FIGURES[name](), tmp_path / run, name)]
        for run in ("first", "second")
    )
    assert first == second


@pytest.mark.parametrize("name", EMPTY)
def test_a_figure_without_data_says_so(name):
    fig = EMPTY[name]()
    assert "in this suite" in " ".join(text.get_text() for text in fig.axes[0].texts)


def test_benchmark_sorts_datasets_and_marks_missing_cells():
    left, right = plot_transfer_benchmark(table(), COLUMNS).axes
    rows = [label.get_text() for label in left.get_yticklabels()]
    assert rows == ["pets", "cars", "dtd", "mean"]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first row is on top
    names = [label.get_text() for label in right.get_xticklabels()]
    assert names == ["dinov2", "clip-vit-l-14 + dinov2"]
    cells = [text.get_text() for text in right.texts]
    assert cells == ["85.0", "90.0", "55.0", "60.0", "75.0"]
    assert len(right.lines) == 3  # a slash each: dtd was not run, and one space has no mean
    labels = left.get_legend_handles_labels()[1]
    assert set(labels) == {"k-means", "one", "turtle", "reported, turtle"}
    (diamonds,) = [line for line in left.lines if line.get_marker() == "d"]
    assert diamonds.get_xdata().tolist()[:3] == [70, 70, 70]


def test_a_column_that_was_not_run_says_so():
    columns = {**COLUMNS, "hume moco + dino": ("hume", "moco+dino")}
    left = plot_transfer_benchmark(table(), columns).axes[0]
    assert "hume moco + dino: not run" in left.get_legend_handles_labels()[1]


def test_vs_zeroshot_has_one_bar_per_dataset_and_counts_those_ahead():
    (ax,) = plot_vs_zeroshot({"one": pairs()}).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cars", "pets", "dtd"]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [3, -2, 0])
    assert [text.get_text() for text in ax.texts] == ["+3.0", "−2.0", "– missing"]
    assert "mean +0.5, ahead on 1 of 2" in ax.get_title()
    top, bottom = ax.get_ylim()[::-1]
    assert top < bottom  # the first row is on top


def test_architectures_joins_no_line_between_families():
    (ax,) = plot_architectures(sizes()).axes
    lines = [line for line in ax.lines if line.get_linestyle() in ("-", "--")]
    assert [len(line.get_xdata()) for line in lines] == [2, 1] * 3
    assert "26 datasets" in ax.get_ylabel()
    assert len({line.get_color() for line in lines}) == 2  # TURTLE's, with and without a second
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}
    assert len(looks) == 3


def test_vs_probe_gives_pearsons_r_and_names_every_point():
    frame = pairs((3.0, -2.0, 10.0))
    one, other = plot_vs_probe({"one": frame, "two": pairs()[:0]}).axes
    r = np.corrcoef(frame["first"], frame["second"])[0, 1]
    assert f"r = {r:.2f}" in one.get_title()
    assert {text.get_text() for text in one.texts} == set(frame["dataset"])
    assert "not run" in other.get_title()
    (ax,) = plot_vs_probe({"ViT-L/14": pairs((3.0, -2.0, 10.0))}).axes
    assert ax.get_title().startswith("ViT-L/14\n")  # a hyphen of a name is no minus sign
    (ax,) = plot_vs_probe({"one": pairs()}).axes
    assert "too few" in ax.get_title()


def test_names_of_points_do_not_cover_each_other():
    y = np.array([50.0, 50.5, 51.0, 51.5, 90.0])
    frame = pd.DataFrame({"dataset": list("abcde"), "first": y, "second": y}).assign(difference=0)
    frame["dataset"] = "hatefulmemes-" + frame["dataset"]
    fig = plot_vs_probe({"one": frame})
    fig.canvas.draw()
    boxes = [Text.get_window_extent(text) for text in fig.axes[0].texts]  # without their lines
    for i, box in enumerate(boxes):
        assert not any(box.shrunk(0.98, 0.98).overlaps(other) for other in boxes[:i])


def test_reported_marks_what_neither_has():
    frame = table()
    fig = plot_reported(frame)
    dtd = next(ax for ax in fig.axes if ax.get_title() == "dtd")
    crosses = [line for line in dtd.lines if line.get_marker() == "x"]
    assert len(crosses) == 2  # one of the three is reported
    unrun = plot_reported(frame.assign(mean=np.nan))
    assert "no scores in this suite" in unrun.legends[0].get_title().get_text()
    assert not fig.legends[0].get_title().get_text()


def test_aggregation_shows_every_single_run():
    (ax,) = plot_aggregation(aggregation()).axes
    single, best, vote, *_, dots = (list(line.get_ydata()) for line in ax.lines)
    assert dots == [50, 70]
    np.testing.assert_allclose([single, best, vote], [[60, 60], [60, 70], [60, 80]])

"""Figures from made-up data: what is drawn, the same bytes twice, clear errors; tables."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest

from hume_turtle.reporting.figures.correlation import plot_correlation
from hume_turtle.reporting.figures.images import plot_clusters
from hume_turtle.reporting.figures.scores import plot_benchmark, plot_scoreboard, plot_vs_baselines
from hume_turtle.reporting.figures.selection import plot_selection
from hume_turtle.reporting.figures.speed import plot_growth
from hume_turtle.reporting.figures.training import plot_training
from hume_turtle.reporting.publish import markdown_table, publish, save_figure, save_table
from hume_turtle.reporting.style import set_style

METRIC = "cluster_accuracy"


pytestmark = pytest.mark.usefixtures("style")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """The long table: two datasets, three space combinations, three methods; one value missing."""
    rng = np.random.default_rng(0)
    rows = []
    for dataset in ("digits", "letters"):
        for spaces in ("a", "b", "a+b"):
            for method, gain in (("turtle", 0.1), ("k-means", 0.0), ("hume", 0.05)):
                if (dataset, spaces, method) == ("digits", "a", "turtle"):
                    continue
                for seed in range(3):
                    key = (dataset, method, spaces, seed, "train")
                    rows.append((*key, METRIC, 0.8 + gain + 0.01 * rng.normal()))
                    if method != "hume":
                        rows.append((*key, "seconds", 1 + rng.random()))
    columns = ["dataset", "method", "spaces", "seed", "split", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


def clusters():
    rng = np.random.default_rng(0)
    labels = np.array([0] * 9 + [2] * 2)  # class 1 is empty, class 2 has fewer images than shown
    images, confidence = rng.random((11, 8, 8)), rng.random(11)
    truth = np.array([0] * 8 + [1] + [2] * 2)  # one image is wrong
    return plot_clusters(images, truth, labels, confidence, ["zero", "one", "two"])


def scoreboard(ours=(np.nan, 81.0, 70.0)):
    status = ["not run" if np.isnan(x) else "met" if x > 80 else "missed" for x in ours]
    return plot_scoreboard(
        pd.DataFrame(
            {
                "artefact": ["a", "b", "b"],
                "ours_by": [None if np.isnan(x) else "turtle-cold" for x in ours],
                "ours": ours,
                "difference": np.array(ours) - 80.0,
                "tolerance": 1.0,
                "status": status,
            }
        )
    )


def growth(machines=("cpu",)) -> pd.DataFrame:
    """Rows and batched runs measured, dimensions and classes not."""
    rows = [
        (axis, value, method, factor * value, machine)
        for machine in machines
        for axis in ("n", "runs")
        for value in (4, 1, 16)
        for method, factor in (("reference", 2.0), ("turtle", 0.5))
    ]
    return pd.DataFrame(rows, columns=["axis", "value", "method", "seconds", "hardware"])


def correlation(objective, accuracy, groups):
    return plot_correlation(objective, accuracy, groups, xlabel="objective", good=2.5)


def selection():
    """Six fits in two space combinations; in the first, the third and fourth have the top score."""
    return pd.DataFrame(
        {
            "dataset": "digits",
            "spaces": ["a", "a", "a", "a", "a+b", "a+b"],
            "warm_start": [True, False] * 3,
            "generalization_score": [0.7, 0.8, 0.9, 0.9, 0.6, 0.5],
            "cluster_accuracy": [0.2, 0.5, 0.6, 0.7, 0.3, 0.4],
        }
    )


FIGURES = {
    "growth": lambda _: plot_growth(growth()),
    "growth, not measured": lambda _: plot_growth(growth(())),
    "benchmark": plot_benchmark,
    "vs_baselines": plot_vs_baselines,
    "training": lambda _: plot_training({"objective": np.zeros((2, 5))}, np.ones(2), [1, 5]),
    "correlation": lambda _: correlation([1, 2, 3], [0.9, 0.5, 0.4], ["x", "y", "y"]),
    "selection": lambda _: plot_selection(selection()),
    "clusters": lambda _: clusters(),
    "scoreboard": lambda _: scoreboard(),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_the_same_bytes_twice(name, frame, tmp_path):
    written = [
        [path.read_bytes() for path in save_figure(FIGURES[name](frame), tmp_path / run, name)]
        for run in ("first", "second")
    ]
    assert written[0] == written[1]
    assert written[0][0].startswith(b"\x89PNG")
    assert b"<svg" in written[0][1]


@pytest.mark.parametrize("nested", [False, True])
def test_a_layouts_last_bits_do_not_show_in_the_files(nested, tmp_path):
    def saved(name, shift):
        fig = matplotlib.figure.Figure(figsize=(3, 2))
        part = fig.subfigures(1, 2)[1] if nested else fig
        if nested:
            part.bbox_relative.set_points(part.bbox_relative.get_points() + shift)
        part.add_axes((0.2 + shift, 0.3, 0.7, 0.6)).plot([0, 1], [0, 1])
        return [path.read_bytes() for path in save_figure(fig, tmp_path / name, "line")]

    assert saved("as it is", 0) == saved("shifted", 1e-15)
    assert saved("as it is", 0) != saved("shifted", 1e-3)


def test_style_ignores_what_was_set_before():
    matplotlib.rcParams.update({"font.family": "serif", "lines.linewidth": 9})
    set_style()
    first = dict(matplotlib.rcParams)
    set_style()
    assert dict(matplotlib.rcParams) == first
    assert first["font.family"] == ["DejaVu Sans"]
    assert first["lines.linewidth"] < 3
    assert matplotlib.get_backend().lower() == "agg"


def test_benchmark_shows_means_in_percent_and_marks_missing(frame):
    fig = plot_benchmark(frame)
    panels = {ax.get_title(): ax for ax in fig.axes}
    assert list(panels) == ["digits", "letters"]
    crosses = [line for line in panels["digits"].lines if line.get_marker() == "x"]
    assert sum(len(line.get_xdata()) for line in crosses) == 1
    chosen = (frame["metric"] == METRIC) & (frame["method"] == "turtle")
    means = 100 * frame[chosen & (frame["dataset"] == "letters")].groupby("spaces")["value"].mean()
    dots = next(line for line in panels["letters"].lines if line.get_marker() == "o")
    np.testing.assert_allclose(sorted(dots.get_xdata()), sorted(means))
    rows = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert set(rows[:2]) == {"a", "b"}
    assert rows[2] == "a + b"


def test_growth_has_one_panel_per_axis_and_one_line_per_hardware():
    labelled = plot_growth(growth(("cpu", "gpu"))).axes
    panels = {ax.get_xlabel().partition("\n")[0]: ax for ax in labelled}
    assert list(panels) == ["rows n", "dimensions d", "classes C", "batched runs"]
    lines = {line.get_label(): line for line in panels["rows n"].lines}
    assert list(lines)[:2] == ["cpu", "gpu"]
    assert lines["cpu"].get_linestyle() != lines["gpu"].get_linestyle()
    assert lines["cpu"].get_color() == lines["gpu"].get_color()  # a colour means a method
    np.testing.assert_allclose(lines["cpu"].get_xydata(), [[1, 4], [4, 4], [16, 4]])
    assert panels["rows n"].get_xscale() == panels["rows n"].get_yscale() == "log"
    assert [text.get_text() for text in panels["classes C"].texts] == ["not measured"]


def test_correlation_is_pearsons_and_spearmans():
    x, y = np.array([1.0, 2.0, 4.0, 3.0]), np.array([0.9, 0.2, 0.7, 0.6])
    left, right = correlation(x, y, ["x"] * 4).axes
    assert f"r = −{abs(np.corrcoef(x, y)[0, 1]):.2f}, ρ = −0.20" in left.get_title()
    assert right.get_title() == "enlarged: 2 labelings, too few for a correlation"


def test_selection_rings_the_first_of_the_highest_scores():
    fig = plot_selection(selection())
    titles = [ax.get_title(loc="left").partition(":")[0] for ax in fig.axes]
    assert titles == ["digits, a", "the highest scores", "digits, a + b", "the highest scores"]
    for ax, chosen in zip(fig.axes, [(90, 60)] * 2 + [(60, 30)] * 2):
        (ring,) = [dots for dots in ax.collections if "chosen" in dots.get_label()]
        np.testing.assert_allclose(ring.get_offsets(), [chosen])


def test_scoreboard_has_one_line_per_artefact_and_method_of_ours():
    left, right = scoreboard((81.0, 70.0, np.nan)).axes
    names = [label.get_text() for label in left.get_yticklabels()][::-1]
    assert names == ["a: TURTLE, cold start", "b: TURTLE, cold start", "b: not run"]
    met, missed, not_run = (dots.get_offsets() for dots in right.collections)
    np.testing.assert_allclose(met, [[1, 2]])
    np.testing.assert_allclose(missed, [[-10, 1]])
    assert not len(not_run)


def test_tables(tmp_path):
    table = pd.DataFrame({"name": ["ab", "c"], "n": [1, 20], "value": [0.12345, np.nan]})
    csv, markdown = save_table(table, tmp_path / "new", "t", "%.2f")
    assert csv.read_text() == "name,n,value\nab,1,0.12\nc,20,\n"
    assert (
        markdown.read_text()
        == markdown_table(table, "%.2f")
        == (
            "| name   |   n |   value |\n"
            "|:-------|----:|--------:|\n"
            "| ab     |   1 |    0.12 |\n"
            "| c      |  20 |       – |\n"
        )
    )
    below = save_table(table, tmp_path, "t", "%.2f", note="A note.")[1].read_text()
    assert below == markdown_table(table, "%.2f") + "\nA note.\n"


def test_publish(tmp_path):
    runs, figures, executed = tmp_path / "runs", tmp_path / "figures", tmp_path / "executed"
    for notebook, names in (("one", ["a.png", "a.svg"]), ("two", ["b.csv", "b.failed.ipynb"])):
        for name in (f"{notebook}.ipynb", *names):
            (runs / notebook).mkdir(parents=True, exist_ok=True)
            (runs / notebook / name).write_text(name)
    figures.mkdir()
    (figures / "stale.png").touch()

    publish(runs, ["one", "two"], ["a", "b"], figures, executed)
    assert sorted(path.name for path in figures.iterdir()) == ["a.png", "a.svg", "b.csv"]
    assert sorted(path.name for path in executed.iterdir()) == ["one.ipynb", "two.ipynb"]

    for notebooks, artefacts, message in (
        (["one", "two"], ["a", "b", "c"], "artefact c was made by no notebook"),
        (["one", "two"], ["a"], "two made b, which params.yaml does not list"),
        (["one", "three"], ["a"], "notebook three has no run"),
    ):
        with pytest.raises(ValueError, match=message):
            publish(runs, notebooks, artefacts, figures, executed)
    (runs / "two" / "a.md").touch()
    with pytest.raises(ValueError, match="artefact a was made by one, two"):
        publish(runs, ["one", "two"], ["a", "b"], figures, executed)
    assert (figures / "a.svg").exists()  # nothing was written by the failures

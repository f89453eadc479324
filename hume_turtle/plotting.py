"""One style for every figure and table of the project; one function a figure.

Figure functions take plain arrays, or the project's long table with the columns `dataset`,
`method`, `spaces`, `seed`, `split`, `metric`, `value` (fractions, not percent), and return a
matplotlib Figure. What has no value is drawn as missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hume_turtle.artefacts import save_figure, save_table
from hume_turtle.plotting_images import plot_clusters, plot_images

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = [
    "plot_benchmark",
    "plot_clusters",
    "plot_correlation",
    "plot_images",
    "plot_points",
    "plot_scoreboard",
    "plot_training",
    "plot_vs_baselines",
    "save_figure",
    "save_table",
    "set_style",
]

# Okabe and Ito's colours, told apart with any colour vision; a method has the same one everywhere.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
METHODS = ("turtle", "hume", "k-means", "zero-shot", "linear-probe")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#8C8C8C"
STATUS_COLOURS = {"met": "#009E73", "missed": "#D55E00", "not run": "#BBBBBB"}


def set_style() -> None:
    """Set the project's look, from matplotlib's own defaults: no setting of the user's remains."""
    import matplotlib
    import seaborn

    backend = matplotlib.get_backend()
    matplotlib.rcdefaults()
    matplotlib.use(backend)
    seaborn.set_theme(style="ticks", palette=COLOURS)
    matplotlib.rcParams.update(
        {
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.labelsize": 10,
            "axes.grid": True,
            "grid.color": "#E6E6E6",
            "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "savefig.bbox": "tight",
            "svg.hashsalt": "hume-turtle",  # else SVG ids differ from run to run
            "svg.fonttype": "path",  # text looks the same where the font is missing
        }
    )


def plot_benchmark(frame: pd.DataFrame, metric: str = "cluster_accuracy") -> Figure:
    """Every dataset (rows) and method (colours), a panel for each choice of spaces.

    Dots are means over seeds, bars one standard deviation; × is a value that other rows of the
    panel have and this one lacks. Datasets are sorted by their mean.

    Args:
        frame: the long table; its rows of `metric` are drawn.
        metric: which metric, a fraction.

    Raises:
        ValueError: no row of that metric.
    """
    import matplotlib.pyplot as plt

    frame = _rows(frame, metric)
    summary = frame.groupby(["spaces", "dataset", "method"])["value"].agg(["mean", "std"])
    order = frame.groupby("dataset")["value"].mean().sort_values().index
    methods = _in_order(frame["method"])
    panels = sorted(frame["spaces"].unique(), key=lambda s: (s.count("+"), s))
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    size = (1.6 + 2.7 * columns, 0.9 + rows * (0.6 + 0.13 * len(order) * max(2, len(methods))))
    fig, axes = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    low = _floor(100 * summary["mean"])
    missing = False
    for ax, spaces in zip(axes.flat, panels, strict=False):
        missing |= _draw_panel(ax, summary.loc[spaces], order, methods, low)
        ax.set(title=spaces.replace("+", " + "), xlim=(low, 101.5))
    for ax in axes[:, 1:].flat:
        ax.tick_params(axis="y", length=0)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    fig.get_layout_engine().set(wspace=0.06)  # tick labels of neighbours stay apart
    fig.supxlabel(f"{_words(metric)} (%)" + ";  × missing" * missing, fontsize=10)
    handles = [_mark(method, _colour(method), _marker(method)) for method in methods]
    fig.legend(handles=handles, loc="outside upper center", ncols=len(methods))
    return fig


def _draw_panel(ax, summary: pd.DataFrame, datasets, methods: list[str], low: float) -> bool:
    """Draw one choice of spaces; return whether a value is missing."""
    here, any_missing = set(summary.index.unique("method")), False
    for i, method in enumerate(methods):
        if method not in here:
            continue
        heights = np.arange(len(datasets)) + 0.7 * (0.5 - (i + 0.5) / len(methods))
        values = summary.reindex([(dataset, method) for dataset in datasets])
        mean, deviation = 100 * values["mean"].to_numpy(), 100 * values["std"].to_numpy()
        ax.errorbar(
            mean,
            heights,
            xerr=np.nan_to_num(deviation),
            fmt=_marker(method),
            color=_colour(method),
            markersize=5,
            elinewidth=1.2,
        )
        missing = heights[np.isnan(mean)]
        ax.plot(np.full(len(missing), low + 1.5), missing, "x", color=_colour(method), markersize=5)
        any_missing |= len(missing) > 0
    for edge in range(1, len(datasets)):
        ax.axhline(edge - 0.5, color="#E6E6E6", linewidth=0.8)
    ax.grid(axis="y", visible=False)
    ax.set(yticks=range(len(datasets)), yticklabels=datasets, ylim=(-0.5, len(datasets) - 0.5))
    return any_missing


def plot_training(history: Mapping[str, Any], accuracy: Any = None, steps: Any = None) -> Figure:
    """Curves over outer iterations, one panel for each quantity.

    Args:
        history: name -> (T,) or (runs, T); e.g. objective and entropy. Runs are drawn faintly,
            their mean boldly.
        accuracy: (S,) or (runs, S) cluster accuracy as a fraction; for the reader only.
        steps: (S,) the outer iterations of `accuracy`; 1..S by default.

    Raises:
        ValueError: nothing to draw.
    """
    import matplotlib.pyplot as plt

    if not history:
        raise ValueError("history is empty: nothing to draw")
    panels = [(_words(name), np.atleast_2d(values), None) for name, values in history.items()]
    if accuracy is not None:
        panels.append(("cluster accuracy (%)", 100 * np.atleast_2d(accuracy), steps))
    size = (7.0, 0.7 + 1.6 * len(panels))
    fig, axes = plt.subplots(
        len(panels), 1, figsize=size, sharex=True, squeeze=False, layout="constrained"
    )
    for i, (ax, (label, values, at)) in enumerate(zip(axes.flat, panels, strict=True)):
        at = np.arange(1, values.shape[1] + 1) if at is None else np.asarray(at)
        if len(values) > 1:
            ax.plot(at, values.T, color=COLOURS[i % 7], alpha=0.25, linewidth=0.8)
        dots = "o" if accuracy is not None and i == len(panels) - 1 else None  # what was measured
        ax.plot(at, values.mean(0), color=COLOURS[i % 7], linewidth=1.8, marker=dots, markersize=4)
        ax.set_ylabel(label)
    if accuracy is not None:
        axes.flat[-1].set_title(
            "for the reader only: fitting never sees it", fontsize=9, color="#555555", loc="right"
        )
    axes.flat[-1].set(xlabel="outer iteration", xlim=(0, None))
    fig.align_ylabels()
    return fig


def plot_vs_baselines(
    frame: pd.DataFrame,
    method: str = "turtle",
    baselines: Sequence[str] = ("k-means", "hume"),
    metric: str = "cluster_accuracy",
) -> Figure:
    """A method against each baseline in the same dataset and spaces, and the seconds each took.

    A point is one dataset and choice of spaces (mean over seeds); above the diagonal the method
    wins. Seconds come from the rows whose metric is `seconds`; the last panel is left out where
    there are none.

    Raises:
        ValueError: no value of the method.
    """
    import matplotlib.pyplot as plt

    scores = _rows(frame, metric)
    seconds = frame[(frame["metric"] == "seconds") & frame["method"].isin([method, *baselines])]
    mean = 100 * scores.groupby(["dataset", "spaces", "method"])["value"].mean().unstack()
    if method not in mean:
        raise ValueError(f"no {metric} of {method}; there is {', '.join(mean.columns)}")
    count = len(baselines) + bool(len(seconds))
    fig, axes = plt.subplots(
        1, count, figsize=(3.3 * count, 3.9), squeeze=False, layout="constrained"
    )
    axes = list(axes.flat)
    datasets = sorted(mean.index.unique("dataset"))
    few = len(datasets) <= len(MARKERS)  # more are not told apart by shape
    shown = mean.reindex(columns=[method, *baselines])
    low = _floor(shown.stack())
    for ax, baseline in zip(axes, baselines, strict=False):
        ax.plot([low, 101], [low, 101], color=GREY, linewidth=1, zorder=1)
        pairs = shown[[method, baseline]].dropna()
        for i, dataset in enumerate(datasets):
            points = pairs[pairs.index.get_level_values("dataset") == dataset]
            ax.scatter(
                points[baseline],
                points[method],
                s=36,
                color=_colour(baseline),
                marker=MARKERS[i * few],
                edgecolor="white",
                linewidth=0.6,
                zorder=2,
            )
        if pairs.empty:
            ax.text(0.7, 0.3, "not run", transform=ax.transAxes, ha="center", color=GREY)
        ax.set(
            xlim=(low, 101),
            ylim=(low, 101),
            aspect="equal",
            xlabel=f"{baseline} (%)",
            ylabel=f"{method} (%)",
            title=_words(metric),
        )
    if len(seconds):
        _draw_seconds(axes[-1], seconds, [method, *baselines])
    if few:
        handles = [_mark(d, GREY, m) for d, m in zip(datasets, MARKERS, strict=False)]
        fig.legend(handles=handles, loc="outside upper center", ncols=min(4, len(datasets)))
    return fig


def _draw_seconds(ax, seconds: pd.DataFrame, methods: Sequence[str]) -> None:
    for height, method in enumerate(reversed(methods)):
        values = seconds.loc[seconds["method"] == method, "value"].to_numpy()
        if not len(values):
            ax.text(
                0.5,
                (height + 0.5) / len(methods),
                "not timed",
                transform=ax.transAxes,
                ha="center",
                va="center",
                color=GREY,
            )
            continue
        spread = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else np.zeros(1)
        ax.scatter(values, height + spread, s=16, color=_colour(method), alpha=0.5, linewidth=0)
        middle = np.median(values)
        ax.plot([middle] * 2, [height - 0.3, height + 0.3], color=_colour(method), linewidth=2.5)
        ax.annotate(
            f"{middle:.3g} s", (middle, height + 0.32), ha="center", va="bottom", fontsize=9
        )
    ax.set(
        xscale="log",
        yticks=range(len(methods)),
        yticklabels=list(reversed(methods)),
        ylim=(-0.5, len(methods) - 0.35),
        xlabel="seconds a fit; bar: median",
        title="time",
    )
    ax.margins(x=0.15)
    ax.set_box_aspect(1)
    ax.grid(axis="y", visible=False)


def plot_correlation(
    objective: Sequence[float],
    accuracy: Sequence[float],
    groups: Sequence[str] | None = None,
    *,
    xlabel: str = "objective (lower is better)",
) -> Figure:
    """An objective against cluster accuracy, a point a labeling, with Pearson's r.

    Args:
        objective: (m,) values the method minimises.
        accuracy: (m,) cluster accuracies, fractions.
        groups: (m,) what each labeling is, e.g. `true labels`; gives colour and marker, a method
            those it has in the other figures.

    Raises:
        ValueError: lengths differ, or fewer than two points.
    """
    import matplotlib.pyplot as plt

    x, y = np.asarray(objective, float), 100 * np.asarray(accuracy, float)
    names = np.full(len(x), "") if groups is None else np.asarray(groups).astype(str)
    if not len(x) == len(y) == len(names) or len(x) < 2:
        raise ValueError(
            f"need two points or more and equal lengths: {len(x)} objectives, {len(y)} "
            f"accuracies, {len(names)} groups"
        )
    known = np.isfinite(x) & np.isfinite(y)
    varies = known.sum() > 1 and x[known].std() > 0 and y[known].std() > 0
    r = np.corrcoef(x[known], y[known])[0, 1] if varies else math.nan
    fig, ax = plt.subplots(figsize=(5.4, 4.0), layout="constrained")
    others = [name for name in dict.fromkeys(names) if name not in METHODS]
    for name in dict.fromkeys(names):
        chosen = known & (names == name)
        look = METHODS.index(name) if name in METHODS else (6 - others.index(name)) % 7
        ax.scatter(
            x[chosen],
            y[chosen],
            s=36,
            color=COLOURS[look],
            marker=MARKERS[look],
            alpha=0.8,
            edgecolor="white",
            linewidth=0.5,
            label=name or None,
        )
    if varies:
        ends = np.array([x[known].min(), x[known].max()])
        ax.plot(
            ends,
            np.polyval(np.polyfit(x[known], y[known], 1), ends),
            color=GREY,
            linewidth=1.2,
            zorder=1,
        )
    ax.set(xlabel=xlabel, ylabel="cluster accuracy (%)")
    ax.set_title(f"Pearson's r = {r:.2f}".replace("-", "−") + f"   ({known.sum()} labelings)")
    if groups is not None:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def plot_points(spaces: Mapping[str, Any], labels: Sequence[int]) -> Figure:
    """The same points in several two-dimensional spaces, coloured by a labeling.

    Args:
        spaces: name -> (n, 2).
        labels: (n,) whole numbers from 0.
    """
    import matplotlib.pyplot as plt

    labels = np.asarray(labels)
    size = (3.2 * len(spaces), 3.2)
    fig, axes = plt.subplots(1, len(spaces), figsize=size, squeeze=False, layout="constrained")
    for ax, (name, points) in zip(axes.flat, spaces.items(), strict=True):
        for label in np.unique(labels):
            ax.scatter(
                *points[labels == label].T,
                s=22,
                color=COLOURS[label % 7],
                marker=MARKERS[label % 7],
                alpha=0.8,
                linewidth=0,
            )
        ax.set(title=name, aspect="equal", xticks=[], yticks=[])
    return fig


def plot_scoreboard(frame: pd.DataFrame) -> Figure:
    """Reported numbers met, missed and not run, by artefact; and how far ours are from them.

    Args:
        frame: one row a reported number, with columns `artefact`, `reported`, `ours`, `tolerance`
            (in percent; NaN where not run) and `status`: `met`, `missed` or `not run`.

    Raises:
        ValueError: an unknown status.
    """
    import matplotlib.pyplot as plt

    unknown = set(frame["status"]) - set(STATUS_COLOURS)
    if unknown:
        raise ValueError(f"unknown status {', '.join(sorted(map(str, unknown)))}")
    names = list(dict.fromkeys(frame["artefact"]))[::-1]
    size = (9.0, 1.6 + 0.4 * len(names))
    fig, (left, right) = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    right.tick_params(axis="y", length=0)
    start = np.zeros(len(names))
    for status, colour in STATUS_COLOURS.items():
        counts = np.array(
            [((frame["artefact"] == n) & (frame["status"] == status)).sum() for n in names]
        )
        left.barh(range(len(names)), counts, left=start, color=colour, label=status, height=0.6)
        for height in np.flatnonzero(counts):
            left.text(
                start[height] + counts[height] / 2,
                height,
                counts[height],
                ha="center",
                va="center",
                fontsize=9,
                color="#222222" if status == "not run" else "white",
            )
        start += counts
    left.set(yticks=range(len(names)), yticklabels=names, xlabel="reported numbers")
    run = frame[frame["ours"].notna()]
    at = np.array([names.index(name) for name in run["artefact"]])
    if len(run):
        right.scatter(
            run["ours"] - run["reported"],
            at,
            s=28,
            alpha=0.8,
            c=[STATUS_COLOURS[status] for status in run["status"]],
        )
        right.axvline(0, color=GREY, linewidth=1, zorder=0)
    else:
        right.text(
            0.5,
            0.5,
            "none run in this suite",
            transform=right.transAxes,
            ha="center",
            va="center",
            color=GREY,
        )
        right.set(xticks=[], xlim=(-1, 1))
    right.set(xlabel="ours − reported (points)", ylim=(-0.6, len(names) - 0.4))
    for ax in (left, right):
        ax.grid(axis="y", visible=False)
    fig.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig


def _rows(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    chosen = frame[(frame["metric"] == metric) & frame["value"].notna()]
    if chosen.empty:
        raise ValueError(f"no {metric} among {', '.join(sorted(set(frame['metric'])))}")
    return chosen


def _in_order(methods) -> list[str]:
    present = set(methods)
    return [m for m in METHODS if m in present] + sorted(present - set(METHODS))


def _method_index(method: str) -> int:
    return METHODS.index(method) if method in METHODS else 5 + sum(map(ord, method)) % 2


def _colour(method: str) -> str:
    return COLOURS[_method_index(method)]


def _marker(method: str) -> str:
    return MARKERS[_method_index(method)]


def _floor(percent: pd.Series) -> float:
    """The left edge of an axis of percentages: a multiple of 10, 5 or more below the smallest."""
    return max(-2.0, 10 * math.floor((float(percent.min()) - 5) / 10))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _mark(label: str, colour: str, marker: str):
    """A legend entry."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker=marker, linestyle="", markersize=6, label=label)

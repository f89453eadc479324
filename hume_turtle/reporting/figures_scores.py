"""Figures of scores: the benchmark, methods against each other, the scoreboard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hume_turtle.reporting.style import (
    GREY,
    MARKERS,
    STATUS_COLOURS,
    hue_of,
    in_order,
    left_edge,
    legend_entry,
    marker_of,
    metric_rows,
    spaced,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


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

    frame = metric_rows(frame, metric)
    summary = frame.groupby(["spaces", "dataset", "method"])["value"].agg(["mean", "std"])
    order = frame.groupby("dataset")["value"].mean().sort_values().index
    methods = in_order(frame["method"])
    panels = sorted(frame["spaces"].unique(), key=lambda s: (s.count("+"), s))
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    size = (1.6 + 2.7 * columns, 0.9 + rows * (0.6 + 0.13 * len(order) * max(2, len(methods))))
    fig, axes = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    low = left_edge(100 * summary["mean"])
    missing = False
    for ax, spaces in zip(axes.flat, panels, strict=False):
        missing |= _draw_panel(ax, summary.loc[spaces], order, methods, low)
        ax.set(title=spaces.replace("+", " + "), xlim=(low, 101.5))
    for ax in axes[:, 1:].flat:
        ax.tick_params(axis="y", length=0)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    fig.get_layout_engine().set(wspace=0.06)  # tick labels of neighbours stay apart
    fig.supxlabel(f"{spaced(metric)} (%)" + ";  × missing" * missing, fontsize=10)
    handles = [legend_entry(method, hue_of(method), marker_of(method)) for method in methods]
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
            fmt=marker_of(method),
            color=hue_of(method),
            markersize=5,
            elinewidth=1.2,
        )
        missing = heights[np.isnan(mean)]
        ax.plot(
            np.full(len(missing), low + 1.5),
            missing,
            "x",
            color=hue_of(method),
            markersize=5,
        )
        any_missing |= len(missing) > 0
    for edge in range(1, len(datasets)):
        ax.axhline(edge - 0.5, color="#E6E6E6", linewidth=0.8)
    ax.grid(axis="y", visible=False)
    ax.set(yticks=range(len(datasets)), yticklabels=datasets, ylim=(-0.5, len(datasets) - 0.5))
    return any_missing


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

    scores = metric_rows(frame, metric)
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
    low = left_edge(shown.stack())
    for ax, baseline in zip(axes, baselines, strict=False):
        ax.plot([low, 101], [low, 101], color=GREY, linewidth=1, zorder=1)
        pairs = shown[[method, baseline]].dropna()
        for i, dataset in enumerate(datasets):
            points = pairs[pairs.index.get_level_values("dataset") == dataset]
            ax.scatter(
                points[baseline],
                points[method],
                s=36 if few else 14,
                alpha=1 if few else 0.6,
                color=hue_of(baseline),
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
            title=spaced(metric),
        )
    if len(seconds):
        _draw_seconds(axes[-1], seconds, [method, *baselines])
    if few:
        handles = [legend_entry(d, GREY, m) for d, m in zip(datasets, MARKERS, strict=False)]
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
        ax.scatter(values, height + spread, s=16, color=hue_of(method), alpha=0.5, linewidth=0)
        middle = np.median(values)
        ax.plot([middle] * 2, [height - 0.3, height + 0.3], color=hue_of(method), linewidth=2.5)
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

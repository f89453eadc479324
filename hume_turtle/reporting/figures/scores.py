"""Figures of scores: the benchmark, methods against each other, the scoreboard."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from hume_turtle.reporting.names import method_name, spaces_name
from hume_turtle.reporting.style import (
    DARK,
    GREY,
    MARKERS,
    RULE,
    in_order,
    left_edge,
    legend_above,
    legend_entry,
    method_look,
    note,
    nothing_to_show,
    panels,
)

STATUS_COLOURS = {"met": "#009E73", "missed": "#D55E00", "not run": "#BBBBBB"}


def plot_benchmark(frame: pd.DataFrame) -> Figure:
    """Cluster accuracy on every dataset (rows) of every method (colours), one panel per spaces.

    Dots are means over seeds, bars one standard deviation; × is a value that other rows of the
    panel have and this one does not. Datasets are sorted by their mean.

    Args:
        frame: the long table, with at least one cluster accuracy.
    """
    frame = frame[frame["metric"] == "cluster_accuracy"]
    summary = 100 * frame.groupby(["spaces", "dataset", "method"])["value"].agg(["mean", "std"])
    order = frame.groupby("dataset")["value"].mean().sort_values().index
    methods = in_order(frame["method"])
    combinations = sorted(frame["spaces"].unique(), key=lambda s: (s.count("+"), s))
    columns = min(3, len(combinations))
    rows = math.ceil(len(combinations) / columns)
    size = (1.6 + 2.7 * columns, 0.9 + rows * (0.6 + 0.13 * len(order) * max(2, len(methods))))
    fig, axes = panels(len(combinations), size, columns, sharex=True, sharey=True)
    low = left_edge(summary["mean"])
    missing = False
    for i, (ax, spaces) in enumerate(zip(axes, combinations, strict=True)):
        values = summary.loc[spaces].unstack("method").reindex(order)
        _draw_panel(ax, values, methods, low)
        missing |= values["mean"].isna().any(axis=None)
        ax.set(title=spaces_name(spaces), xlim=(low, 101.5))
        if i % columns:  # not the left one
            ax.tick_params(axis="y", length=0)
    fig.get_layout_engine().set(wspace=0.06)  # tick labels of neighbours stay apart
    note_missing = ";  × missing" if missing else ""
    fig.supxlabel(f"cluster accuracy (%){note_missing}", fontsize=10)
    legend_above(fig, [legend_entry(method_name(m), **method_look(m)) for m in methods], ncols=5)
    return fig


def _draw_panel(ax, values: pd.DataFrame, methods: Sequence[str], low: float) -> None:
    """One space combination: one row per dataset; columns ("mean" or "std", method) in percent."""
    for i, method in enumerate(methods):
        if method not in values["mean"]:
            continue
        mean, std = values["mean", method], values["std", method]
        heights = np.arange(len(values)) + 0.7 * (0.5 - (i + 0.5) / len(methods))
        dots = {**method_look(method), "linestyle": "", "markersize": 5}
        ax.errorbar(mean, heights, xerr=std, elinewidth=1.2, **dots)
        missing = heights[mean.isna()]
        ax.plot(np.full(len(missing), low + 1.5), missing, **{**dots, "marker": "x"})
    for edge in range(1, len(values)):
        ax.axhline(edge - 0.5, color=RULE, linewidth=0.8)
    ax.grid(axis="y", visible=False)
    ax.set(yticks=range(len(values)), yticklabels=values.index, ylim=(-0.5, len(values) - 0.5))


def plot_vs_baselines(frame: pd.DataFrame) -> Figure:
    """TURTLE against k-means and HUME in the same dataset and spaces, and the seconds each took.

    A point is one dataset and space combination (cluster accuracy, mean over seeds); above the
    diagonal TURTLE wins. Seconds come from the rows whose metric is `seconds`; without any, there
    is no panel for them.
    """
    methods = ["turtle", "k-means", "hume"]
    scores = frame[(frame["metric"] == "cluster_accuracy") & frame["method"].isin(methods)]
    seconds = frame[(frame["metric"] == "seconds") & frame["method"].isin(methods)]
    if "turtle" not in set(scores["method"]):
        return nothing_to_show()
    shown = 100 * scores.groupby(["dataset", "spaces", "method"])["value"].mean().unstack()
    shown = shown.reindex(columns=methods)
    count = 2 + bool(len(seconds))
    fig, axes = panels(count, (3.3 * count, 3.9))
    datasets = sorted(shown.index.unique("dataset"))
    few = len(datasets) <= len(MARKERS)  # more are not told apart by shape
    markers = {dataset: MARKERS[i * few] for i, dataset in enumerate(datasets)}
    low = left_edge(shown.stack())
    for ax, baseline in zip(axes, methods[1:], strict=False):
        pairs = shown[["turtle", baseline]].dropna()
        ax.plot([low, 101], [low, 101], color=GREY, linewidth=1, zorder=1)
        dots = {"s": 36 if few else 14, "alpha": 1 if few else 0.6, "linewidth": 0.6}
        dots |= {"edgecolor": "white", "zorder": 2, "color": method_look(baseline)["color"]}
        for dataset, points in pairs.groupby(level="dataset"):
            ax.scatter(points[baseline], points["turtle"], marker=markers[dataset], **dots)
        if pairs.empty:
            note(ax, "not run", 0.7, 0.3)
        ax.set(xlim=(low, 101), ylim=(low, 101), aspect="equal", title="cluster accuracy")
        ax.set(xlabel=f"{method_name(baseline)} (%)", ylabel="TURTLE (%)")
    if len(seconds):
        _draw_seconds(axes[-1], seconds, methods)
    if few:
        legend_above(fig, [legend_entry(d, GREY, marker) for d, marker in markers.items()])
    return fig


def _draw_seconds(ax, seconds: pd.DataFrame, methods: Sequence[str]) -> None:
    look = {"order": methods, "hue": "method", "jitter": False, "size": 4, "alpha": 0.5}
    palette = {method: method_look(method)["color"] for method in methods}
    seaborn.stripplot(seconds, x="value", y="method", palette=palette, legend=False, ax=ax, **look)
    medians = seconds.groupby("method")["value"].median().reindex(methods)
    ax.plot(medians, range(len(methods)), "|", color=DARK, markersize=22, markeredgewidth=2)
    texts = ["not timed" if value != value else f"{value:.3g} s" for value in medians]
    names = [f"{method_name(m)}\n{text}" for m, text in zip(methods, texts, strict=True)]
    ax.set(xscale="log", xlabel="seconds per fit; bar: median", ylabel="", title="time")
    ax.set(yticks=range(len(methods)), yticklabels=names, ylim=(len(methods) - 0.5, -0.5))
    ax.margins(x=0.15)
    ax.set_box_aspect(1)
    ax.grid(axis="y", visible=False)


def plot_scoreboard(frame: pd.DataFrame) -> Figure:
    """Reported numbers met, missed and not run, and how far ours are from them.

    A line is an artefact and one of our methods, or what was not run of it.

    Args:
        frame: a `scoreboard`, of which something was run.
    """
    methods = frame["ours_by"].map(method_name, na_action="ignore").fillna("not run")
    frame = frame.assign(line=frame["artefact"] + ": " + methods, unrun=frame["ours"].isna())
    place = frame["artefact"].map(frame["artefact"].unique().tolist().index)
    ordered = frame.assign(place=place).sort_values(["place", "unrun"])  # keeps the order of equals
    names = list(dict.fromkeys(ordered["line"]))[::-1]
    fig, (left, right) = panels(2, (10.0, 1.6 + 0.3 * len(names)), sharey=True)
    counts = pd.crosstab(frame["line"], frame["status"])
    counts = counts.reindex(index=names, columns=list(STATUS_COLOURS), fill_value=0)
    counts.plot.barh(ax=left, stacked=True, color=STATUS_COLOURS, width=0.6, legend=False)
    for status, bars in zip(counts, left.containers, strict=True):
        texts = [str(count or "") for count in counts[status]]
        ink = DARK if status == "not run" else "white"
        left.bar_label(bars, texts, label_type="center", fontsize=9, color=ink)
    left.set(xlabel="reported numbers", ylabel="")
    run = frame[frame["ours"].notna()]
    heights, colours = run["line"].map(names.index), run["status"].map(STATUS_COLOURS)
    right.scatter(run["difference"], heights, s=28, alpha=0.8, c=colours)
    right.axvline(0, color=GREY, linewidth=1, zorder=0)
    right.set(xlabel="ours − reported (points)", ylim=(-0.6, len(names) - 0.4))
    right.tick_params(axis="y", length=0)
    for ax in (left, right):
        ax.grid(axis="y", visible=False)
        ax.yaxis.set_minor_locator(NullLocator())  # pandas sets one
    legend_above(fig)
    return fig

"""Figures of HUME's tables: beside reported numbers, runs that vote, and confidence."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from hume_turtle.reporting.names import METRIC_NAMES, method_name, spaces_name
from hume_turtle.reporting.style import (
    DARK,
    FULL,
    GREY,
    HALF,
    RULE,
    left_edge,
    legend_above,
    legend_entry,
    method_look,
    nothing_to_show,
    panels,
)

HOLLOW = {"marker": "d", "color": DARK, "markerfacecolor": "none"}  # a reported number
DASHES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))  # lines of one method


def plot_reported(table: pd.DataFrame) -> Figure:
    """ACC and ARI, reported and ours: one row of panels per metric, one column per dataset.

    A line is a method and its spaces. Ours are dots with one standard deviation, reported numbers
    are diamonds; a method that has neither on a dataset is marked.

    Args:
        table: a `benchmark_table` with `unrun=True`, in percent; its mean is not drawn.
    """
    rows = table[(table["dataset"] != "mean") & table["metric"].isin(["cluster_accuracy", "ari"])]
    metrics = sorted(set(rows["metric"]), reverse=True)
    if rows.empty:
        return nothing_to_show()
    datasets = sorted(set(rows["dataset"]))
    lines = sorted(set(zip(rows["spaces"], rows["method"])), reverse=True)
    size = (FULL, 0.6 + len(metrics) * (0.5 + 0.19 * len(lines)))
    cells = [(metric, dataset) for metric in metrics for dataset in datasets]
    fig, axes = panels(len(cells), size, columns=len(datasets), sharey=True)
    for ax, (metric, dataset) in zip(axes, cells, strict=True):
        shown = rows[(rows["metric"] == metric) & (rows["dataset"] == dataset)]
        _draw_beside(ax, shown.set_index(["spaces", "method"]).reindex(lines))
        ax.set(xlabel=f"{METRIC_NAMES[metric]} (%)", title=dataset)
    names = [f"{method_name(method)}, {spaces_name(spaces)}" for spaces, method in lines]
    axes[0].set(yticks=range(len(lines)), yticklabels=names, ylim=(-0.6, len(lines) - 0.4))
    handles = [legend_entry("ours, in colour", DARK, "o"), legend_entry("reported", **HOLLOW)]
    run = rows["mean"].notna().any()
    title = None if run else "no scores in this suite: reported numbers only"
    legend_above(fig, [*handles, legend_entry("missing", GREY, "x")], title=title)
    return fig


def _draw_beside(ax, rows: pd.DataFrame) -> None:
    """One dataset and metric: a line for each of the rows."""
    rows = rows[["mean", "std", "reported"]].astype(float)
    known = rows[["mean", "reported"]].stack().dropna()
    low = left_edge(known) if len(known) else 0.0
    for height, ((_, method), row) in enumerate(rows.iterrows()):
        ax.axhline(height, color=RULE, linewidth=0.8, zorder=0)
        ax.errorbar(row["mean"], height, xerr=row["std"], markersize=4.5, **method_look(method))
        ax.plot(row["reported"], height, markersize=6.5, **HOLLOW)
        if row[["mean", "reported"]].isna().all():
            ax.plot(low + 1.5, height, "x", color=GREY, markersize=4)
    ax.set_xlim(low, 102)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def plot_aggregation(table: pd.DataFrame) -> Figure:
    """Cluster accuracy as runs are added, one panel per dataset and spaces.

    Lines are means over the sets of runs drawn, the band is one standard deviation of the vote;
    grey dots are single runs.

    Args:
        table: every `aggregation_curve`, with columns dataset, method and spaces before its own.
    """
    if table.empty:
        return nothing_to_show("no fits of several runs in this suite")
    curves = list(table.groupby(["dataset", "method", "spaces"], sort=False))
    fig, axes = _grid(len(curves), 2.4)
    for ax, ((dataset, method, spaces), curve) in zip(axes, curves, strict=True):
        sets = 100 * curve.groupby("runs")[["single", "best", "vote"]].mean()
        spread = 100 * curve.groupby("runs")["vote"].std().fillna(0)
        color = method_look(method)["color"]
        ax.plot(sets["single"], label="single run, mean", linestyle="--", color=GREY)
        ax.plot(sets["best"], label="best by score", linestyle=":", color=DARK, marker="D")
        ax.plot(sets["vote"], label="majority vote", **method_look(method))
        low, high = sets["vote"] - spread, sets["vote"] + spread
        ax.fill_between(sets.index, low, high, color=color, alpha=0.18, linewidth=0)
        single = curve[curve["runs"] == 1]
        ax.plot(single["runs"], 100 * single["single"], "o", color=GREY, alpha=0.5, zorder=1)
        ax.set(xscale="log", xlabel="runs")
        _ticks(ax, sets.index)
        if len(curves) > 1:
            ax.set_title(f"{dataset}, {method_name(method)}\n{spaces_name(spaces)}")
    _finish(fig, axes, 3)
    return fig


def plot_reliable(table: pd.DataFrame) -> Figure:
    """Cluster accuracy of the most confident rows of each class, one panel per dataset.

    Colour and marker mean the method; its space combinations have line styles of their own. A band
    is one standard deviation over seeds. Every panel has its own range of accuracy.

    Args:
        table: every `mean_reliability`, with columns dataset, method and spaces before its own.
            Their axis is what they have: numbers kept of each class, logarithmic, or shares.
    """
    if table.empty:
        return nothing_to_show("no fits in this suite")
    kept = "kept" if "kept" in table else "share"
    keys = list(dict.fromkeys(zip(table["method"], table["spaces"])))
    colours = [method_look(method)["color"] for method, _ in keys]
    places = [colours[:i].count(color) for i, color in enumerate(colours)]  # among its method's
    styles = {key: DASHES[place % len(DASHES)] for key, place in zip(keys, places)}
    datasets = list(dict.fromkeys(table["dataset"]))
    fig, axes = _grid(len(datasets), 2.3)
    for ax, dataset in zip(axes, datasets, strict=True):
        rows = table[table["dataset"] == dataset]
        for (method, spaces), curve in rows.groupby(["method", "spaces"], sort=False):
            name = f"{method_name(method)}, {spaces_name(spaces)}"
            _draw_kept(ax, curve, kept, method, label=name, linestyle=styles[method, spaces])
        ax.set(ylim=(left_edge(100 * rows["mean"]), 101.5))  # a small drop looks small
        if kept == "kept":
            ax.set(xscale="log", xlabel="kept of each class, at most")
            _ticks(ax, sorted(set(rows["kept"])))
        else:
            ax.set(xlabel="share kept of each class (%)", xlim=(0, 103))
        if len(datasets) > 1:
            ax.set_title(dataset)
    _finish(fig, axes, 1 if len(datasets) == 1 else 3)
    return fig


def _draw_kept(ax, curve: pd.DataFrame, kept: str, method: str, **line) -> None:
    """One `mean_reliability`: its line, in percent, and its band."""
    x = curve[kept] if kept == "kept" else 100 * curve[kept]
    mean, std = 100 * curve["mean"], 100 * curve["std"].fillna(0)
    look = method_look(method)
    ax.plot(x, mean, **look, markevery=max(1, len(x) // 5), **line)
    ax.fill_between(x, mean - std, mean + std, color=look["color"], alpha=0.18, linewidth=0)


def _grid(count: int, height: float):
    """A figure of panels, three in a row at most, one at half a page's width; and its axes."""
    columns = min(3, count)
    size = (HALF if count == 1 else FULL, 0.4 + height * -(-count // columns))
    return panels(count, size, columns)


def _ticks(ax, numbers) -> None:
    """Ticks of a logarithmic axis: those numbers of which there is room for a label."""
    numbers = list(numbers)
    step = max(1, -(-len(numbers) // 6))
    ax.set_xticks(numbers[::-1][::step])
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())


def _finish(fig: Figure, axes: list, ncols: int) -> None:
    """The label of the accuracy, left of every row, and one legend above."""
    for ax in axes:
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel("cluster accuracy (%)")
    legend_above(fig, ncols=ncols, handlelength=2.6, columnspacing=1.2)

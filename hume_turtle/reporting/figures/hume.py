"""Figures of HUME's tables: beside reported numbers, runs that vote, and confidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hume_turtle.reporting.names import method_name, spaces_name, words
from hume_turtle.reporting.style import (
    COLOURS,
    DARK,
    GREY,
    MARKERS,
    RULE,
    left_edge,
    legend_above,
    legend_entry,
    method_look,
    nothing_to_show,
    panels,
)

HOLLOW = {"marker": "d", "color": DARK, "markerfacecolor": "none"}  # a reported number


def plot_reported(
    table: pd.DataFrame, metrics: Sequence[str] = ("cluster_accuracy", "ari")
) -> Figure:
    """Reported numbers and ours: one row of panels per metric, one column per dataset.

    A line is a method and its spaces. Ours are dots with one standard deviation, reported numbers
    are diamonds; a method that has neither on a dataset is marked.

    Args:
        table: a `benchmark_table` with `unrun=True`, in percent; its mean is not drawn.
        metrics: which ones.
    """
    rows = table[(table["dataset"] != "mean") & table["metric"].isin(metrics)]
    if rows.empty:
        return nothing_to_show()
    datasets = sorted(set(rows["dataset"]))
    lines = sorted(set(zip(rows["spaces"], rows["method"])), reverse=True)
    size = (2.6 + 2.5 * len(datasets), 0.9 + len(metrics) * (0.75 + 0.3 * len(lines)))
    cells = [(metric, dataset) for metric in metrics for dataset in datasets]
    fig, axes = panels(len(cells), size, columns=len(datasets), sharey=True)
    for ax, (metric, dataset) in zip(axes, cells, strict=True):
        shown = rows[(rows["metric"] == metric) & (rows["dataset"] == dataset)]
        _draw_beside(ax, shown.set_index(["spaces", "method"]).reindex(lines))
        ax.set(xlabel=f"{words(metric)} (%)", title=dataset)
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
        bar = 0.0 if math.isnan(row["std"]) else row["std"]
        ax.errorbar(row["mean"], height, xerr=bar, markersize=6, **method_look(method))
        ax.plot(row["reported"], height, markersize=9, **HOLLOW)
        if row[["mean", "reported"]].isna().all():
            ax.plot(low + 1.5, height, "x", color=GREY, markersize=5)
    ax.set_xlim(low, 102)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def plot_aggregation(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Cluster accuracy as runs are added, one panel per fit.

    Lines are means over the sets of runs drawn, bands one standard deviation; grey dots are
    single runs.

    Args:
        curves: title to an `aggregation_curve`.
    """
    if not curves:
        return nothing_to_show("no fits of several runs in this suite")
    fig, axes = _curve_panels(len(curves))
    looks = {
        "vote": {**method_look("hume"), "label": "majority vote"},
        "best": {"color": DARK, "marker": "^", "label": "best by score"},
    }
    for ax, (title, curve) in zip(axes, curves.items(), strict=True):
        groups = 100 * curve.set_index("runs")[["single", "best", "vote"]]
        means, stds = groups.groupby("runs").mean(), groups.groupby("runs").std().fillna(0)
        singles = groups["single"].loc[[1]]
        ax.plot(singles.index, singles, "o", color=GREY, alpha=0.5, markersize=4)
        ax.plot(means.index, means["single"], "--", color=GREY, label="single run, mean")
        for name, look in looks.items():
            mean, std = means[name], stds[name]
            ax.plot(mean.index, mean, markersize=4, **look)
            low, high = (mean - std).clip(0), (mean + std).clip(upper=100)
            ax.fill_between(mean.index, low, high, color=look["color"], alpha=0.12, linewidth=0)
        _log_axis(ax, means.index)
        ax.set(title=title, xlabel="runs", ylabel="cluster accuracy (%)")
    legend_above(fig, ncols=3)
    return fig


def plot_reliable(curves: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Cluster accuracy of the most confident rows of each class, one panel per dataset.

    Args:
        curves: dataset to spaces to a `mean_reliability`.
    """
    if not curves:
        return nothing_to_show("no fits in this suite")
    fig, axes = _curve_panels(len(curves))
    combinations = list(dict.fromkeys(spaces for lines in curves.values() for spaces in lines))
    for ax, (dataset, lines) in zip(axes, curves.items(), strict=True):
        for spaces, curve in lines.items():
            index = combinations.index(spaces) % len(COLOURS)
            look = {"color": COLOURS[index], "marker": MARKERS[index], "markersize": 4}
            ax.plot(curve["kept"], 100 * curve["mean"], label=spaces_name(spaces), **look)
        _log_axis(ax, curve["kept"])
        lowest = left_edge(100 * pd.concat([line["mean"] for line in lines.values()]))
        ax.set_ylim(lowest, 101.5)  # all of it, so that a small drop looks small
        ax.set(title=dataset, xlabel="kept of each class, at most", ylabel="cluster accuracy (%)")
    legend_above(fig, ncols=3)
    return fig


def _curve_panels(count: int):
    """A figure of so many panels of curves, three in a row at most, and their axes."""
    size = (max(4.4, 3.5 * min(3, count)), 0.6 + 3.1 * math.ceil(count / 3))
    fig, axes = panels(count, size, columns=3)
    fig.get_layout_engine().set(wspace=0.06)  # labels of neighbours stay apart
    return fig, axes


def _log_axis(ax, values) -> None:
    """A logarithmic axis with plain numbers."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3) if max(values) < 300 else (1,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())

"""Figures of HUME's tables: beside reported numbers, runs that vote, and confidence."""

from __future__ import annotations

import pandas as pd
import seaborn
from matplotlib.figure import Figure

from hume_turtle.reporting.names import METRIC_NAMES, method_name, spaces_name
from hume_turtle.reporting.style import (
    DARK,
    GREY,
    RULE,
    left_edge,
    legend_above,
    legend_entry,
    method_look,
    nothing_to_show,
    panels,
)

HOLLOW = {"marker": "d", "color": DARK, "markerfacecolor": "none"}  # a reported number


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
    size = (2.6 + 2.5 * len(datasets), 0.9 + len(metrics) * (0.75 + 0.3 * len(lines)))
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
        ax.errorbar(row["mean"], height, xerr=row["std"], markersize=6, **method_look(method))
        ax.plot(row["reported"], height, markersize=9, **HOLLOW)
        if row[["mean", "reported"]].isna().all():
            ax.plot(low + 1.5, height, "x", color=GREY, markersize=5)
    ax.set_xlim(low, 102)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def plot_aggregation(table: pd.DataFrame) -> Figure:
    """Cluster accuracy as runs are added, one panel per dataset and spaces.

    Lines are means over the sets of runs drawn, bands one standard deviation; grey dots are
    single runs.

    Args:
        table: every `aggregation_curve`, with columns dataset, method and spaces before its own.
    """
    if table.empty:
        return nothing_to_show("no fits of several runs in this suite")
    method = table["method"].map(method_name)
    panel = table["dataset"] + ", " + method + "\n" + table["spaces"].map(spaces_name)
    table = table.assign(panel=panel)
    names = {"single": "single run", "best": "best by score", "vote": "majority vote"}
    table = table.rename(columns=names)
    long = table.melt(["panel", "runs"], list(names.values()), "method", "accuracy")
    colours = [GREY, DARK, method_look("hume")["color"]]
    grid = _curves(long, x="runs", hue="method", col="panel", errorbar="sd", palette=colours)
    for panel, ax in grid.axes_dict.items():
        single = table[(table["panel"] == panel) & (table["runs"] == 1)]
        ax.plot(single["runs"], 100 * single["single run"], "o", color=GREY, alpha=0.5)
    return grid.figure


def plot_reliable(table: pd.DataFrame) -> Figure:
    """Cluster accuracy of the most confident rows of each class, one panel per dataset.

    Args:
        table: every `mean_reliability`, with columns dataset, method and spaces before its own.
    """
    if table.empty:
        return nothing_to_show("no fits in this suite")
    line = table["method"].map(method_name) + ", " + table["spaces"].map(spaces_name)
    table = table.assign(line=line).rename(columns={"mean": "accuracy"})
    grid = _curves(table, x="kept", hue="line", col="dataset", errorbar=None)
    grid.set(xlabel="kept of each class, at most")
    grid.set(ylim=(left_edge(100 * table["accuracy"]), 101.5))  # a small drop looks small
    return grid.figure


def _curves(table: pd.DataFrame, **options) -> seaborn.FacetGrid:
    """Lines of `accuracy`, a fraction, over a logarithmic axis; three panels in a row at most."""
    table = table.assign(accuracy=100 * table["accuracy"])
    columns = min(3, table[options["col"]].nunique())
    look = {"style": options["hue"], "markers": True, "dashes": False, "markeredgewidth": 0}
    shape = {"col_wrap": columns, "height": 3.1, "aspect": 1.15, "facet_kws": {"sharex": False}}
    grid = seaborn.relplot(table, y="accuracy", kind="line", **options, **look, **shape)
    grid.set_titles("{col_name}").set(xscale="log", ylabel="cluster accuracy (%)")
    for ax in grid.axes.flat:
        ax.set_xticks(sorted(table[options["x"]].unique()))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter("")
    seaborn.move_legend(grid, "lower center", bbox_to_anchor=(0.5, 1), ncols=3, title=None)
    return grid

"""Figures of HUME's tables: beside reported numbers, runs that vote, and confidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hume_turtle.reporting.figures_transfer import DARK, RULE, nothing_to_show
from hume_turtle.reporting.style import (
    COLOURS,
    GREY,
    MARKERS,
    hue_of,
    left_edge,
    legend_entry,
    marker_of,
    spaced,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NO_RUNS = "no fits of several runs in this suite"
NO_FITS = "no fits in this suite"


def plot_reported(
    table: pd.DataFrame, metrics: Sequence[str] = ("cluster_accuracy", "ari")
) -> Figure:
    """Reported numbers and ours: a row a metric, a column a dataset, a line a method and spaces.

    Ours are dots with one standard deviation, reported numbers are diamonds; a method that has
    neither on a dataset is marked.

    Args:
        table: a `benchmark_table` with `unrun=True`, in percent; its mean is left out.
        metrics: which ones.
    """
    import matplotlib.pyplot as plt

    rows = table[(table["dataset"] != "mean") & table["metric"].isin(metrics)]
    if rows.empty:
        return nothing_to_show()
    datasets = sorted(set(rows["dataset"]))
    lines = sorted(set(zip(rows["spaces"], rows["method"])), reverse=True)
    size = (2.6 + 2.5 * len(datasets), 0.9 + len(metrics) * (0.75 + 0.3 * len(lines)))
    fig, axes = plt.subplots(
        len(metrics), len(datasets), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for line, metric in zip(axes, metrics, strict=True):
        for ax, dataset in zip(line, datasets, strict=True):
            here = rows[(rows["metric"] == metric) & (rows["dataset"] == dataset)]
            _draw_beside(ax, here.set_index(["spaces", "method"]).reindex(lines))
            ax.set(xlabel=f"{spaced(metric)} (%)", title=dataset)
    names = [f"{method}, {spaces.replace('+', ' + ')}" for spaces, method in lines]
    axes[0, 0].set(yticks=range(len(lines)), yticklabels=names, ylim=(-0.6, len(lines) - 0.4))
    handles = [
        legend_entry("ours, in colour", DARK, "o"),
        legend_entry("reported", DARK, "d"),
        legend_entry("missing", GREY, "x"),
    ]
    handles[1].set_markerfacecolor("none")
    run = rows["mean"].notna().any()
    title = None if run else "no scores in this suite: reported numbers only"
    fig.legend(handles=handles, loc="outside upper center", ncols=3, title=title)
    return fig


def _draw_beside(ax, rows: pd.DataFrame) -> None:
    """One dataset and metric: a line for each of the rows."""
    both = rows[["mean", "reported"]].astype(float)
    low = left_edge(both.stack()) if both.notna().any(axis=None) else 0.0
    for height, ((_, method), row) in enumerate(rows.iterrows()):
        ax.axhline(height, color=RULE, linewidth=0.8, zorder=0)
        ax.errorbar(
            row["mean"],
            height,
            xerr=np.nan_to_num(float(row["deviation"])),
            fmt=marker_of(method),
            color=hue_of(method),
            markersize=6,
        )
        ax.plot(row["reported"], height, "d", color=DARK, markerfacecolor="none", markersize=9)
        if both.iloc[height].isna().all():
            ax.plot(low + 1.5, height, "x", color=GREY, markersize=5)
    ax.set_xlim(low, 102)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def plot_aggregation(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Cluster accuracy as runs are added, a panel for each fit.

    Lines are means over the sets of runs drawn, bands one standard deviation; grey dots are
    single runs.

    Args:
        curves: title to an `aggregation_curve`.
    """
    if not curves:
        return nothing_to_show(NO_RUNS)
    fig, axes = _panels(len(curves))
    looks = {"vote": (hue_of("hume"), "s", "majority vote"), "best": (DARK, "^", "best by score")}
    for ax, (title, curve) in zip(axes, curves.items(), strict=True):
        by_runs = 100 * curve.groupby("runs")[["single", "best", "vote"]].mean()
        spread = 100 * curve.groupby("runs")[["single", "best", "vote"]].std().fillna(0)
        at = by_runs.index.to_numpy()
        singles = 100 * curve.loc[curve["runs"] == 1, "single"]
        ax.plot(np.ones(len(singles)), singles, "o", color=GREY, alpha=0.5, markersize=4)
        ax.plot(at, by_runs["single"], "--", color=GREY, label="single run, mean")
        for name, (colour, marker, label) in looks.items():
            mean, deviation = by_runs[name], spread[name]
            ax.plot(at, mean, marker=marker, color=colour, markersize=4, label=label)
            low, high = (mean - deviation).clip(0), (mean + deviation).clip(upper=100)
            ax.fill_between(at, low, high, color=colour, alpha=0.12, linewidth=0)
        _log_axis(ax, at)
        ax.set(title=title, xlabel="runs", ylabel="cluster accuracy (%)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig


def plot_reliable(curves: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Cluster accuracy of the most confident rows of each class, a panel a dataset.

    Args:
        curves: dataset to spaces to a `mean_reliability`.
    """
    import pandas as pd

    if not curves:
        return nothing_to_show(NO_FITS)
    fig, axes = _panels(len(curves))
    titles = list(dict.fromkeys(title for lines in curves.values() for title in lines))
    for ax, (dataset, lines) in zip(axes, curves.items(), strict=True):
        for title, curve in lines.items():
            look = titles.index(title) % len(COLOURS)
            ax.plot(
                curve["kept"],
                100 * curve["mean"],
                color=COLOURS[look],
                marker=MARKERS[look],
                markersize=4,
                label=title.replace("+", " + "),
            )
        _log_axis(ax, curve["kept"])
        lowest = left_edge(100 * pd.concat([line["mean"] for line in lines.values()]))
        ax.set_ylim(lowest, 101.5)  # all of it, so that a small drop looks small
        ax.set(title=dataset, xlabel="kept of each class, at most", ylabel="cluster accuracy (%)")
    named = [ax.get_legend_handles_labels() for ax in axes]
    handles = {label: handle for pair in named for handle, label in zip(*pair)}
    fig.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3)
    return fig


def _panels(count: int):
    """A figure of so many panels, three in a row at most, and their axes."""
    import matplotlib.pyplot as plt

    columns = min(3, count)
    rows = math.ceil(count / columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(max(4.4, 3.5 * columns), 0.6 + 3.1 * rows), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    fig.get_layout_engine().set(wspace=0.06)  # labels of neighbours stay apart
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    return fig, list(axes.flat[:count])


def _log_axis(ax, values) -> None:
    """A logarithmic axis with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3) if max(values) < 300 else (1,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())

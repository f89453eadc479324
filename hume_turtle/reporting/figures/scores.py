"""Figures of scores: the benchmark, methods against each other, the scoreboard."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from hume_turtle.reporting.names import in_order, method_name, spaces_name
from hume_turtle.reporting.style import (
    DARK,
    FULL,
    GREY,
    HALF,
    MARKERS,
    RULE,
    left_edge,
    legend_above,
    legend_entry,
    method_look,
    nothing_to_show,
    panels,
)
from hume_turtle.reporting.tables import rising_spaces

FEW = 4  # datasets at most, for a panel each
ZOOM_FROM, ZOOM = 90.0, 4.0  # percent; a point above is drawn so many times as wide
STATUS_LOOKS = {  # of the scoreboard: no colours, which mean methods
    "met": {"color": DARK, "edgecolor": DARK},
    "missed": {"color": "white", "edgecolor": DARK},
    "not run": {"color": RULE, "edgecolor": GREY},
}


def plot_benchmark(frame: pd.DataFrame) -> Figure:
    """Cluster accuracy of every method (colours) on every dataset in every space combination.

    Up to `FEW` datasets have a panel each and a row per space combination, pairs below single
    spaces; more have a panel per space combination and a row per dataset. Spaces rise with the mean
    of TURTLE, many datasets with that of all methods. Dots are means over seeds, bars one standard
    deviation; × is a value that another dataset has and this one does not. Where dots crowd above
    `ZOOM_FROM`, the axis is `ZOOM` times as wide there.

    Args:
        frame: the long table, with at least one cluster accuracy.
    """
    frame = frame[frame["metric"] == "cluster_accuracy"]
    summary = 100 * frame.groupby(["spaces", "method", "dataset"])["value"].agg(["mean", "std"])
    summary = summary.unstack("dataset").stack(future_stack=True)  # missing datasets as NaN
    datasets, combinations = list(dict.fromkeys(frame["dataset"])), rising_spaces(frame, "value")
    few = len(datasets) <= FEW
    if not few:
        datasets.sort(key=frame.groupby("dataset")["value"].mean().get)
    names, rows = (datasets, combinations) if few else (combinations, datasets)
    fig, axes = _benchmark_panels(len(names), len(rows), frame["method"].nunique(), few)
    low, zoomed = left_edge(summary["mean"].dropna()), _crowded(summary["mean"])
    for ax, name in zip(axes, names, strict=True):
        shown = summary.xs(name, level="dataset" if few else "spaces")
        _draw_rows(ax, shown, rows, in_order(frame["method"]), low, 0.78 if few else 0.0)
        _set_percent_axis(ax, low, zoomed)
        ax.set_title(spaces_name(name))
        if few:
            _part_pairs(ax, combinations)
    axes[0].set(yticks=range(len(rows)), yticklabels=map(spaces_name, rows))
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    label = f"; shaded: {ZOOM_FROM:.0f} to 100, {ZOOM:.0f} times as wide" if zoomed else ""
    label += "; × missing" if summary["mean"].isna().any() else ""
    fig.supxlabel(f"cluster accuracy (%){label}", fontsize=8)
    looks = {method_name(m): method_look(m) for m in in_order(frame["method"])}
    legend_above(fig, [legend_entry(name, **look) for name, look in looks.items()], ncols=5)
    return fig


def _benchmark_panels(count: int, n_rows: int, n_methods: int, few: bool):
    """A figure with panels as high as their rows need: with `few`, methods are below each other."""
    columns = min(count, FEW if few else 3)
    row = 0.1 * max(3, n_methods) if few else 0.17  # inches
    height = 0.8 + math.ceil(count / columns) * (0.35 + row * n_rows)
    return panels(count, (FULL, height), columns, sharex=True, sharey=True)


def _crowded(percent: pd.Series) -> bool:
    """Whether dots are better told apart in a zoom: a third of them above it, others below."""
    above = (percent.dropna() > ZOOM_FROM).mean()
    return bool(1 / 3 <= above < 1)


def _set_percent_axis(ax, low: float, zoomed: bool) -> None:
    """From `low` to just above 100; with a zoom, linear in two parts that meet at `ZOOM_FROM`."""
    if not zoomed:
        ax.set_xlim(low, 101.5)
        return

    def widen(x):
        return np.where(x > ZOOM_FROM, ZOOM_FROM + ZOOM * (x - ZOOM_FROM), x)

    def narrow(x):
        return np.where(x > ZOOM_FROM, ZOOM_FROM + (x - ZOOM_FROM) / ZOOM, x)

    ax.set_xscale("function", functions=(widen, narrow))
    ax.set_xlim(low, 100.4)
    ax.axvspan(ZOOM_FROM, 100.4, color="#F2F2F2", zorder=0)
    below = np.arange(low, ZOOM_FROM, 10)
    below = below[(below % 20 == 0) & (below > low)] if len(below) > 4 else below
    ax.set_xticks([*below, 90, 95, 100])


def _draw_rows(
    ax, shown: pd.DataFrame, rows: list, methods: Sequence[str], low: float, spread: float
) -> None:
    """A panel: dots with bars, or × at the left edge.

    Args:
        shown: mean and std in percent, indexed by row and method; a mean that is NaN is missing.
        rows: all rows of the panel, from the top.
        spread: how far the methods of a row are apart, of its height.
    """
    for i, method in enumerate(methods):
        values = shown[shown.index.get_level_values("method") == method].droplevel("method")
        heights = np.array([rows.index(row) for row in values.index])
        heights = heights + spread * ((i + 0.5) / len(methods) - 0.5)
        dots = {**method_look(method), "linestyle": "", "markersize": 4}
        ax.errorbar(values["mean"], heights, xerr=values["std"].fillna(0), elinewidth=1, **dots)
        missing = heights[values["mean"].isna()]
        ax.plot(np.full(len(missing), low + 1.5), missing, **{**dots, "marker": "x"})
    for edge in range(1, len(rows)):
        ax.axhline(edge - 0.5, color=RULE, linewidth=0.6)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def _part_pairs(ax, spaces: Sequence[str]) -> None:
    """A darker rule between single spaces and pairs of them."""
    singles = sum("+" not in name for name in spaces)
    if 0 < singles < len(spaces):
        ax.axhline(singles - 0.5, color=GREY, linewidth=0.8)


def plot_vs_baselines(frame: pd.DataFrame) -> Figure:
    """TURTLE against k-means and HUME (colours) in the same dataset and spaces, in one panel.

    A point is one dataset and space combination (cluster accuracy, mean over seeds); above the
    diagonal TURTLE is ahead. Up to seven datasets have markers of their own, and bars of one
    standard deviation. HUME's points are hollow, so that they are told apart without colour.

    Args:
        frame: the long table; metrics but the cluster accuracy are ignored.
    """
    scores = frame[frame["metric"] == "cluster_accuracy"]
    summary = 100 * scores.groupby(["method", "dataset", "spaces"])["value"].agg(["mean", "std"])
    if "turtle" not in set(scores["method"]):
        return nothing_to_show()
    datasets = list(dict.fromkeys(scores["dataset"]))
    few = len(datasets) <= len(MARKERS)  # more are not told apart by shape
    markers = dict(zip(datasets, MARKERS if few else MARKERS[:1] * len(datasets)))
    drawn = summary.loc[summary.index.isin(["turtle", "k-means", "hume"], level="method")]
    low = left_edge(drawn["mean"])
    fig, (ax,) = panels(1, (HALF, HALF * 1.12))
    ax.plot([low, 101], [low, 101], color=GREY, linewidth=0.8, zorder=1)
    handles = []
    for baseline in ("k-means", "hume"):
        pairs = _paired(summary, baseline)
        handles += [_baseline_entry(baseline, run=len(pairs) > 0)]
        for dataset, points in pairs.groupby(level="dataset"):
            _draw_pairs(ax, points, baseline, markers[dataset], few)
    ax.set(xlim=(low, 101), ylim=(low, 101), aspect="equal")
    ax.set(xlabel="baseline: cluster accuracy (%)", ylabel="TURTLE: cluster accuracy (%)")
    for text, x, y in (("TURTLE ahead", 0.04, 0.96), ("TURTLE behind", 0.96, 0.04)):
        sides = {"ha": "left" if x < 0.5 else "right", "va": "top" if y > 0.5 else "bottom"}
        ax.text(x, y, text, transform=ax.transAxes, color=GREY, fontsize=7, **sides)
    names = [legend_entry(name, GREY, marker, markersize=4.5) for name, marker in markers.items()]
    names = names if few else []
    legend_above(fig, [*handles, *names], ncols=3, columnspacing=1.0, handletextpad=0.2)
    return fig


def _paired(summary: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """(dataset, spaces) on which both were run; columns x, x_std (the baseline's), y, y_std."""
    if baseline not in summary.index.unique("method"):
        return pd.DataFrame(columns=["x", "x_std", "y", "y_std"], index=summary.index[:0])
    x, y = (summary.loc[method].dropna(subset="mean") for method in (baseline, "turtle"))
    both = pd.concat([x, y], axis=1, join="inner")
    return both.set_axis(["x", "x_std", "y", "y_std"], axis=1)


def _baseline_entry(baseline: str, run: bool):
    """A legend entry that names the baseline, hollow as its points if they are HUME's."""
    colour = method_look(baseline)["color"]
    face = "white" if baseline == "hume" else colour
    label = f"against {method_name(baseline)}" + ("" if run else ": not run")
    return legend_entry(label, colour, "o", markerfacecolor=face, markersize=4.5)


def _draw_pairs(ax, points: pd.DataFrame, baseline: str, marker: str, few: bool) -> None:
    colour = method_look(baseline)["color"]
    face = "white" if baseline == "hume" else colour
    look = {"marker": marker, "color": colour, "markerfacecolor": face, "linestyle": ""}
    look |= {"markersize": 4.5 if few else 3, "elinewidth": 0.6, "zorder": 2}
    bars = {"xerr": points["x_std"], "yerr": points["y_std"]} if few else {}
    ax.errorbar(points["x"], points["y"], **bars, **look)


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
    fig, (left, right) = panels(2, (FULL, 1.0 + 0.24 * len(names)), sharey=True)
    counts = pd.crosstab(frame["line"], frame["status"])
    counts = counts.reindex(index=names, columns=list(STATUS_LOOKS), fill_value=0)
    _draw_counts(left, counts)
    run = frame[frame["ours"].notna()]
    for status, look in STATUS_LOOKS.items():
        rows = run[run["status"] == status]
        heights = rows["line"].map(names.index)
        right.scatter(rows["difference"], heights, s=16, linewidth=0.8, zorder=2, **look)
    right.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    right.set(xlabel="ours − reported (points)", ylim=(-0.6, len(names) - 0.4))
    right.tick_params(axis="y", length=0)
    for ax in (left, right):
        ax.grid(axis="y", visible=False)
        ax.yaxis.set_minor_locator(NullLocator())
    legend_above(fig)
    return fig


def _draw_counts(ax, counts: pd.DataFrame) -> None:
    """Stacked bars of the numbers met, missed and not run, with the numbers in them."""
    start = np.zeros(len(counts))
    for status, look in STATUS_LOOKS.items():
        bars = ax.barh(
            range(len(counts)), counts[status], left=start, height=0.6, label=status, **look
        )
        texts = [str(count or "") for count in counts[status]]
        ink = "white" if status == "met" else DARK
        ax.bar_label(bars, texts, label_type="center", fontsize=7, color=ink)
        start += counts[status].to_numpy()
    ax.set(xlabel="reported numbers", xlim=(0, 1.04 * start.max()))
    ax.set(yticks=range(len(counts)), yticklabels=counts.index)

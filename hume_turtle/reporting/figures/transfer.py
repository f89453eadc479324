"""Many datasets and spaces: TURTLE beside zero-shot transfer and the linear probe.

Functions take the tables of `tables.py` and `spaces.py`, in percent. With nothing to draw, the
figure says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from hume_turtle.reporting.names import method_name, spaces_name
from hume_turtle.reporting.spaces import spaces_order
from hume_turtle.reporting.style import (
    COLOURS,
    DARK,
    GREY,
    MARKERS,
    RULE,
    in_order,
    left_edge,
    method_look,
    nothing_to_show,
    panels,
    pearson,
)
from hume_turtle.reporting.tables import signed


def plot_transfer_benchmark(table: pd.DataFrame, columns: Mapping[str, tuple[str, str]]) -> Figure:
    """Cluster accuracy: above, some columns for every dataset; below, TURTLE in all its spaces.

    Datasets stand in the order of the last column of TURTLE, best first, and those that were not
    run last, before the mean over all that were run. Dots are means over seeds, bars one standard
    deviation, diamonds reported numbers; grey cells are missing.

    Args:
        table: `benchmark_table`.
        columns: `benchmark_columns`: title to (method, spaces).
    """
    rows = table[table["metric"] == "cluster_accuracy"]
    grid = rows[rows["method"] == "turtle"].pivot(index="spaces", columns="dataset", values="mean")
    if not grid.notna().any(axis=None):
        return nothing_to_show()
    main = [spaces for name, spaces in columns.values() if name == "turtle"][-1]
    by_main = grid.loc[main] if main in grid.index else grid.max()
    by_main = by_main.reindex(sorted(set(rows["dataset"]) - {"mean"}))
    datasets = [*by_main.sort_values(ascending=False, kind="stable").index, "mean"]
    combinations = sorted(grid.index[grid.notna().any(axis=1)], key=spaces_order(table))
    heights = (4.4, 0.6 + 0.27 * len(combinations))
    slots = max(14, len(datasets))  # a legend wider than the figure squeezes the axes
    size = (3.6 + 0.47 * slots, sum(heights) + 1)
    fig, (above, below) = panels(2, size, columns=1, sharex=True, height_ratios=heights)
    _draw_columns(above, rows, columns, datasets)
    above.set(ylabel="cluster accuracy (%)")
    above.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3 if slots > 14 else 2)
    cells = grid.reindex(index=combinations, columns=datasets).rename(index=spaces_name)
    look = {"cmap": "cividis", "vmin": 0, "vmax": 100, "cbar": False, "annot_kws": {"size": 8}}
    seaborn.heatmap(cells.astype(float), ax=below, annot=True, fmt=".1f", **look)
    below.set(xlabel="", ylabel="", title="TURTLE: cluster accuracy (%) in every space combination")
    below.set_facecolor(RULE)
    below.grid(visible=False)
    below.tick_params(length=0)
    below.set_xticklabels(datasets, rotation=45, ha="right")
    return fig


def _draw_columns(ax, rows: pd.DataFrame, columns: Mapping, datasets: Sequence[str]) -> None:
    """One slot of width 1 per dataset, from 0, as in a heatmap below."""
    offsets = np.linspace(0.2, 0.8, len(columns)) if len(columns) > 1 else [0.5]
    methods = [method for method, _ in columns.values()]
    for column, (offset, (title, (method, spaces))) in enumerate(zip(offsets, columns.items())):
        chosen = rows[(rows["method"] == method) & (rows["spaces"] == spaces)]
        chosen = chosen.set_index("dataset").reindex(datasets)
        at = np.arange(len(datasets)) + offset
        look, earlier = method_look(method), methods[:column].count(method)
        if method in methods[column + 1 :]:  # the last column of a method has its own marker
            look |= {"marker": MARKERS[4 + earlier % 3], "markerfacecolor": "white"}
        label = title if chosen["mean"].notna().any() else f"{title}: not run"
        look |= {"linestyle": "", "markersize": 5, "elinewidth": 1, "label": label}
        ax.errorbar(at, chosen["mean"], yerr=chosen["std"].astype(float), **look)
        if chosen["reported"].notna().any():
            hollow = {"color": DARK, "markerfacecolor": "none", "markersize": 9}
            ax.plot(at, chosen["reported"], "d", **hollow, label=f"reported, {title}")
    for edge in range(1, len(datasets)):
        ax.axvline(edge, color=RULE, linewidth=0.8)
    ax.grid(axis="x", visible=False)
    ax.tick_params(axis="x", length=0)


def plot_vs_zeroshot(comparisons: Mapping[str, pd.DataFrame]) -> Figure:
    """First minus second in points, one bar per dataset, the largest on top; one panel each.

    Args:
        comparisons: title to a `paired` table; datasets where one of the two is missing are marked.
    """
    differences = pd.concat([frame["difference"] for frame in comparisons.values()])
    if differences.isna().all():
        return nothing_to_show()
    reach = max(1.0, 1.25 * differences.abs().max())  # room for the numbers beside the bars
    count = max(map(len, comparisons.values()))
    size = (0.4 + 4.6 * len(comparisons), 1.5 + 0.25 * count)
    fig, axes = panels(len(comparisons), size, sharex=True)
    for ax, (title, frame) in zip(axes, comparisons.items(), strict=True):
        _draw_differences(ax, frame)
        known = frame["difference"].dropna()
        mean = f"mean {signed(known.mean())}" if len(known) else "not run"
        ax.set_title(f"{title}\n{mean}, ahead on {(known > 0).sum()} of {len(known)}", fontsize=10)
        ax.set(xlim=(-reach, reach), ylim=(count - 0.4, -0.6), xlabel="difference (points)")
    return fig


def _draw_differences(ax, frame: pd.DataFrame) -> None:
    differences = frame["difference"].astype(float)
    colours = [COLOURS[0] if value > 0 else COLOURS[1] for value in differences]
    bars = ax.barh(range(len(frame)), differences.fillna(0), color=colours, height=0.72)
    texts = ["– missing" if value != value else signed(value) for value in differences]
    ax.bar_label(bars, texts, padding=3, fontsize=8, color=DARK)
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set(yticks=range(len(frame)), yticklabels=frame["dataset"])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)


def plot_architectures(table: pd.DataFrame) -> Figure:
    """Mean accuracy over datasets for every encoder, one line per method; bars are std over seeds.

    Args:
        table: `architecture_table`.
    """
    if table.empty:
        return nothing_to_show()
    encoders = list(dict.fromkeys(table["encoder"]))
    kinds = ["rn" if "-rn" in name else "vit" if "-vit" in name else "" for name in encoders]
    families = [np.flatnonzero([kind == k for kind in kinds]) for k in dict.fromkeys(kinds)]
    fig, ax = plt.subplots(figsize=(2.6 + 0.75 * max(4, len(encoders)), 4.2), layout="constrained")
    for index, method in enumerate(in_order(table["method"])):
        rows = table[table["method"] == method].set_index("encoder").reindex(encoders)
        look = method_look(method)
        if " + " in method:  # several second spaces differ in their markers
            look = {"color": COLOURS[5 + index % 2], "marker": MARKERS[index % len(MARKERS)]}
        for family in families:  # a line joins encoders of one family
            chosen = rows.iloc[family]
            look["label"] = method_name(method) if family[0] == 0 else None
            ax.errorbar(family, chosen["mean"], yerr=chosen["std"], linewidth=1.6, **look)
    ax.set_xticks(range(len(encoders)), encoders, rotation=30, ha="right")
    ax.set(ylabel=f"cluster accuracy, mean of {table['datasets'].iloc[0]} datasets (%)")
    ax.margins(x=0.06, y=0.12)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return fig


def plot_vs_probe(comparisons: Mapping[str, pd.DataFrame]) -> Figure:
    """First against second, one point per dataset, with Pearson's r; one panel per comparison.

    Args:
        comparisons: title to a `paired` table: first on the vertical axis, second on the other.
    """
    known = {title: frame.dropna() for title, frame in comparisons.items()}
    values = [frame[["first", "second"]].stack() for frame in known.values() if len(frame)]
    if not values:
        return nothing_to_show()
    fig, axes = panels(len(known), (6.0 * len(known), 5.4))
    low = min(map(left_edge, values))
    for ax, (title, frame) in zip(axes, known.items(), strict=True):
        ax.plot([low, 102], [low, 102], color=GREY, linewidth=1, zorder=1)
        ax.set(xlim=(low, 102), ylim=(low, 102), aspect="equal")
        ax.set(xlabel="linear probe, trained on true labels (%)", ylabel="TURTLE, no labels (%)")
        x, y = frame["second"].to_numpy(), frame["first"].to_numpy()
        result = pearson(x, y, "datasets") if len(frame) else "not run"
        ax.set_title(f"{title}\n{result}", fontsize=10)
        ax.scatter(x, y, s=30, color=COLOURS[0], edgecolor="white", linewidth=0.6, zorder=3)
        _label_points(ax, frame)
    return fig


def _label_points(ax, frame: pd.DataFrame) -> None:
    """The names in a column to the right, in the order of their heights, a line to each point."""
    frame = frame.sort_values(["first", "second"], kind="stable")
    heights = np.linspace(0, 1, len(frame) + 2)[1:-1]  # evenly, so that no name covers another
    look = {"va": "center", "fontsize": 7.5, "color": DARK, "textcoords": "axes fraction"}
    line = {"arrowstyle": "-", "relpos": (0, 0.5), "color": DARK, "linewidth": 0.5, "alpha": 0.4}
    for (_, row), height in zip(frame.iterrows(), heights, strict=True):
        place = (1.02, height)
        ax.annotate(row["dataset"], (row["second"], row["first"]), place, **look, arrowprops=line)

"""Many datasets and spaces: TURTLE beside zero-shot transfer and the linear probe.

Functions take the tables of `tables.py` and `spaces.py`, in percent. With nothing to draw, the
figure says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from hume_turtle.reporting.figures.correlation import pearson_and_spearman
from hume_turtle.reporting.names import in_order, method_name, spaces_name
from hume_turtle.reporting.spaces import spaces_order
from hume_turtle.reporting.style import (
    DARK,
    FULL,
    GREY,
    HALF,
    MARKERS,
    RULE,
    left_edge,
    legend_above,
    method_look,
    nothing_to_show,
    panels,
)
from hume_turtle.reporting.tables import signed


def plot_transfer_benchmark(table: pd.DataFrame, columns: Mapping[str, tuple[str, str]]) -> Figure:
    """Cluster accuracy, a row per dataset: left, some columns; right, TURTLE in all its spaces.

    Datasets stand in the order of the last column of TURTLE, best first, and those that were not
    run last, before the mean over all that were run. Dots are means over seeds, bars one standard
    deviation, diamonds reported numbers. On the right a darker cell is a higher accuracy, an empty
    one with a slash is missing; up to eight space combinations have their numbers in the cells.

    Args:
        table: `benchmark_table`.
        columns: `benchmark_columns`: title to (method, spaces).
    """
    rows = table[table["metric"] == "cluster_accuracy"]
    grid = rows[rows["method"] == "turtle"].pivot(index="dataset", columns="spaces", values="mean")
    if not grid.notna().any(axis=None):
        return nothing_to_show()
    main = [spaces for name, spaces in columns.values() if name == "turtle"][-1]
    by_main = grid[main] if main in grid else grid.max(axis=1)
    by_main = by_main.reindex(sorted(set(rows["dataset"]) - {"mean"}))
    datasets = [*by_main.sort_values(ascending=False, kind="stable").index, "mean"]
    combinations = sorted(grid.columns[grid.notna().any()], key=spaces_order(table))
    names = max(map(len, combinations))  # of the columns on the right, written upright
    height = max(2.2, 0.17 * len(datasets)) + max(0.06 * names, 0.15 * len(columns)) + 0.3
    widths = (1.0, float(np.clip(0.13 * len(combinations), 0.4, 1.2)))
    fig, (left, right) = panels(2, (FULL, height), sharey=True, width_ratios=widths)
    _draw_columns(left, rows, columns, datasets)
    left.set(xlabel="cluster accuracy (%)")
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1)
    _draw_grid(right, grid.reindex(index=datasets, columns=combinations))
    left.set(yticks=np.arange(len(datasets)) + 0.5, yticklabels=datasets)
    left.set_ylim(len(datasets), 0)
    return fig


def _draw_grid(ax, cells: pd.DataFrame) -> None:
    """Datasets by space combinations, in percent; a slash where it was not run."""
    few = len(cells.columns) <= 8  # room for numbers
    look = {"cmap": "Greys", "vmin": 0, "vmax": 125, "cbar": False, "annot_kws": {"size": 7}}
    cells = cells.rename(columns=spaces_name).astype(float)
    seaborn.heatmap(
        cells, ax=ax, annot=few, fmt=".1f" if len(cells.columns) <= 5 else ".0f", **look
    )
    for row, column in np.argwhere(cells.isna().to_numpy()):
        ax.plot([column + 0.3, column + 0.7], [row + 0.7, row + 0.3], color=GREY, linewidth=0.8)
    what = "cluster accuracy, %" if few else "darker: higher"
    ax.set(ylabel="", xlabel=f"TURTLE in all its spaces\n({what})")
    ax.grid(visible=False)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set_xticks(np.arange(len(cells.columns)) + 0.5, cells.columns, rotation=90)


def _draw_columns(ax, rows: pd.DataFrame, columns: Mapping, datasets: Sequence[str]) -> None:
    """One slot of height 1 per dataset, from 0, as in a heat map beside it."""
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
        look |= {"linestyle": "", "elinewidth": 0.8, "label": label}
        ax.errorbar(chosen["mean"], at, xerr=chosen["std"].astype(float), **look)
        if chosen["reported"].notna().any():
            hollow = {"color": DARK, "markerfacecolor": "none", "markersize": 6}
            ax.plot(chosen["reported"], at, "d", **hollow, label=f"reported, {title}")
    for edge in range(1, len(datasets)):
        ax.axhline(edge, color=RULE, linewidth=0.6)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def plot_vs_zeroshot(comparisons: Mapping[str, pd.DataFrame]) -> Figure:
    """TURTLE minus zero-shot transfer in points, one bar per dataset, the largest on top.

    A bar has the colour of the method that is ahead. One panel per comparison.

    Args:
        comparisons: title to a `paired` table; datasets where one of the two is missing are marked.
    """
    differences = pd.concat([frame["difference"] for frame in comparisons.values()])
    if differences.isna().all():
        return nothing_to_show()
    reach = max(1.0, 1.4 * differences.abs().max())  # room for the numbers beside the bars
    count = max(map(len, comparisons.values()))
    size = (FULL if len(comparisons) > 1 else HALF, 1.1 + 0.16 * count)
    fig, axes = panels(len(comparisons), size, sharex=True)
    for ax, (title, frame) in zip(axes, comparisons.items(), strict=True):
        _draw_differences(ax, frame)
        known = frame["difference"].dropna()
        mean = f"mean {signed(known.mean())}" if len(known) else "not run"
        ax.set_title(f"{title}\n{mean}, ahead on {(known > 0).sum()} of {len(known)}")
        ax.set(xlim=(-reach, reach), ylim=(count - 0.4, -0.6), xlabel="difference (points)")
    return fig


def _draw_differences(ax, frame: pd.DataFrame) -> None:
    differences = frame["difference"].astype(float)
    ahead = ["turtle" if value > 0 else "zero-shot" for value in differences]
    colours = [method_look(method)["color"] for method in ahead]
    bars = ax.barh(range(len(frame)), differences.fillna(0), color=colours, height=0.72)
    texts = ["– missing" if value != value else signed(value) for value in differences]
    ax.bar_label(bars, texts, padding=2, fontsize=7, color=DARK)
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
    width = FULL if len(encoders) > 4 else HALF
    fig, (ax,) = panels(1, (width, 2.9))
    for index, method in enumerate(in_order(table["method"])):
        rows = table[table["method"] == method].set_index("encoder").reindex(encoders)
        look = method_look(method.partition(" ")[0])
        if " + " in method:  # the same method: second spaces differ in their markers
            look |= {"marker": MARKERS[index % len(MARKERS)], "markerfacecolor": "white"}
            look |= {"linestyle": "--"}
        for family in families:  # a line joins encoders of one family
            chosen = rows.iloc[family]
            look["label"] = method_name(method) if family[0] == 0 else None
            ax.errorbar(family, chosen["mean"], yerr=chosen["std"], **look)
    ax.set_xticks(range(len(encoders)), encoders, rotation=30, ha="right")
    ax.set(ylabel=f"cluster accuracy, mean of {table['datasets'].iloc[0]} datasets (%)")
    ax.margins(x=0.06, y=0.12)
    legend_above(fig, ncols=3)
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
    fig, axes = panels(len(known), (FULL if len(known) > 1 else HALF, 3.4), sharey=True)
    low = min(map(left_edge, values))
    for ax, (title, frame) in zip(axes, known.items(), strict=True):
        ax.plot([low, 102], [low, 102], color=GREY, linewidth=1, zorder=1)
        ax.set(xlim=(low, 102), ylim=(low, 102))
        ax.set(xlabel="linear probe, accuracy (%)")
        x, y = frame["second"].to_numpy(), frame["first"].to_numpy()
        r, _ = pearson_and_spearman(x, y)
        number = f"Pearson's r = {r:.2f}".replace("-", "−")
        known = number if np.isfinite(r) else "too few for a correlation"
        result = f"{known}, {len(frame)} datasets" if len(frame) else "not run"
        ax.set_title(f"{title}\n{result}")
        look = {"color": method_look("turtle")["color"], "edgecolor": "white", "linewidth": 0.5}
        ax.scatter(x, y, s=18, zorder=3, **look)
        _label_points(ax, frame)
    axes[0].set_ylabel("TURTLE, cluster accuracy (%)")
    return fig


def _label_points(ax, frame: pd.DataFrame) -> None:
    """The names in a column to the right, in the order of their heights, a line to each point."""
    frame = frame.sort_values(["first", "second"], kind="stable")
    heights = np.linspace(0, 1, len(frame) + 2)[1:-1]  # evenly, so that no name covers another
    look = {"va": "center", "fontsize": 7, "color": DARK, "textcoords": "axes fraction"}
    line = {"arrowstyle": "-", "relpos": (0, 0.5), "color": DARK, "linewidth": 0.5, "alpha": 0.4}
    for (_, row), height in zip(frame.iterrows(), heights, strict=True):
        place = (1.02, height)
        ax.annotate(row["dataset"], (row["second"], row["first"]), place, **look, arrowprops=line)

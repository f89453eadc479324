"""Figures of many datasets and spaces: TURTLE beside zero-shot transfer and the linear probe.

Functions take the tables of `tables.py` and `tables_transfer.py`, in percent. What has no value is
drawn as missing; with nothing to draw, the figure says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hume_turtle.reporting.point_labels import label_points
from hume_turtle.reporting.style import (
    COLOURS,
    GREY,
    MARKERS,
    hue_of,
    left_edge,
    marker_of,
    spaced,
)
from hume_turtle.reporting.tables import signed
from hume_turtle.reporting.tables_transfer import choice_order

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DARK = "#222222"
RULE = "#E6E6E6"


def nothing_to_show(message: str = "no scores in this suite") -> Figure:
    """A figure that says why it is empty."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(5, 1.6))
    ax.text(0.5, 0.5, message, ha="center", va="center", color=GREY, fontsize=11)
    ax.set_axis_off()
    return fig


def plot_transfer_benchmark(
    table: pd.DataFrame,
    columns: Mapping[str, tuple[str, str]],
    metric: str = "cluster_accuracy",
    method: str = "turtle",
) -> Figure:
    """Above, some columns of the benchmark for every dataset; below, a method in all its spaces.

    Datasets stand in the order of the last column of `method`, best first, and those that were
    not run last. Dots are means over seeds, bars one standard deviation, diamonds reported
    numbers; grey cells are missing.

    Args:
        table: `benchmark_table`.
        columns: `benchmark_columns`: title to (method, spaces).
        metric: which one.
        method: whose choices of spaces are shown below.
    """
    import matplotlib.pyplot as plt

    rows = table[(table["metric"] == metric) & (table["dataset"] != "mean")]
    grid = rows[rows["method"] == method].pivot(index="spaces", columns="dataset", values="mean")
    if grid.notna().sum().sum() == 0:
        return nothing_to_show()
    main = [spaces for name, spaces in columns.values() if name == method][-1]
    by_main = grid.loc[main] if main in grid.index else grid.max()
    by_main = by_main.reindex(sorted(set(rows["dataset"])))
    datasets = list(by_main.sort_values(ascending=False, kind="stable").index)
    choices = sorted(grid.index[grid.notna().any(axis=1)], key=choice_order(table))
    heights = (4.4, 0.6 + 0.27 * len(choices))
    size = (3.6 + 0.47 * max(8, len(datasets)), sum(heights) + 1)
    fig, (above, below) = plt.subplots(
        2, 1, figsize=size, sharex=True, height_ratios=heights, layout="constrained"
    )
    _draw_columns(above, rows, columns, datasets)
    above.set(ylabel=f"{spaced(metric)} (%)", xlim=(-0.5, len(datasets) - 0.5))
    above.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    _draw_grid(below, grid.reindex(index=choices, columns=datasets))
    whole = table[(table["metric"] == metric) & (table["dataset"] == "mean")]
    whole = whole[whole["method"] == method].set_index("spaces")["mean"].reindex(choices)
    _draw_means(below, whole)
    below.set_title(f"{method}: {spaced(metric)} (%) in every choice of spaces")
    return fig


def _draw_columns(ax, rows: pd.DataFrame, columns: Mapping, datasets: Sequence[str]) -> None:
    offsets = np.linspace(-0.3, 0.3, len(columns)) if len(columns) > 1 else [0.0]
    for column, (offset, (title, (method, spaces))) in enumerate(zip(offsets, columns.items())):
        chosen = rows[(rows["method"] == method) & (rows["spaces"] == spaces)]
        chosen = chosen.set_index("dataset").reindex(datasets)
        at = np.arange(len(datasets)) + offset
        earlier = [m for m, _ in list(columns.values())[:column]].count(method)
        last = [m for m, _ in columns.values()].count(method) == earlier + 1
        ax.errorbar(
            at,
            chosen["mean"],
            yerr=np.nan_to_num(chosen["deviation"].astype(float)),
            fmt=marker_of(method) if last else MARKERS[4 + earlier % 3],
            color=hue_of(method),
            markerfacecolor=hue_of(method) if last else "white",
            markersize=5,
            elinewidth=1,
            label=title if chosen["mean"].notna().any() else f"{title}: not run",
        )
        if chosen["reported"].notna().any():
            ax.plot(
                at, chosen["reported"], "d", color=DARK, markerfacecolor="none", markersize=9,
                label=f"reported, {title}",
            )  # fmt: skip
    for edge in range(1, len(datasets)):
        ax.axvline(edge - 0.5, color=RULE, linewidth=0.8)
    ax.grid(axis="x", visible=False)
    ax.tick_params(axis="x", length=0)


def _draw_grid(ax, grid: pd.DataFrame) -> None:
    """Cells of percentages, (choices, datasets), with their numbers."""
    import matplotlib.pyplot as plt

    values = grid.to_numpy(float)
    colours = plt.get_cmap("cividis").with_extremes(bad="#EEEEEE")
    ax.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text, colour = ("–", GREY) if np.isnan(value) else (f"{value:.0f}", "white")
        colour = DARK if value > 60 else colour
        ax.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    pairs = ["+" in choice for choice in grid.index]
    if True in pairs and False in pairs:
        ax.axhline(pairs.index(True) - 0.5, color="white", linewidth=4)
    ax.set(
        yticks=range(len(grid)), yticklabels=[choice.replace("+", " + ") for choice in grid.index]
    )
    ax.set_xticks(range(grid.shape[1]), grid.columns, rotation=45, ha="right")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _draw_means(ax, means: pd.Series) -> None:
    """The mean over datasets of every line of cells, to its right."""
    for height, (name, value) in enumerate([("mean", None), *means.items()], -1):
        text = name if value is None else "–" if np.isnan(value) else f"{value:.1f}"
        ax.annotate(
            text,
            (1.006, height),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color=DARK,
            fontweight="bold" if value is None else "normal",
        )


def plot_vs_zeroshot(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """First minus second in points, one bar a dataset, the largest on top; a panel a comparison.

    Args:
        panels: title to a `paired` table; datasets that lack one of the two are marked.
    """
    import matplotlib.pyplot as plt

    if not any(frame["difference"].notna().any() for frame in panels.values()):
        return nothing_to_show()
    count = max(len(frame) for frame in panels.values())
    fig, axes = plt.subplots(
        1, len(panels), figsize=(0.4 + 4.6 * len(panels), 1.5 + 0.25 * count), sharex=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    reach = max(frame["difference"].abs().max() for frame in panels.values() if len(frame))
    reach = max(1.0, 1.25 * reach)  # room for the numbers beside the bars
    for ax, (title, frame) in zip(axes.flat, panels.items(), strict=True):
        _draw_differences(ax, frame, reach)
        known = frame["difference"].dropna()
        mean = f"mean {signed(known.mean())}" if len(known) else "not run"
        ax.set_title(f"{title}\n{mean}, ahead on {(known > 0).sum()} of {len(known)}", fontsize=10)
        ax.set(xlim=(-reach, reach), ylim=(count - 0.4, -0.6), xlabel="difference (points)")
    return fig


def _draw_differences(ax, frame: pd.DataFrame, reach: float) -> None:
    differences = frame["difference"].to_numpy(float)
    colours = [COLOURS[0] if value > 0 else COLOURS[1] for value in differences]
    ax.barh(range(len(frame)), np.nan_to_num(differences), color=colours, height=0.72)
    for height, value in enumerate(differences):
        side = -1 if value < 0 else 1
        ax.text(
            side * reach * 0.02 + np.nan_to_num(value),
            height,
            "– missing" if np.isnan(value) else signed(value),
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=8,
            color=GREY if np.isnan(value) else DARK,
        )
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set(yticks=range(len(frame)), yticklabels=frame["dataset"])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)


def plot_architectures(table: pd.DataFrame) -> Figure:
    """Mean accuracy over datasets for every encoder, a line a method; bars are deviations.

    Args:
        table: `architecture_table`.
    """
    import matplotlib.pyplot as plt

    if table.empty:
        return nothing_to_show()
    encoders = list(dict.fromkeys(table["encoder"]))
    fig, ax = plt.subplots(figsize=(2.6 + 0.75 * max(4, len(encoders)), 4.2), layout="constrained")
    partners = [m for m in sorted(set(table["method"])) if " + " in m]
    for method in sorted(set(table["method"])):
        rows = table[table["method"] == method].set_index("encoder").reindex(encoders)
        joined = partners.index(method) + 1 if method in partners else 0
        for family in _families(encoders):
            chosen = rows.iloc[family]
            ax.errorbar(
                family,
                chosen["mean"],
                yerr=np.nan_to_num(chosen["deviation"].astype(float)),
                fmt="-" + (MARKERS[1 + joined] if joined else marker_of(method)),
                color="#000000" if joined > 1 else COLOURS[5] if joined else hue_of(method),
                linewidth=1.6,
                markersize=6,
                label=method if family[0] == 0 else None,
            )
    ax.set_xticks(range(len(encoders)), encoders, rotation=30, ha="right")
    ax.set(ylabel=f"cluster accuracy, mean of {table['datasets'].iloc[0]} datasets (%)")
    ax.margins(x=0.06, y=0.12)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return fig


def _families(encoders: Sequence[str]) -> list[list[int]]:
    """Positions of encoders that a line joins: convolutional, transformer, others."""
    kinds = ["rn" if "-rn" in name else "vit" if "-vit" in name else "" for name in encoders]
    return [[i for i, kind in enumerate(kinds) if kind == k] for k in dict.fromkeys(kinds)]


def plot_vs_probe(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """First against second, a point a dataset, with the Pearson correlation; a panel a comparison.

    Args:
        panels: title to a `paired` table: first on the vertical axis, second on the other.
    """
    import matplotlib.pyplot as plt

    known = {title: frame.dropna() for title, frame in panels.items()}
    if not any(map(len, known.values())):
        return nothing_to_show()
    fig, axes = plt.subplots(
        1, len(panels), figsize=(5.2 * len(panels), 5.4), squeeze=False, layout="constrained"
    )
    low = min(
        left_edge(frame[["first", "second"]].stack()) for frame in known.values() if len(frame)
    )
    for ax, (title, frame) in zip(axes.flat, known.items(), strict=True):
        ax.plot([low, 102], [low, 102], color=GREY, linewidth=1, zorder=1)
        ax.set(xlim=(low, 102), ylim=(low, 102), aspect="equal")
        ax.set(xlabel="linear probe, trained on true labels (%)", ylabel="turtle, no labels (%)")
        if frame.empty:
            ax.text(0.7, 0.3, "not run", transform=ax.transAxes, ha="center", color=GREY)
            ax.set_title(title, fontsize=10)
            continue
        x, y = frame["second"].to_numpy(), frame["first"].to_numpy()
        ax.scatter(x, y, s=30, color=hue_of("turtle"), edgecolor="white", linewidth=0.6, zorder=3)
        ax.set_title(f"{title}\n{_pearson(x, y)}", fontsize=10)
        label_points(ax, x, y, frame["dataset"])
    return fig


def _pearson(x: np.ndarray, y: np.ndarray) -> str:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return f"{len(x)} datasets, too few for a correlation"
    return f"Pearson r = {np.corrcoef(x, y)[0, 1]:.2f}".replace("-", "−") + f", {len(x)} datasets"

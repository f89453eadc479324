"""Many datasets and spaces: TURTLE beside zero-shot transfer and the linear probe.

Functions take the tables of `tables.py` and `spaces.py`, in percent. With nothing to draw, the
figure says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from hume_turtle.reporting.names import method_name, spaces_name, words
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
    note,
    nothing_to_show,
    panels,
    pearson,
)
from hume_turtle.reporting.tables import signed

RADII = (11, 16, 24, 34, 46, 60)  # pixels from a point to the nearest corner or edge of its name
ANGLES = np.arange(16) * np.pi / 8
DIRECTIONS = np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])


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
        method: whose space combinations are shown below.
    """
    rows = table[(table["metric"] == metric) & (table["dataset"] != "mean")]
    grid = rows[rows["method"] == method].pivot(index="spaces", columns="dataset", values="mean")
    if not grid.notna().any(axis=None):
        return nothing_to_show()
    main = [spaces for name, spaces in columns.values() if name == method][-1]
    by_main = grid.loc[main] if main in grid.index else grid.max()
    by_main = by_main.reindex(sorted(set(rows["dataset"])))
    datasets = list(by_main.sort_values(ascending=False, kind="stable").index)
    combinations = sorted(grid.index[grid.notna().any(axis=1)], key=spaces_order(table))
    heights = (4.4, 0.6 + 0.27 * len(combinations))
    size = (3.6 + 0.47 * max(8, len(datasets)), sum(heights) + 1)
    fig, (above, below) = panels(2, size, columns=1, sharex=True, height_ratios=heights)
    _draw_columns(above, rows, columns, datasets)
    above.set(ylabel=f"{words(metric)} (%)", xlim=(-0.5, len(datasets) - 0.5))
    above.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    _draw_grid(below, grid.reindex(index=combinations, columns=datasets))
    means = table[(table["metric"] == metric) & (table["dataset"] == "mean")]
    means = means[means["method"] == method].set_index("spaces")["mean"].reindex(combinations)
    _draw_means(below, means)
    below.set_title(f"{method_name(method)}: {words(metric)} (%) in every space combination")
    return fig


def _draw_columns(ax, rows: pd.DataFrame, columns: Mapping, datasets: Sequence[str]) -> None:
    offsets = np.linspace(-0.3, 0.3, len(columns)) if len(columns) > 1 else [0.0]
    methods = [method for method, _ in columns.values()]
    for column, (offset, (title, (method, spaces))) in enumerate(zip(offsets, columns.items())):
        chosen = rows[(rows["method"] == method) & (rows["spaces"] == spaces)]
        chosen = chosen.set_index("dataset").reindex(datasets)
        at = np.arange(len(datasets)) + offset
        look, earlier = method_look(method), methods[:column].count(method)
        if method in methods[column + 1 :]:  # the last column of a method has its own marker
            look |= {"marker": MARKERS[4 + earlier % 3], "markerfacecolor": "white"}
        bars = chosen["std"].astype(float).fillna(0)
        label = title if chosen["mean"].notna().any() else f"{title}: not run"
        look |= {"linestyle": "", "markersize": 5, "elinewidth": 1, "label": label}
        ax.errorbar(at, chosen["mean"], yerr=bars, **look)
        if chosen["reported"].notna().any():
            hollow = {"color": DARK, "markerfacecolor": "none", "markersize": 9}
            ax.plot(at, chosen["reported"], "d", **hollow, label=f"reported, {title}")
    for edge in range(1, len(datasets)):
        ax.axvline(edge - 0.5, color=RULE, linewidth=0.8)
    ax.grid(axis="x", visible=False)
    ax.tick_params(axis="x", length=0)


def _draw_grid(ax, grid: pd.DataFrame) -> None:
    """Cells of percentages, (combinations, datasets), with their numbers."""
    values = grid.to_numpy(float)
    colours = plt.get_cmap("cividis").with_extremes(bad="#EEEEEE")
    ax.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else f"{value:.0f}"
        colour = GREY if np.isnan(value) else DARK if value > 60 else "white"
        ax.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    pairs = ["+" in spaces for spaces in grid.index]
    if True in pairs and False in pairs:
        ax.axhline(pairs.index(True) - 0.5, color="white", linewidth=4)
    ax.set(yticks=range(len(grid)), yticklabels=map(spaces_name, grid.index))
    ax.set_xticks(range(grid.shape[1]), grid.columns, rotation=45, ha="right")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _draw_means(ax, means: pd.Series) -> None:
    """The mean over datasets of every line of cells, to its right."""
    texts = ["mean", *("–" if np.isnan(value) else f"{value:.1f}" for value in means)]
    place = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 8, "color": DARK}
    for height, text in enumerate(texts, -1):
        weight = "bold" if height < 0 else "normal"
        ax.annotate(text, (1.006, height), **place, fontweight=weight)


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
        side, missing = -1 if value < 0 else 1, np.isnan(value)
        look = {"ha": "left" if side > 0 else "right", "color": GREY if missing else DARK}
        text, end = ("– missing", 0.0) if missing else (signed(value), value)
        ax.text(end + side * reach * 0.02, height, text, va="center", fontsize=8, **look)
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
    pairs = sorted({method for method in table["method"] if " + " in method})
    for method in in_order(table["method"]):
        rows = table[table["method"] == method].set_index("encoder").reindex(encoders)
        look = method_look(method)
        if method in pairs:  # the first second space has a colour of its own, others share one
            index = pairs.index(method)
            look = {
                "color": COLOURS[6 if index else 5],
                "marker": MARKERS[(2 + index) % len(MARKERS)],
            }
        for family in families:  # a line joins encoders of one family
            chosen = rows.iloc[family]
            bars = chosen["std"].astype(float).fillna(0)
            label = method_name(method) if family[0] == 0 else None
            ax.errorbar(family, chosen["mean"], yerr=bars, linewidth=1.6, label=label, **look)
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
    fig, axes = panels(len(known), (5.2 * len(known), 5.4))
    low = min(map(left_edge, values))
    for ax, (title, frame) in zip(axes, known.items(), strict=True):
        ax.plot([low, 102], [low, 102], color=GREY, linewidth=1, zorder=1)
        ax.set(xlim=(low, 102), ylim=(low, 102), aspect="equal")
        ax.set(xlabel="linear probe, trained on true labels (%)", ylabel="TURTLE, no labels (%)")
        ax.set_title(title, fontsize=10)
        if frame.empty:
            note(ax, "not run", 0.7, 0.3)
            continue
        x, y = frame["second"].to_numpy(), frame["first"].to_numpy()
        ax.scatter(x, y, s=30, color=COLOURS[0], edgecolor="white", linewidth=0.6, zorder=3)
        ax.set_title(f"{title}\n{pearson(x, y, 'datasets')}", fontsize=10)
    for ax, frame in zip(axes, known.values(), strict=True):  # once no axes change any more
        _label_points(ax, frame["second"], frame["first"], frame["dataset"])
    return fig


def _label_points(ax, x: Sequence[float], y: Sequence[float], names: Sequence[str]) -> None:
    """Write each name near its point: the nearest place that covers least of what is there.

    Names that are not close get a thin line to their point. Axes limits and the figure's size have
    to stay as they are afterwards.
    """
    ax.figure.canvas.draw()  # the layout, and so pixels, are known only once it is drawn
    points = ax.transData.transform(np.column_stack([x, y]))  # (n, 2) pixels
    taken = [Bbox([point - 5, point + 5]) for point in points]
    to_axes, frame = ax.transAxes.inverted().transform, ax.get_window_extent()
    for point, name in zip(points, names, strict=True):
        text = ax.text(0, 0, name, fontsize=7.5, color=DARK, zorder=4, transform=ax.transAxes)
        box, far = _best_place(point, text.get_window_extent().size, taken, frame)
        text.set_position(to_axes(box.min))
        if far > RADII[0]:
            nearest = np.clip(point, box.min, box.max)  # of the box
            ends = to_axes(np.vstack([point, nearest]))
            ax.plot(*ends.T, color=DARK, linewidth=0.5, alpha=0.6, transform=ax.transAxes)
        taken.append(box)


def _best_place(point: np.ndarray, size: np.ndarray, taken: list[Bbox], frame: Bbox):
    """The box for a name of this size that overlaps least, the nearest of equals; how far it is."""

    def cost(option: tuple[Bbox, int]) -> float:
        box, far = option
        shared = (Bbox.intersection(box, other) for other in taken)
        covered = sum(both.width * both.height for both in shared if both)  # square pixels
        inside = frame.contains(*box.min) and frame.contains(*box.max)
        return covered + 1e4 * (not inside) + far

    corners = [
        (point + far * way + (way - 1) / 2 * size, far) for far in RADII for way in DIRECTIONS
    ]
    return min(((Bbox([corner, corner + size]), far) for corner, far in corners), key=cost)

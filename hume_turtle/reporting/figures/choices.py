"""The number of classes and their sizes: what is chosen without labels, and where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from hume_turtle.reporting.names import method_name
from hume_turtle.reporting.style import (
    DARK,
    FULL,
    GREY,
    HALF,
    legend_above,
    legend_entry,
    method_look,
    panels,
    plain_ticks,
)

DASHES = ((0, (1, 1.5)), "-.", (0, (5, 2)), (0, (9, 1.5)))  # of fixed γ, the largest first


def plot_number_of_classes(tables: Mapping[str, pd.DataFrame], truth: int | None = None) -> Figure:
    """The unexplained share over the number of classes with its trend, and the agreement of halves.

    One column of panels for each table. A ring marks the chosen number, that of the deepest dip;
    a dotted line marks `truth`, the number of true classes, where there is one.

    Args:
        tables: title -> `NumberOfClasses.table()`.
    """
    count = len(tables)
    shared = {"sharex": True, "sharey": "row"}
    fig, axes = panels(2 * count, (min(FULL, HALF * count), 3.9), count, **shared)
    for (title, table), share, agreement in zip(tables.items(), axes[:count], axes[count:]):
        numbers, at = table["n_classes"].to_numpy(), int(table["dip"].argmax())
        share.plot(numbers, 100 * table["trend"], color=GREY, linestyle="--", label="trend")
        for ax, values in ((share, 100 * table["unexplained"]), (agreement, table["agreement"])):
            ax.plot(numbers, values, color=DARK, marker="o", label="measured")
            ring = {"marker": "o", "markersize": 9, "linestyle": "", "fillstyle": "none"}
            ring |= {"color": DARK, "label": "chosen, without labels"}
            ax.plot(numbers[at], values.iloc[at], **ring)
            if truth is not None:
                look = {"color": GREY, "linestyle": ":", "zorder": 0}
                ax.axvline(truth, **look, label="true number, for the reader only")
            ax.xaxis.grid(False)
        share.set_title(title if count > 1 else "")
        agreement.set(xlabel="number of classes C")
    numbers = np.unique(np.concatenate([table["n_classes"] for table in tables.values()]))
    highest = max(table[["unexplained", "trend"]].max(axis=None) for table in tables.values())
    axes[0].set(xticks=numbers[:: 1 + len(numbers) // 16], ylim=(0, 108 * highest))
    axes[-1].set_ylim(0, 1.05)
    axes[0].set_ylabel("unexplained share\non other rows (%)")
    axes[count].set_ylabel("agreement of halves\n(adjusted Rand index)")
    legend_above(fig, ncols=2 + count)
    return fig


def plot_gains(frame: pd.DataFrame, limits: Mapping[str, float]) -> Figure:
    """What speaks for a smaller γ in each case, one panel for each condition and its limit.

    Args:
        frame: one row per case, with a column `case` and one for each condition.
        limits: column -> how much of it is needed; a dashed line.
    """
    fig, axes = panels(len(limits), (FULL, 0.8 + 0.27 * len(frame)), sharey=True)
    at = np.arange(len(frame))[::-1]
    for ax, (quantity, limit) in zip(axes, limits.items()):
        ax.scatter(frame[quantity], at, s=24, color=DARK)
        for height in at[frame[quantity].isna()]:
            ax.text(limit, height, " a class is lost", color=GREY, fontsize=7, va="center")
        ax.axvline(limit, color=GREY, linestyle="--", zorder=0)
        ax.set(xlabel=quantity, ylim=(-0.5, len(frame) - 0.5))
        known = [limit, *frame[quantity].dropna()]
        ax.set_xlim(0.9 * min(known), 1.1 * max(known))
        ax.set_title(f"needed: {limit:g}")
        ax.grid(axis="y", visible=False)
        if max(known) > 10:
            ax.set(xscale="log", xlim=(0.7 * min(known), 1.5 * max(known)))
            plain_ticks(ax.xaxis, (1, 2, 5, 10, 20, 50, 100))
    axes[0].set_yticks(at, frame["case"])
    return fig


def plot_imbalance(frame: pd.DataFrame) -> Figure:
    """Cluster accuracy and, without labels, the unexplained share as classes become unbalanced.

    Means over seeds; bars show one std.

    Args:
        frame: one row per fit, with columns `ratio` (of the largest class to the smallest),
            `method` (a key), `gamma` (text: "10", ..., "auto"; empty where the method has none),
            `cluster_accuracy` and `unexplained` (fractions, the latter missing for k-means).
    """
    fig, axes = panels(2, (FULL, 2.9))
    fixed = [gamma for gamma in frame["gamma"].unique() if gamma not in ("", "auto")]
    dashes, ends = dict(zip(fixed, DASHES)), ({}, {})
    groups = frame.groupby(["method", "gamma"], sort=False)
    for i, ((method, gamma), rows) in enumerate(groups):
        look = {**method_look(method), "linestyle": dashes.get(gamma, "-"), "capsize": 2}
        look |= {"elinewidth": 0.7, "markersize": 6 if gamma == "auto" else 3.5}
        if rows["ratio"].nunique() < frame["ratio"].nunique():
            look["linestyle"] = ""  # nothing is known between its points
        name = {"": method_name(method), "auto": "γ chosen"}.get(gamma, f"γ = {gamma}")
        beside = 1.02 ** (i - (len(groups) - 1) / 2)  # so that bars do not hide each other
        for ax, end, quantity in zip(axes, ends, ("cluster_accuracy", "unexplained")):
            part = 100 * rows.groupby("ratio")[quantity].agg(["mean", lambda x: x.std(ddof=0)])
            if part["mean"].notna().any():
                ax.errorbar(beside * part.index, *part.to_numpy().T, **look)
                end[name] = part["mean"].iloc[-1], look["color"]
    for ax in axes:
        ax.set(xscale="log", xlabel="size of the largest class by that of the smallest")
        plain_ticks(ax.xaxis, sorted(set(frame["ratio"])))
        ax.set_xlim(min(frame["ratio"]) / 1.15, 1.15 * max(frame["ratio"]))
    axes[0].set_ylabel("cluster accuracy (%)")
    axes[1].set(yscale="log", ylabel="unexplained share CE / H (%),\nwithout labels")
    plain_ticks(axes[1].yaxis, (0.1, 0.2, 0.5, 1, 2, 5, 10))
    for ax, end in zip(axes, ends):
        _name_ends(ax, end)
    entries = [
        legend_entry(method_name(key), **method_look(key)) for key in frame["method"].unique()
    ]
    legend_above(fig, entries)
    return fig


def _name_ends(ax, ends: Mapping[str, tuple[float, str]]) -> None:
    """Names of lines at their right ends, name -> (height, colour); pushed apart if they meet."""
    low, high = ax.get_ylim()
    scale = np.log if ax.get_yscale() == "log" else float
    free = 0.0  # the lowest place that is free
    for name, (height, color) in sorted(ends.items(), key=lambda item: item[1][0]):
        wanted = (scale(height) - scale(low)) / (scale(high) - scale(low))
        at = max(wanted, free)
        look = {"va": "center", "fontsize": 7, "color": color}
        ax.text(1.01, at, name, transform=ax.transAxes, **look)
        free = at + 0.065  # of the axes' height: a line of text


def plot_confusions(tables: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """How the rows of each true class are spread over the found ones, side by side.

    Args:
        tables: title -> (C, classes) counts: rows of found, columns of true classes.
        class_names: (classes,) names of the true classes.
    """
    height = 0.75 + 0.17 * max(map(len, tables.values()))
    fig, axes = panels(len(tables), (min(FULL, HALF * len(tables)), height))
    for ax, (title, table) in zip(axes, tables.items()):
        order = np.argsort(table.argmax(1), kind="stable")  # found classes by their main true one
        texts = [[str(count or "") for count in row] for row in table[order]]
        share = table[order] / np.maximum(table[order].sum(1, keepdims=True), 1)
        look = {"cmap": "Greys", "vmin": 0, "vmax": 1, "cbar": False, "annot_kws": {"size": 6}}
        seaborn.heatmap(share, ax=ax, annot=np.array(texts), fmt="", **look)
        ax.set_xticks(np.arange(len(class_names)) + 0.5, class_names)
        ax.set_yticks(np.arange(len(table)) + 0.5, order, rotation=0)
        ax.tick_params(length=0)
        ax.set(title=title, xlabel="true class")
        ax.grid(False)
    axes[0].set_ylabel("found class")
    return fig

"""The one style of every figure: colours, markers, panels, legends, and what is written in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from hume_turtle.reporting.names import RUN_METHODS, family

# Okabe and Ito's colours, told apart with any colour vision. A colour means a method, the same
# everywhere, and nothing else: classes, spaces and quantities are told apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY, DARK, RULE = "#8C8C8C", "#222222", "#E6E6E6"
HALF, FULL = 3.4, 7.0  # inches: half a page's width, and a whole one; figures are made at this size
# Lines that are no methods, and points of two classes (of more, images or numbers say which).
LINES = tuple(
    {"color": color, "linestyle": style}
    for style in ("-", "--", ":", "-.")
    for color in (DARK, GREY)
)
CLASS_LOOKS = (
    {"marker": "o", "facecolor": DARK, "edgecolor": DARK},
    {"marker": "s", "facecolor": "white", "edgecolor": DARK},
    {"marker": "^", "facecolor": GREY, "edgecolor": GREY},
)
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "axes.grid": True,
    "grid.linewidth": 0.6,
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "grid.color": RULE,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
}


def set_style() -> None:
    """Set the project's look, from matplotlib's own defaults: no setting of the user's remains."""
    plt.style.use(["default", seaborn.axes_style("ticks"), STYLE])


def method_look(method: str) -> dict[str, str]:
    """Colour and marker of a method and of its variants, the same in every figure."""
    method = family(method)
    known = method in RUN_METHODS
    index = RUN_METHODS.index(method) if known else 5 + sum(map(ord, method)) % 2
    return {"color": COLOURS[index], "marker": MARKERS[index]}


def left_edge(percent: pd.Series) -> float:
    """The left edge of an axis of percentages: a multiple of 10, 5 or more below the smallest."""
    return max(-2.0, 10 * math.floor((float(percent.min()) - 5) / 10))


def panels(count: int, figsize: tuple[float, float], columns: int = 99, **shared):
    """A figure with `count` axes, at most `columns` in a row, and the list of its axes."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=figsize, squeeze=False, layout="constrained", **shared
    )
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    return fig, list(axes.flat[:count])


def note(ax, text: str, x: float = 0.5, y: float = 0.5) -> None:
    """Write in grey what is missing, at a place given in fractions of the axes."""
    ax.text(x, y, text, transform=ax.transAxes, ha="center", va="center", color=GREY)


def nothing_to_show(message: str = "no scores in this suite") -> Figure:
    """A figure that says why it is empty."""
    fig, ax = plt.subplots(figsize=(5, 1.6))
    note(ax, message)
    ax.set_axis_off()
    return fig


def legend_above(fig: Figure, handles: Sequence[Line2D] = (), ncols: int = 4, **options) -> None:
    """A legend above all panels: these entries, or what the axes have labelled, each label once."""
    pairs = [(handle, handle.get_label()) for handle in handles]
    if not pairs:
        pairs = [pair for ax in fig.axes for pair in zip(*ax.get_legend_handles_labels())]
    entries = {label: handle for handle, label in pairs}
    if entries:
        shape = {"loc": "outside upper center", "ncols": min(ncols, len(entries))}
        fig.legend(entries.values(), entries.keys(), **shape, **options)


def legend_entry(label: str, color: str, marker: str, **options) -> Line2D:
    """A legend entry of a marker without a line."""
    look = {"color": color, "marker": marker, "markersize": 6, **options}
    return Line2D([], [], linestyle="", label=label, **look)


def plain_ticks(axis, values: Sequence[float], scale: float = 1) -> None:
    """Ticks of an axis at these values alone, written as plain numbers, times `scale`."""
    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{scale * value:g}")

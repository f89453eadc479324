"""The one style of every figure: colours, markers, and what the figures' files share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# Okabe and Ito's colours, told apart with any colour vision; a method has the same one everywhere.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
METHODS = ("turtle", "hume", "k-means", "zero-shot", "linear-probe")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#8C8C8C"
STATUS_COLOURS = {"met": "#009E73", "missed": "#D55E00", "not run": "#BBBBBB"}


def set_style() -> None:
    """Set the project's look, from matplotlib's own defaults: no setting of the user's remains."""
    import matplotlib
    import seaborn

    backend = matplotlib.get_backend()
    matplotlib.rcdefaults()
    matplotlib.use(backend)
    seaborn.set_theme(style="ticks", palette=COLOURS)
    matplotlib.rcParams.update(
        {
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.labelsize": 10,
            "axes.grid": True,
            "grid.color": "#E6E6E6",
            "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "savefig.bbox": "tight",
            "svg.hashsalt": "hume-turtle",  # else SVG ids differ from run to run
            "svg.fonttype": "path",  # text looks the same where the font is missing
        }
    )


def metric_rows(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    chosen = frame[(frame["metric"] == metric) & frame["value"].notna()]
    if chosen.empty:
        raise ValueError(f"no {metric} among {', '.join(sorted(set(frame['metric'])))}")
    return chosen


def in_order(methods) -> list[str]:
    present = set(methods)
    return [m for m in METHODS if m in present] + sorted(present - set(METHODS))


def method_index(method: str) -> int:
    return METHODS.index(method) if method in METHODS else 5 + sum(map(ord, method)) % 2


def hue_of(method: str) -> str:
    return COLOURS[method_index(method)]


def marker_of(method: str) -> str:
    return MARKERS[method_index(method)]


def left_edge(percent: pd.Series) -> float:
    """The left edge of an axis of percentages: a multiple of 10, 5 or more below the smallest."""
    return max(-2.0, 10 * math.floor((float(percent.min()) - 5) / 10))


def spaced(name: str) -> str:
    return name.replace("_", " ")


def legend_entry(label: str, colour: str, marker: str):
    """A legend entry."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker=marker, linestyle="", markersize=6, label=label)

"""One style for every figure and table of the project; one function a figure.

Figure functions take plain arrays, or the project's long table with the columns `dataset`,
`method`, `spaces`, `seed`, `split`, `metric`, `value` (fractions, not percent), and return a
matplotlib Figure. What has no value is drawn as missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hume_turtle.reporting.figures_hume import (
    plot_aggregation,
    plot_reliable,
    plot_reported,
)
from hume_turtle.reporting.figures_images import plot_clusters, plot_images
from hume_turtle.reporting.figures_scores import (
    plot_benchmark,
    plot_scoreboard,
    plot_vs_baselines,
)
from hume_turtle.reporting.figures_transfer import (
    plot_architectures,
    plot_transfer_benchmark,
    plot_vs_probe,
    plot_vs_zeroshot,
)
from hume_turtle.reporting.publish import save_figure, save_table
from hume_turtle.reporting.style import (
    COLOURS,
    GREY,
    MARKERS,
    METHODS,
    hue_of,
    set_style,
    spaced,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = [
    "plot_aggregation",
    "plot_architectures",
    "plot_benchmark",
    "plot_clusters",
    "plot_correlation",
    "plot_growth",
    "plot_images",
    "plot_points",
    "plot_reliable",
    "plot_reported",
    "plot_scoreboard",
    "plot_selection",
    "plot_training",
    "plot_transfer_benchmark",
    "plot_vs_baselines",
    "plot_vs_probe",
    "plot_vs_zeroshot",
    "save_figure",
    "save_table",
    "set_style",
]


def plot_training(history: Mapping[str, Any], accuracy: Any = None, steps: Any = None) -> Figure:
    """Curves over outer iterations, one panel for each quantity.

    Args:
        history: name -> (T,) or (runs, T); e.g. objective and entropy. Runs are drawn faintly,
            their mean boldly.
        accuracy: (S,) or (runs, S) cluster accuracy as a fraction; for the reader only.
        steps: (S,) the outer iterations of `accuracy`; 1..S by default.

    Raises:
        ValueError: nothing to draw.
    """
    import matplotlib.pyplot as plt

    if not history:
        raise ValueError("history is empty: nothing to draw")
    panels = [(spaced(name), np.atleast_2d(values), None) for name, values in history.items()]
    if accuracy is not None:
        panels.append(("cluster accuracy (%)", 100 * np.atleast_2d(accuracy), steps))
    size = (7.0, 0.7 + 1.6 * len(panels))
    fig, axes = plt.subplots(
        len(panels), 1, figsize=size, sharex=True, squeeze=False, layout="constrained"
    )
    for i, (ax, (label, values, at)) in enumerate(zip(axes.flat, panels, strict=True)):
        at = np.arange(1, values.shape[1] + 1) if at is None else np.asarray(at)
        if len(values) > 1:
            ax.plot(at, values.T, color=COLOURS[i % 7], alpha=0.25, linewidth=0.8)
        dots = "o" if accuracy is not None and i == len(panels) - 1 else None  # what was measured
        ax.plot(at, values.mean(0), color=COLOURS[i % 7], linewidth=1.8, marker=dots, markersize=4)
        ax.set_ylabel(label)
    if accuracy is not None:
        axes.flat[-1].set_title(
            "for the reader only: fitting never sees it", fontsize=9, color="#555555", loc="right"
        )
    axes.flat[-1].set(xlabel="outer iteration", xlim=(0, None))
    fig.align_ylabels()
    return fig


def plot_correlation(
    objective: Sequence[float],
    accuracy: Sequence[float],
    groups: Sequence[str] | None = None,
    *,
    xlabel: str = "objective (lower is better)",
) -> Figure:
    """An objective against cluster accuracy, a point a labeling, with Pearson's r.

    Args:
        objective: (m,) values the method minimises.
        accuracy: (m,) cluster accuracies, fractions.
        groups: (m,) what each labeling is, e.g. `true labels`; gives colour and marker, a method
            those it has in the other figures.

    Raises:
        ValueError: lengths differ, or fewer than two points.
    """
    import matplotlib.pyplot as plt

    x, y = np.asarray(objective, float), 100 * np.asarray(accuracy, float)
    names = np.full(len(x), "") if groups is None else np.asarray(groups).astype(str)
    if not len(x) == len(y) == len(names) or len(x) < 2:
        raise ValueError(
            f"need two points or more and equal lengths: {len(x)} objectives, {len(y)} "
            f"accuracies, {len(names)} groups"
        )
    fig, ax = plt.subplots(figsize=(5.4, 4.0), layout="constrained")
    _draw_correlation(ax, x, y, names)
    ax.set(xlabel=xlabel, ylabel="cluster accuracy (%)")
    if groups is not None:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def plot_selection(frame: pd.DataFrame, group: str = "warm_start") -> Figure:
    """Generalization score against cluster accuracy over a grid of settings, a point a fit.

    A panel for each dataset and choice of spaces, with Pearson's r. A ring marks the fit with the
    highest score, of equals the first: the one that is chosen without labels.

    Args:
        frame: a row a fit, with columns `dataset`, `spaces`, `generalization_score` and
            `cluster_accuracy` (fractions), and the settings.
        group: the column that gives colour and marker.

    Raises:
        ValueError: no rows, or a column is missing.
    """
    import matplotlib.pyplot as plt

    columns = ["dataset", "spaces", "generalization_score", "cluster_accuracy", group]
    if missing := [name for name in columns if name not in frame]:
        raise ValueError(f"no column {', '.join(missing)}")
    if frame.empty:
        raise ValueError("no fits: nothing to draw")
    panels = list(frame.groupby(["dataset", "spaces"], sort=False))
    size = (1.2 + 4.0 * len(panels), 4.0)
    fig, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
    for ax, ((dataset, spaces), rows) in zip(axes.flat, panels, strict=True):
        score = 100 * rows["generalization_score"].to_numpy()
        accuracy = 100 * rows["cluster_accuracy"].to_numpy()
        _draw_correlation(ax, score, accuracy, [f"{spaced(group)}: {v}" for v in rows[group]])
        best = int(np.argmax(score))
        ring = {"s": 190, "facecolor": "none", "edgecolor": COLOURS[1], "linewidth": 1.8}
        ax.scatter(score[best], accuracy[best], **ring, label="chosen, without labels")
        ax.set(xlabel="generalization score (%)", ylabel="cluster accuracy (%)")
        ax.set_title(f"{dataset}, {spaces.replace('+', ' + ')}: {ax.get_title()}", fontsize=10)
    axes.flat[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def _draw_correlation(ax, x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> None:
    """Points with a name each, which gives colour and marker; their line, and r as the title."""
    names = np.asarray(names)
    known = np.isfinite(x) & np.isfinite(y)
    varies = known.sum() > 1 and x[known].std() > 0 and y[known].std() > 0
    r = np.corrcoef(x[known], y[known])[0, 1] if varies else math.nan
    others = [name for name in dict.fromkeys(names) if name not in METHODS]
    for name in dict.fromkeys(names):
        chosen = known & (names == name)
        look = METHODS.index(name) if name in METHODS else (6 - others.index(name)) % 7
        ax.scatter(
            x[chosen],
            y[chosen],
            s=36,
            color=COLOURS[look],
            marker=MARKERS[look],
            alpha=0.8,
            edgecolor="white",
            linewidth=0.5,
            label=name or None,
        )
    if varies:
        ends = np.array([x[known].min(), x[known].max()])
        ax.plot(
            ends,
            np.polyval(np.polyfit(x[known], y[known], 1), ends),
            color=GREY,
            linewidth=1.2,
            zorder=1,
        )
    ax.set_title(f"Pearson's r = {r:.2f}".replace("-", "−") + f"   ({known.sum()} labelings)")


GROWTH_AXES = {"n": "rows n", "d": "dimensions d", "C": "classes C", "runs": "joint runs"}


def plot_growth(frame: pd.DataFrame) -> Figure:
    """Seconds of an outer iteration as n, d, C and the joint runs grow, a panel each.

    Both axes are logarithmic: a straight line of slope one doubles with what grows. A line is a
    method on one hardware; the reference is grey.

    Args:
        frame: columns `axis` (n, d, C or runs), `value`, `method`, `seconds`, `hardware`. An axis
            without rows is drawn as not measured.

    Raises:
        ValueError: an unknown axis.
    """
    import matplotlib.pyplot as plt

    unknown = set(frame["axis"]) - set(GROWTH_AXES)
    if unknown:
        raise ValueError(f"unknown axis {', '.join(sorted(map(str, unknown)))}")
    machines = list(dict.fromkeys(frame["hardware"]))
    fig, axes = plt.subplots(1, 4, figsize=(11.0, 3.2), sharey=True, layout="constrained")
    for ax, (axis, label) in zip(axes, GROWTH_AXES.items(), strict=True):
        rows = frame[frame["axis"] == axis]
        for (hardware, method), line in rows.groupby(["hardware", "method"], sort=False):
            line = line.sort_values("value")
            ax.plot(
                line["value"],
                line["seconds"],
                color=GREY if method == "reference" else hue_of(method),
                marker=MARKERS[machines.index(hardware) % len(MARKERS)],
                markersize=5,
                label=method if len(machines) == 1 else f"{method}, {hardware}",
            )
        if rows.empty:
            ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", color=GREY)
            ax.tick_params(which="both", length=0, labelleft=False, labelbottom=False)
            ax.set(xlabel=label)
        else:
            ax.set(xscale="log", yscale="log", xlabel=label)
    axes[0].set_ylabel("seconds an outer iteration")
    legends = [zip(*ax.get_legend_handles_labels(), strict=True) for ax in axes]
    lines = {label: line for legend in legends for line, label in legend}
    if lines:
        fig.legend(lines.values(), lines, loc="outside upper center", ncols=min(4, len(lines)))
    return fig


def plot_points(spaces: Mapping[str, Any], labels: Sequence[int]) -> Figure:
    """The same points in several two-dimensional spaces, coloured by a labeling.

    Args:
        spaces: name -> (n, 2).
        labels: (n,) whole numbers from 0.
    """
    import matplotlib.pyplot as plt

    labels = np.asarray(labels)
    size = (3.2 * len(spaces), 3.2)
    fig, axes = plt.subplots(1, len(spaces), figsize=size, squeeze=False, layout="constrained")
    for ax, (name, points) in zip(axes.flat, spaces.items(), strict=True):
        for label in np.unique(labels):
            ax.scatter(
                *points[labels == label].T,
                s=22,
                color=COLOURS[label % 7],
                marker=MARKERS[label % 7],
                alpha=0.8,
                linewidth=0,
            )
        ax.set(title=name, aspect="equal", xticks=[], yticks=[])
    return fig

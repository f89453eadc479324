"""A method at work: points, curves of training, and what it minimises against cluster accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from hume_turtle.reporting.names import method_name, spaces_name
from hume_turtle.reporting.style import COLOURS, GREY, MARKERS, RUN_METHODS, panels, pearson


def plot_points(spaces: Mapping[str, Any], labels: Sequence[int]) -> Figure:
    """The same points in several two-dimensional spaces, coloured by a labeling.

    Args:
        spaces: name -> (n, 2).
        labels: (n,) integers from 0.
    """
    labels = np.asarray(labels)
    fig, axes = panels(len(spaces), (3.2 * len(spaces), 3.2))
    for ax, (name, points) in zip(axes, spaces.items(), strict=True):
        for label in np.unique(labels):
            look = {"color": COLOURS[label % 7], "marker": MARKERS[label % 7]}
            ax.scatter(*points[labels == label].T, s=22, alpha=0.8, linewidth=0, **look)
        ax.set(title=name, aspect="equal", xticks=[], yticks=[])
    return fig


def plot_training(history: Mapping[str, Any], accuracy: Any = None, steps: Any = None) -> Figure:
    """Curves over outer iterations, one panel for each quantity.

    Args:
        history: name -> (T,) or (runs, T); e.g. objective and entropy. Runs are drawn faintly,
            their mean boldly.
        accuracy: (S,) or (runs, S) cluster accuracy as a fraction; for the reader only.
        steps: (S,) the outer iterations of `accuracy`.
    """
    curves = [(name, np.atleast_2d(values), None, None) for name, values in history.items()]
    if accuracy is not None:  # dots where it was measured
        curves.append(("cluster accuracy (%)", 100 * np.atleast_2d(accuracy), steps, "o"))
    fig, axes = panels(len(curves), (7.0, 0.7 + 1.6 * len(curves)), columns=1, sharex=True)
    for i, (ax, (label, values, at, dots)) in enumerate(zip(axes, curves, strict=True)):
        at = np.arange(1, values.shape[1] + 1) if at is None else np.asarray(at)
        color = COLOURS[i % len(COLOURS)]
        if len(values) > 1:
            ax.plot(at, values.T, color=color, alpha=0.25, linewidth=0.8)
        ax.plot(at, values.mean(0), color=color, linewidth=1.8, marker=dots, markersize=4)
        ax.set_ylabel(label)
    if accuracy is not None:
        caption = "for the reader only: fitting never sees it"
        axes[-1].set_title(caption, fontsize=9, color="#555555", loc="right")
    axes[-1].set(xlabel="outer iteration", xlim=(0, None))
    fig.align_ylabels()
    return fig


def plot_correlation(objective, accuracy, groups, *, xlabel: str) -> Figure:
    """An objective against cluster accuracy, one point per labeling, with Pearson's r.

    Args:
        objective: (m,) values the method minimises.
        accuracy: (m,) cluster accuracies, fractions.
        groups: (m,) what each labeling is, e.g. `true labels`; gives colour and marker, a method
            those it has in the other figures.
        xlabel: what the objective is.
    """
    fig, ax = plt.subplots(figsize=(5.4, 4.0), layout="constrained")
    _draw_correlation(ax, np.asarray(objective), 100 * np.asarray(accuracy), np.asarray(groups))
    ax.set(xlabel=xlabel, ylabel="cluster accuracy (%)")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def plot_selection(frame: pd.DataFrame) -> Figure:
    """Generalization score against cluster accuracy over a grid of settings, one point per fit.

    One panel for each dataset and space combination, with Pearson's r. A ring marks the fit with
    the highest score, of equals the first: the one that is chosen without labels.

    Args:
        frame: one row per fit, with columns `dataset`, `spaces`, `generalization_score` and
            `cluster_accuracy` (fractions), and `warm_start`, which gives colour and marker.
    """
    fits = list(frame.groupby(["dataset", "spaces"], sort=False))
    fig, axes = panels(len(fits), (1.2 + 4.0 * len(fits), 4.0))
    for ax, ((dataset, spaces), rows) in zip(axes, fits, strict=True):
        score = 100 * rows["generalization_score"].to_numpy()
        accuracy = 100 * rows["cluster_accuracy"].to_numpy()
        starts = ("warm start: " + rows["warm_start"].astype(str)).to_numpy()
        _draw_correlation(ax, score, accuracy, starts)
        best = int(np.argmax(score))
        ring = {"s": 190, "facecolor": "none", "edgecolor": COLOURS[1], "linewidth": 1.8}
        ax.scatter(score[best], accuracy[best], **ring, label="chosen, without labels")
        ax.set(xlabel="generalization score (%)", ylabel="cluster accuracy (%)")
        ax.set_title(f"{dataset}, {spaces_name(spaces)}\n{ax.get_title()}", fontsize=10)
    axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def _draw_correlation(ax, x: np.ndarray, y: np.ndarray, names: np.ndarray) -> None:
    """Points, whose names give colour and marker; their regression line, and r as the title."""
    others = [name for name in dict.fromkeys(names) if name not in RUN_METHODS]
    dots = {"s": 36, "alpha": 0.8, "edgecolor": "white", "linewidth": 0.5}
    for name in dict.fromkeys(names):
        look = RUN_METHODS.index(name) if name in RUN_METHODS else (6 - others.index(name)) % 7
        dots |= {"color": COLOURS[look], "marker": MARKERS[look]}
        ax.scatter(x[names == name], y[names == name], **dots, label=method_name(name) or None)
    line = {"color": GREY, "linewidth": 1.2, "zorder": 1}
    seaborn.regplot(x=x, y=y, scatter=False, ci=None, line_kws=line, ax=ax)
    ax.set_title(pearson(x, y, "labelings"))

"""TURTLE at work: points and their labeling, a film of it, what seeds find, curves of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hume_turtle.reporting.style import (
    CLASS_LOOKS,
    DARK,
    FULL,
    HALF,
    LINES,
    RULE,
    legend_above,
    method_look,
    note,
    panels,
)


def plot_points(spaces: Mapping[str, Any], labels: Sequence[int]) -> Figure:
    """The same points in several two-dimensional spaces; marker and grey are a labeling.

    Args:
        spaces: name -> (n, 2).
        labels: (n,) integers from 0.
    """
    fig, axes = panels(len(spaces), (FULL if len(spaces) > 1 else HALF, 2.6))
    for ax, (name, points) in zip(axes, spaces.items(), strict=True):
        draw_classes(ax, np.asarray(points), np.asarray(labels))
        ax.set_title(name)
    return fig


def draw_classes(ax, points: np.ndarray, labels: np.ndarray, size: float = 14) -> None:
    """Points (n, 2) in the looks of their classes (n,)."""
    for label in np.unique(labels):
        look = CLASS_LOOKS[label % len(CLASS_LOOKS)]
        ax.scatter(*points[labels == label].T, s=size, linewidth=0.7, **look)
    _square(ax, points)


def draw_labeling(ax, points: np.ndarray, share: np.ndarray, kinds: np.ndarray) -> None:
    """Points (n, 2), from black to white as class 1 has a share (n,) of them from 0 to 1.

    `kinds` (n,), 0 or 1, give a circle or a square.
    """
    for kind, marker in enumerate("os"):
        own = kinds == kind
        grey = [str(value) for value in share[own].clip(0, 1)]
        ax.scatter(*points[own].T, s=15, marker=marker, c=grey, edgecolor=DARK, linewidth=0.5)
    _square(ax, points)


def draw_boundary(ax, head: np.ndarray, **look) -> None:
    """The line where a head (2, d + 1) of two classes in the plane gives both the same logit."""
    *normal, offset = head[1] - head[0]
    normal = np.array(normal)
    if not (square := normal @ normal):
        return
    foot = -offset * normal / square
    ax.axline(foot, foot + [-normal[1], normal[0]] / np.sqrt(square), **look)


def _square(ax, points: np.ndarray) -> None:
    """Equal axes in a thin frame, without ticks, that end a little outside the points."""
    reach = 1.12 * np.abs(points).max()
    ax.spines[:].set(visible=True, color=RULE)
    ax.set(aspect="equal", xticks=[], yticks=[], xlim=(-reach, reach), ylim=(-reach, reach))


def plot_labelings(spaces, labelings: Mapping[str, Any], heads, errors) -> Figure:
    """What heads make of several labelings: a column for each, a row for each space.

    Args:
        spaces: K arrays (n, 2).
        labelings: name -> (n,) labels, 0 or 1.
        heads: for each labeling K heads (2, 3), trained on it.
        errors: for each labeling K cross-entropies of these heads, nats.
    """
    columns = len(labelings)
    fig, axes = panels(len(spaces) * columns, (FULL, 1.95 * len(spaces)), columns)
    for column, (name, labels) in enumerate(labelings.items()):
        for k, points in enumerate(spaces):
            ax = axes[k * columns + column]
            draw_classes(ax, points, np.asarray(labels), size=8)
            draw_boundary(ax, heads[column][k], color=DARK, linewidth=1)
            ax.set_xlabel(f"CE = {errors[column][k]:.3f} nats")
            if column == 0:
                ax.set_ylabel(f"space {k + 1}")
        axes[column].set_title(f"{name}, sum {sum(errors[column]):.3f}")
    return fig


def plot_film(spaces, film: Mapping[int, tuple[Any, Any]], kinds: Sequence[int]) -> Figure:
    """A labeling over outer iterations: a column for each, a row for each space.

    Args:
        spaces: K arrays (n, 2).
        film: outer iteration -> the labeling τ (n, 2), and K heads (2, 3) of the task encoder.
        kinds: (n,) the shape of each object, 0 round and 1 square: the points' markers.
    """
    columns = len(film)
    fig, axes = panels(len(spaces) * columns, (FULL, 0.35 + FULL / columns * len(spaces)), columns)
    for column, (iteration, (labeling, heads)) in enumerate(film.items()):
        for k, points in enumerate(spaces):
            ax = axes[k * columns + column]
            draw_labeling(ax, points, np.asarray(labeling)[:, 1], np.asarray(kinds))
            draw_boundary(ax, np.asarray(heads[k]), color=DARK, linewidth=1)
            if column == 0:
                ax.set_ylabel(f"space {k + 1}")
        axes[column].set_title(f"t = {iteration}")
    outline = {"linestyle": "", "markeredgecolor": DARK, "markeredgewidth": 0.5, "markersize": 4}
    entries = [
        Line2D([], [], marker=marker, markerfacecolor=face, label=label, **outline)
        for marker, face, label in (
            ("o", "black", "black: class 0"),
            ("o", "white", "white: class 1"),
            ("o", "0.6", "round object"),
            ("s", "0.6", "square object"),
        )
    ]
    entries.append(Line2D([], [], color=DARK, linewidth=1, label="boundary of the task encoder"))
    legend_above(fig, entries, ncols=5)
    return fig


def plot_histories(histories: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> Figure:
    """Several fits over outer iterations, one panel for each quantity, a line for each fit.

    Args:
        histories: name of a fit -> its `history_`.
        names: key of the history -> label of the axis.
    """
    fig, axes = panels(len(names), (FULL, 2.1))
    for ax, (key, label) in zip(axes, names.items(), strict=True):
        for (name, history), look in zip(histories.items(), LINES):
            ax.plot(history[key], label=name, **look)
        ax.set(xlabel="outer iteration", ylabel=label, xlim=(0, None))
    legend_above(fig)
    return fig


def plot_seeds(frame: pd.DataFrame, names: Sequence[str]) -> Figure:
    """What each seed found and how well it is learnt: a row of points for each choice of spaces.

    Args:
        frame: one row per fit, with columns `spaces`, `seed`, `found` (one of `names`) and `error`
            (cross-entropy by the number of spaces, nats).
        names: of labelings, at most four.
    """
    cases = list(dict.fromkeys(frame["spaces"]))
    fig, (ax,) = panels(1, (FULL, 0.75 + 0.5 * len(cases)))
    looks = [*CLASS_LOOKS, {"marker": "x", "color": DARK}]
    spread = max(1, frame["seed"].max() - frame["seed"].min())
    for name, look in zip(names, looks):
        rows = frame[frame["found"] == name]
        beside = 0.6 * ((rows["seed"] - frame["seed"].min()) / spread - 0.5)
        at = np.array([cases.index(case) for case in rows["spaces"]]) + beside  # by seed, downwards
        ax.scatter(rows["error"], at, s=14, linewidth=0.8, label=name, **look)
    ax.set(yticks=range(len(cases)), yticklabels=cases, ylim=(len(cases) - 0.5, -0.5))
    ax.set(xlabel="cross-entropy of the heads, mean over spaces (nats)", xlim=(0, None))
    legend_above(fig)
    return fig


def plot_training(
    history: Mapping[str, Any], accuracy: Any = None, steps: Any = None, method: str | None = None
) -> Figure:
    """Curves of a fit over outer iterations, on a logarithmic axis, one panel for each quantity.

    Args:
        history: name -> (T,) or (runs, T); e.g. objective and entropy. Runs are drawn faintly,
            their mean boldly.
        accuracy: (S,) or (runs, S) cluster accuracy as a fraction; for the reader only.
        steps: (S,) the outer iterations of `accuracy`, from 1.
        method: whose colour the curves have; without it they are dark.
    """
    curves = [(name, np.atleast_2d(values), None, None) for name, values in history.items()]
    if accuracy is not None:  # dots where it was measured
        curves.append(("cluster accuracy (%)", 100 * np.atleast_2d(accuracy), steps, "o"))
    fig, axes = panels(len(curves), (FULL, 2.2))
    color = method_look(method)["color"] if method else DARK
    for ax, (label, values, at, dots) in zip(axes, curves, strict=True):
        at = np.arange(1, values.shape[1] + 1) if at is None else np.asarray(at)
        if len(values) > 1:
            ax.plot(at, values.T, color=color, alpha=0.35, linewidth=0.6)
        ax.plot(at, values.mean(0), color=color, marker=dots, markersize=3)
        ax.set(xlabel="outer iteration", ylabel=label, xscale="log", xlim=(1, None))
    if accuracy is not None:
        note(axes[-1], "for the reader only:\nthe fit never sees it", 0.66, 0.12)
    return fig

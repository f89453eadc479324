"""Margins: drawn on the plane, over inner and over outer iterations, and as distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hume_turtle.estimators.margins import margins
from hume_turtle.reporting.figures.training import draw_boundary, draw_classes
from hume_turtle.reporting.names import METHOD_NAMES, method_name
from hume_turtle.reporting.style import DARK, FULL, GREY, LINES, legend_above, method_look, panels

NEAR = 2e-3  # how exactly a support vector machine's nearest points are equally near, and drawn
MACHINE = {"color": DARK, "linestyle": "--", "linewidth": 1.0}  # the support vector machine


def plot_margin(space, cases: Mapping[str, tuple[Any, Any]]) -> Figure:
    """The margin of linear classifiers on the same points, a panel for each.

    The solid line is the boundary. Where the classifier separates the classes, the dashed lines
    are at the distance of the nearest point. Points at that distance are ringed.

    Args:
        space: (n, 2).
        cases: name -> labels (n,), 0 or 1, and a head (2, 3) as in `margins`.
    """
    space = np.asarray(space)
    fig, axes = panels(len(cases), (FULL, 2.75))
    for ax, (name, (labels, head)) in zip(axes, cases.items(), strict=True):
        labels, head = np.asarray(labels), np.asarray(head, dtype=np.float64)
        distances = margins(space, [head], labels)[0]
        width = distances.min()
        draw_classes(ax, space, labels)
        draw_boundary(ax, head, color=DARK, linewidth=1.2)
        for side in (-width, width) if width > 0 else ():
            draw_boundary(ax, _moved(head, side), color=DARK, linewidth=0.7, linestyle="--")
        nearest = space[distances < width + NEAR]
        ax.scatter(*nearest.T, s=60, facecolor="none", edgecolor=DARK, linewidth=0.8)
        ax.set(title=name, xlabel=f"margin {width:.3f}")
    return fig


def _moved(head: np.ndarray, distance: float) -> np.ndarray:
    """A head (2, d + 1) whose boundary lies this far from that of `head`."""
    moved = head.copy()
    moved[1, -1] += distance * np.linalg.norm(head[1, :-1] - head[0, :-1])
    return moved


def plot_inner_steps(
    steps: Sequence[int],
    quantities: Mapping[str, Mapping[str, Any]],
    *,
    machine: Mapping[str, float] | None = None,
    marked: int | None = None,
) -> Figure:
    """Heads over inner steps: a panel for each quantity, the mean over starts and their range.

    Args:
        steps: (S,) numbers of inner steps M.
        quantities: label of the axis -> name of a curve -> (S, R), of R starts.
        machine: label of the axis -> the support vector machine's value.
        marked: a number of inner steps.
    """
    fig, axes = panels(len(quantities), (FULL, 2.4))
    for ax, (label, curves) in zip(axes, quantities.items(), strict=True):
        for (name, values), look in zip(curves.items(), LINES):
            values = np.asarray(values)
            ax.plot(steps, values.mean(1), label=name, **look)
            ends = values.min(1), values.max(1)
            ax.fill_between(steps, *ends, color=look["color"], alpha=0.18, linewidth=0)
        if machine:
            ax.axhline(machine[label], label="support vector machine", color=DARK, linewidth=0.7)
        if marked:
            ax.axvline(marked, color=GREY, linewidth=0.8)
            place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            ax.annotate(f"M = {marked}", (marked, 0), xytext=(3, 4), fontsize=7, **place)
        ax.set(xlabel="inner steps M", ylabel=label, xscale="log", xlim=(steps[0], steps[-1]))
    legend_above(fig)
    return fig


def plot_margins(
    iterations: Sequence[int],
    reached: Mapping[str, Any],
    machine: Sequence[float],
    settled: int | None = None,
    lowest: float = -0.5,
) -> Figure:
    """TURTLE's margin over outer iterations, a panel for each space.

    Args:
        iterations: (S,) outer iterations, from 1.
        reached: name -> (S, K), the smallest distance of a row to the boundary of the inner head;
            the first as a line in TURTLE's colour, a second one as grey dots.
        machine: K margins of support vector machines on the labeling at the end.
        settled: the outer iteration from which on the labels are those of the end.
        lowest: where the axis of the margins ends.
    """
    fig, axes = panels(len(machine), (FULL, 2.6), sharey=True)
    line = {"color": method_look("turtle")["color"], "zorder": 3}
    dots = {"color": GREY, "linestyle": "", "marker": ".", "markersize": 2.5}
    for k, ax in enumerate(axes):
        for (name, values), look in zip(reached.items(), (line, dots)):
            ax.plot(iterations, np.asarray(values)[:, k], label=name, **look)
        ax.axhline(0, color=DARK, linewidth=0.6)
        ax.axhline(machine[k], label="support vector machine on the found labels", **MACHINE)
        if settled:
            ax.axvline(settled, color=GREY, linewidth=0.8)
            place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            text = "from here on the labels stay"
            ax.annotate(text, (settled, 0), xytext=(3, 4), fontsize=7, **place)
        ax.set(title=f"space {k + 1}", xlabel="outer iteration", xscale="log")
        ax.set(xlim=(min(4, iterations[-1] / 2), iterations[-1]))
        ax.set(ylim=(lowest, 1.15 * max(machine)))
    axes[0].set_ylabel("margin")
    legend_above(fig)
    return fig


def plot_margin_distributions(distances: Mapping[str, Any], nearest: float = 0.1) -> Figure:
    """How far the rows of several labelings lie from the boundaries of their classes.

    On the left all rows, on the right the share of rows that are closer than a distance.

    Args:
        distances: method, or another name -> (n,) signed distances, as `margins` gives them.
        nearest: the share of the rows where the panel on the right ends.
    """
    fig, (left, right) = panels(2, (FULL, 2.6))
    edges = np.histogram_bin_edges(np.concatenate([*distances.values()]), 24)
    for key, values in distances.items():
        known = key in METHOD_NAMES
        look = {"color": method_look(key)["color"]} if known else {"color": DARK, "linestyle": ":"}
        left.hist(values, edges, histtype="step", linewidth=1.3, label=method_name(key), **look)
        few = np.sort(values)[: max(1, round(nearest * len(values)))]
        right.plot(few, 100 * np.arange(1, len(few) + 1) / len(values), **look)
    left.set(xlabel="distance to the boundary of the row's class", ylabel="rows")
    right.set(
        xlabel="distance to the boundary of the row's class", ylabel="rows that are closer (%)"
    )
    # Entries as lines: those of a histogram's steps would be boxes.
    styles = [{"color": p.get_edgecolor(), "linestyle": p.get_linestyle()} for p in left.patches]
    legend_above(
        fig,
        [Line2D([], [], label=p.get_label(), **style) for p, style in zip(left.patches, styles)],
    )
    return fig

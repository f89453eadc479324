"""HUME's method: its diagram, and its loss where the task encoder is one angle."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from hume_turtle.reporting.style import (
    CLASS_LOOKS,
    DARK,
    FULL,
    GREY,
    HALF,
    RULE,
    legend_above,
    method_look,
)

START = -45  # degrees where the period of 180 begins that is drawn: neither valley nor plateau cut
FORWARD = {"arrowstyle": "-|>", "color": DARK, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0}
BACK = {**FORWARD, "linestyle": (0, (3, 2)), "color": GREY, "linewidth": 1.6}


def plot_hume_method() -> Figure:
    """The method as a diagram: solid arrows forward, dashed ones the gradient on its way back."""
    size = (FULL, 2.75)
    fig = plt.figure(figsize=size)
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, size[0]), ylim=(0, size[1]))
    ax.set_axis_off()
    frozen, trained = {"facecolor": RULE}, {"facecolor": "white"}
    _box(ax, 0.50, 1.35, "images", width=0.76, height=0.50, **trained)
    _box(ax, 1.72, 2.20, "φ₁, learned on\nthese images", width=1.12, **frozen)
    _box(ax, 1.72, 0.50, "φ₂, pretrained\non other images", width=1.12, **frozen)
    encoder = "task encoder θ\nτ = sparsemax(Z₁θᵀ / ρ)"
    _box(ax, 3.56, 2.20, encoder, width=1.56, linewidth=1.8, **trained)
    _box(ax, 5.30, 2.20, "labeling τ\n(n, C)", width=0.86, **trained)
    head = "inner head (W, b)\nM steps of gradient\ndescent on CE"
    _box(ax, 3.56, 0.50, head, width=1.56, height=0.72, **trained)
    loss = "loss\nCE on the test part\n− γ H(mean τ)"
    _box(ax, 6.16, 0.50, loss, width=1.40, height=0.72, **trained)
    for start, end in (((0.74, 1.62), (1.14, 2.04)), ((0.74, 1.08), (1.14, 0.66))):
        _arrow(ax, start, end)
    _arrow(ax, (2.30, 2.20), (2.76, 2.20), "Z₁")
    _arrow(ax, (4.36, 2.28), (4.85, 2.28))
    _arrow(ax, (2.30, 0.50), (2.76, 0.50), "Z₂")
    _arrow(ax, (4.92, 1.94), (4.08, 0.88), "training part  ", ha="right")
    _arrow(ax, (5.62, 1.94), (5.98, 0.88), " test part", ha="left")
    _arrow(ax, (4.36, 0.58), (5.44, 0.58), "its test logits", above=0.09)
    for start, end in (
        ((5.44, 0.38), (4.36, 0.38)),
        ((4.26, 0.88), (5.08, 1.94)),
        ((5.80, 0.88), (5.46, 1.94)),
        ((4.85, 2.10), (4.36, 2.10)),
    ):
        _arrow(ax, start, end, look=BACK)
    text = "gradient, back\nthrough all M steps"
    ax.text(4.9, 0.15, text, ha="center", va="center", fontsize=7, color=DARK)
    return fig


def _box(ax, x: float, y: float, text: str, *, width: float, height: float = 0.52, **look) -> None:
    look = {"edgecolor": DARK, "linewidth": 1.0, **look}
    shape = {"boxstyle": "round,pad=0,rounding_size=0.06"}
    corner = (x - width / 2, y - height / 2)
    ax.add_patch(FancyBboxPatch(corner, width, height, **shape, **look))
    ax.text(x, y, text, ha="center", va="center", fontsize=8, color=DARK, linespacing=1.25)


def _arrow(ax, start, end, text="", look=None, above=0.09, ha="center") -> None:
    """An arrow, and a text at its middle: above a level one, beside another."""
    ax.annotate("", end, start, arrowprops=look or FORWARD)
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    lift = above if ha == "center" else 0
    ax.text(x, y + lift, text, ha=ha, va="center", fontsize=7, color=DARK)


def fold(degrees):
    """Angles in [−45, 135): α and α + 180° swap the two classes, which is the same labeling."""
    return (np.asarray(degrees, dtype=float) - START) % 180 + START


def draw_labeling(ax, space: np.ndarray, labels: Sequence[int], angle: float | None = None) -> None:
    """Points (n, 2) of two classes, and the boundary through the origin normal to an angle."""
    labels = np.asarray(labels)
    for label in (0, 1):
        look = {"s": 11, "linewidth": 0.7, **CLASS_LOOKS[label]}
        ax.scatter(*space[labels == label].T, **look)
    reach = 1.1 * np.abs(space).max()
    if angle is not None:
        along = np.radians(angle + 90)
        ends = 2 * reach * np.array([-1, 1])
        ax.plot(ends * np.cos(along), ends * np.sin(along), color=GREY, linewidth=1.2, zorder=1)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    ax.grid(visible=False)


def plot_angles(spaces: Sequence[np.ndarray], labels: Sequence, angles: Sequence[float]) -> Figure:
    """What a task encoder with one angle labels: a column an angle, φ₁ above, φ₂ below.

    Args:
        spaces: Z_1 and Z_2, each (n, 2).
        labels: for each of A angles the hard labels (n,), 0 or 1.
        angles: (A,) degrees; the boundary in φ₁ is normal to it.
    """
    size = (FULL, 2 * FULL / len(angles) + 0.25)
    fig, axes = plt.subplots(2, len(angles), figsize=size, layout="constrained", squeeze=False)
    for column, angle in enumerate(angles):
        draw_labeling(axes[0, column], spaces[0], labels[column], angle)
        draw_labeling(axes[1, column], spaces[1], labels[column])
        axes[0, column].set_title(f"α = {angle:g}°".replace("-", "−"))
    axes[0, 0].set_ylabel("φ₁: background\nover shape")
    axes[1, 0].set_ylabel("φ₂: light\nover shape")
    return fig


def draw_landscape(ax, angles, loss, cross_entropy=None) -> None:
    """The loss, and the cross-entropy within it, over the angle; both (A,), in nats."""
    order = np.argsort(fold(angles))
    x = fold(angles)[order]
    ax.plot(x, np.asarray(loss)[order], color=DARK, label="loss + γ log 2")
    if cross_entropy is not None:
        look = {"color": GREY, "linestyle": "--", "linewidth": 1.1}
        ax.plot(x, np.asarray(cross_entropy)[order], **look, label="test cross-entropy alone")
    ax.set(xlim=(START, START + 180), xticks=range(-45, 136, 45), ylim=(0, None))


def plot_landscape(angles, loss, cross_entropy, path, starts, ends) -> Figure:
    """The whole loss of a task encoder that is one angle, a run on it, and where others went.

    Args:
        angles: (A,) degrees, a period of 180.
        loss: (A,) the loss above its floor −γ log 2, in nats.
        cross_entropy: (A,) the part of it that is the test cross-entropy.
        path: (T,) the angles of one run.
        starts, ends: (R,) the first and last angles of R runs.
    """
    shape = {"height_ratios": (3, 1.25), "sharex": True, "layout": "constrained"}
    fig, (above, below) = plt.subplots(2, 1, figsize=(FULL, 3.9), **shape)
    draw_landscape(above, angles, loss, cross_entropy)
    order = np.argsort(fold(angles))
    on_curve = np.interp(fold(path), fold(angles)[order], np.asarray(loss)[order])
    hume = {**method_look("hume"), "linestyle": "", "clip_on": False}
    above.plot(fold(path), on_curve, markersize=3.5, label="HUME, each iteration", **hume)
    arrow = {"arrowstyle": "-", "color": DARK, "linewidth": 0.6}
    for i, text, place in ((0, "start", (14, 2)), (-1, "end", (0, 24))):
        words = {"textcoords": "offset points", "arrowprops": arrow, "ha": "center"}
        above.annotate(text, (fold(path)[i], on_curve[i]), place, fontsize=7, **words)
    above.axhline(np.log(2), color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    above.text(0, np.log(2) - 0.015, "chance, log 2", ha="center", va="top", fontsize=7, color=DARK)
    above.set_ylabel("nats")
    legend_above(fig, ncols=3)
    _draw_runs(below, fold(starts), fold(ends), hume)
    below.set_xlabel("angle α of the task encoder (degrees): 0 is the shape, 90 the background")
    return fig


def _draw_runs(ax, starts: np.ndarray, ends: np.ndarray, look: dict) -> None:
    for start, end in zip(starts, ends, strict=True):
        shift = 180 * np.round((start - end) / 180)  # the nearer of the equal ends
        for offset in (0, -180, 180):
            at = (start + offset, end + shift + offset)
            ax.plot(at, (1, 0), color=look["color"], linewidth=0.6, alpha=0.7)
    ax.plot(starts, np.ones(len(starts)), markerfacecolor="white", **look)
    ax.plot(ends, np.zeros(len(ends)), **look)
    ax.set(ylim=(-0.4, 1.4), yticks=(0, 1), yticklabels=("ends", "starts"))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)


def plot_runs(test_loss, score, right) -> Figure:
    """Runs by what needs no labels: the test loss, and the cross-validation score (percent).

    Args:
        test_loss: (R,) nats.
        score: (R,) fractions.
        right: (R,) True for the runs that found what a person would call the classes.
    """
    test_loss, score = np.asarray(test_loss), 100 * np.asarray(score)
    right = np.asarray(right, dtype=bool)
    fig, ax = plt.subplots(figsize=(HALF, 2.3), layout="constrained")
    look = {"linestyle": "", "markersize": 5, **method_look("hume")}
    ax.plot(test_loss[right], score[right], label="found the shape", **look)
    hollow = {**look, "markerfacecolor": "white"}
    ax.plot(test_loss[~right], score[~right], label="did not", **hollow)
    ax.set(xlabel="test loss at the end of the run (nats)", xlim=(0, None), ylim=(0, 104))
    ax.set_ylabel("cross-validation score (%)")
    ax.legend(loc="lower left")
    return fig

"""What the search for a labeling starts from: three kinds of transfer, and labelings of a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch.nn.functional import one_hot

from hume_turtle.core.inner_heads import Adam, train_heads
from hume_turtle.core.objectives import cross_entropy
from hume_turtle.core.products import linear_logits
from hume_turtle.reporting.figures.groups import enlarged
from hume_turtle.reporting.names import spaces_name
from hume_turtle.reporting.style import (
    CLASS_LOOKS,
    DARK,
    FULL,
    GREY,
    HALF,
    RULE,
    legend_above,
    legend_entry,
    method_look,
    panels,
)

SIDES = CLASS_LOOKS[:2]  # of a line
CURVES = {
    "error in space 1": {"color": DARK, "linestyle": "--"},
    "error in space 2": {"color": DARK, "linestyle": ":"},
    "sum": {"color": GREY, "linestyle": "-", "linewidth": 3.0, "zorder": 1.5},
}


# Labelings of a line, and how hard they are to learn


def line_labelings(space: np.ndarray, degrees: Sequence[float]) -> np.ndarray:
    """On which side of a line through the origin the points lie, for lines at several angles.

    Args:
        space: (n, 2).
        degrees: (A,) angles of the lines to the horizontal axis.

    Returns:
        (A, n) int64: 1 on the left of the direction `(cos α, sin α)`, else 0.
    """
    angle = np.deg2rad(np.asarray(degrees, float))
    normals = np.stack([-np.sin(angle), np.cos(angle)])  # (2, A)
    return (space @ normals > 1e-12).T.astype(np.int64)


def learn_labels(spaces, labels: np.ndarray, steps: int, lr: float) -> list[torch.Tensor]:
    """TURTLE's inner heads for labels held fixed, all from zero: K tensors (A, C, d_k + 1).

    Args:
        spaces: K arrays (n, d_k).
        labels: (A, n) integers in 0..C-1, a labeling in each row.
        steps: Adam steps M.
        lr: their learning rate η.
    """
    hard = _one_hot(labels)
    rates = torch.full((len(hard),), lr)
    rows = [_with_ones(space) for space in spaces]
    adams = [Adam([z.new_zeros(*hard.shape[:2], z.shape[1])], rates) for z in rows]
    train_heads(adams, rows, hard, steps)
    return [adam.parameters[0] for adam in adams]


def label_errors(spaces, labels: np.ndarray, heads: Sequence[torch.Tensor]) -> np.ndarray:
    """The cross-entropy of heads (A, C, d_k + 1) on labels (A, n) in each space, (K, A) nats."""
    hard = _one_hot(labels)
    rows = [_with_ones(space) for space in spaces]
    errors = [cross_entropy(linear_logits(h, z), hard) for h, z in zip(heads, rows, strict=True)]
    return torch.stack(errors).numpy()


def separable_labelings(space: np.ndarray, directions: int = 720):
    """The labelings with two classes that some straight line separates, as far as they are found.

    In each direction the points stand in an order, and a line across the direction may part them
    between any two. The gap of a labeling is the widest that any direction shows: twice the margin
    of a support vector machine, up to the spacing of the directions.

    Args:
        space: (n, 2), no two points in one place.
        directions: equally spaced in half a turn.

    Returns:
        labels (L, n) int64 in 0 and 1, where the first point has 0, and a table with a row for
        each: `smaller`, the share of the points in the smaller class, and `gap`.
    """
    n = len(space)
    angle = np.pi * np.arange(directions) / directions
    heights = np.stack([np.cos(angle), np.sin(angle)], axis=1) @ space.T  # (directions, n)
    gaps = np.diff(np.sort(heights, axis=1)).ravel()  # directions times n - 1
    ranks = heights.argsort(axis=1).argsort(axis=1)
    above = ranks[:, None] > np.arange(n - 1)[:, None]  # (directions, n - 1, n)
    keys = np.packbits(above ^ above[..., :1], axis=-1).reshape(len(gaps), -1)
    distinct, which = np.unique(keys, axis=0, return_inverse=True)
    widest = np.zeros(len(distinct))
    np.maximum.at(widest, which.ravel(), gaps)
    labels = np.unpackbits(distinct, axis=1, count=n).astype(np.int64)
    share = labels.mean(axis=1)
    return labels, pd.DataFrame({"smaller": np.minimum(share, 1 - share), "gap": widest})


def _one_hot(labels: np.ndarray) -> torch.Tensor:
    """Labels (A, n) as (A, C, n) float32."""
    return one_hot(torch.as_tensor(labels)).mT.float().contiguous()


def _with_ones(space: np.ndarray) -> torch.Tensor:
    rows = torch.as_tensor(space)
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)


# Figures


def plot_separable(space: np.ndarray, table: pd.DataFrame, named: Mapping[str, int]) -> Figure:
    """The points, and every labeling that a line separates by its smaller class and its gap.

    Args:
        space: (n, 2).
        table: of `separable_labelings`.
        named: name -> row of the table, of the labelings to point out.
    """
    fig, (left, right) = panels(2, (FULL, 2.6), width_ratios=(1, 1.7))
    _draw_points(left, space, np.zeros(len(space), int), size=9)
    left.set(xlabel="$z_1$", ylabel="$z_2$", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    _draw_cloud(right, 100 * table["smaller"], table["gap"], named, (-7, 0))
    right.set(xlabel="points in the smaller class (%)", ylabel="gap between the classes")
    right.set(xlim=(0, 51.5), ylim=(0, 1.08 * table["gap"].max()))
    return fig


def plot_errors_by_gap(gaps: pd.Series, errors: np.ndarray, named: Mapping[str, int]) -> Figure:
    """The error of a head over the gap of the labeling that it learns.

    Args:
        gaps: (L,) of labelings, indexed by their row in the table of `separable_labelings`.
        errors: (L,) nats.
        named: name -> row of the table, of the labelings to point out.
    """
    fig, (ax,) = panels(1, (HALF, 2.3))
    _draw_cloud(ax, gaps, pd.Series(errors, gaps.index), named, (0, 8))
    ax.set(xlabel="gap between the classes", ylabel="error of the head (nats)")
    ax.set(xlim=(0, 1.12 * gaps.max()), ylim=(0, None))
    return fig


def row_of(labels: np.ndarray, labeling: np.ndarray) -> int:
    """The row of labels (L, n) that is this labeling (n,), whichever class is called 1."""
    return int((labels == labeling ^ labeling[0]).all(axis=1).argmax())


def _draw_cloud(ax, x: pd.Series, y: pd.Series, named: Mapping[str, int], shift) -> None:
    """Many points in grey, and a few with a name, which stands `shift` points away."""
    ax.scatter(x, y, s=8, color=GREY, linewidth=0, alpha=0.6, rasterized=True)
    for name, row in named.items():
        ax.scatter(x[row], y[row], s=30, facecolor="white", edgecolor=DARK, zorder=3)
        look = {"ha": "center", "va": "bottom"} if shift[1] else {"ha": "right", "va": "center"}
        ax.annotate(name, (x[row], y[row]), shift, textcoords="offset points", **look)


def plot_inductive_biases(
    spaces,
    degrees: np.ndarray,
    errors: Sequence[np.ndarray],
    named: Mapping[str, np.ndarray],
    heads: Sequence[torch.Tensor],
) -> Figure:
    """The error of linear heads over the angle of the line that labels; labelings as points.

    Args:
        spaces: [Z_1, Z_2], (n, 2) each.
        degrees: (A,) angles of the line.
        errors: of lines in space 1 and of lines in space 2, (2, A) each: the error in both spaces.
        named: labels (n,) of three labelings: the one of space 1 alone, of both, of space 2 alone.
        heads: two tensors (3, 2, 3), the heads of these labelings in the two spaces.
    """
    fig = plt.figure(figsize=(FULL, 4.5), layout="constrained")
    top, bottom = fig.subfigures(2, 1, height_ratios=(1.7, 1))
    axes = top.subplots(1, 2, sharey=True)
    first, both, second = named
    for k, (ax, own) in enumerate(zip(axes, (first, second), strict=True)):
        _draw_errors(ax, degrees, errors[k], k, {0: own, 90: both, 180: own})
        ax.set(xlabel=f"angle of a line in space {k + 1} (degrees)")
    axes[0].set_ylabel("error of the head (nats)")
    top.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    points = label_errors(spaces, np.stack(list(named.values())), heads)  # (2, 3)
    where = ("space 1 only", "both spaces", "space 2 only")
    for i, part in enumerate(bottom.subfigures(1, 3, wspace=0.04)):
        part.suptitle(f"{list(named)[i]}: a line in {where[i]}", fontsize=8)
        for k, ax in enumerate(part.subplots(1, 2)):
            _draw_points(ax, spaces[k], list(named.values())[i], size=6)
            _draw_boundary(ax, heads[k][i].numpy())
            ax.set_xlabel(f"space {k + 1}", labelpad=2)
        one, two = points[:, i]
        part.supxlabel(f"error {one:.2f} + {two:.2f} = {one + two:.2f}", fontsize=8)
    return fig


def _draw_errors(ax, degrees, errors: np.ndarray, own: int, names: Mapping[int, str]) -> None:
    """Three curves over the angle, with the low points of the space that has the line."""
    curves = (*errors, errors.sum(0))
    for (name, look), error in zip(CURVES.items(), curves, strict=True):
        ax.plot(degrees, error, label=name, **look)
    ring = {"s": 28, "facecolor": "white", "edgecolor": DARK, "zorder": 3, "clip_on": False}
    height = 0.26 * errors.sum(0).max()  # of the names: clear of all curves
    for at, name in names.items():
        index = int(np.abs(degrees - at).argmin())
        ax.scatter(degrees[index], errors[own, index], **ring)
        side = {0: "left", 180: "right"}.get(at, "center")
        ax.annotate(name, (at + {0: 2, 180: -2}.get(at, 0), height), ha=side)
    ax.set(xlim=(0, 180), ylim=(0, None), xticks=range(0, 181, 45))


def draw_line(ax, degree: float, spaces, labels: np.ndarray, heads, errors: np.ndarray) -> None:
    """Points labelled by a line through the origin of space 1, beside the same points in space 2.

    Args:
        degree: angle of the line, which is dashed in space 1; in space 2 the head's line is drawn.
        spaces: [Z_1, Z_2], (n, 2) each.
        labels: (n,) labels 0 and 1 by the line.
        heads: two arrays (2, 3), what a head made of the labels in each space.
        errors: (2,) nats.
    """
    ax.set_axis_off()
    ax.set_title(f"{degree:g}°: error {errors[0]:.2f} + {errors[1]:.2f} = {errors.sum():.2f}")
    for k in range(2):
        inner = ax.inset_axes((0.02 + 0.49 * k, 0.0, 0.46, 1.0))
        _draw_points(inner, spaces[k], labels, size=6)
        inner.set_xlabel(f"space {k + 1}", labelpad=2)
        if k == 0:
            slope = np.tan(np.deg2rad(degree + 1e-6))  # never quite vertical
            inner.axline((0, 0), slope=slope, color=DARK, linestyle="--", linewidth=1, zorder=0.5)
        else:
            _draw_boundary(inner, np.asarray(heads[k]))


def _draw_points(ax, space: np.ndarray, labels: np.ndarray, size: float) -> None:
    for side, look in enumerate(SIDES):
        ax.scatter(*space[labels == side].T, s=size, linewidth=0.6, **look)
    ax.set(aspect="equal", xlim=(-2, 2), ylim=(-2, 2), xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=RULE)
    ax.grid(False)


def _draw_boundary(ax, head: np.ndarray) -> None:
    """The line where both logits of a head (2, 3) are equal."""
    a, b, c = head[1] - head[0]
    foot = -c * np.array([[a], [b]]) / (a * a + b * b)
    along = np.array([[-b], [a]]) / np.hypot(a, b)
    ax.plot(*(foot + along * np.array([-9.0, 9.0])), color=GREY, linewidth=1.2, zorder=0.5)


def plot_two_labelings(table: pd.DataFrame) -> Figure:
    """How well linear classifiers learn two labelings in each space.

    Args:
        table: columns `spaces`, `labeling`, `accuracy` of a linear probe (a fraction) and `share`,
            the part CE / H that a head leaves unexplained.
    """
    fig, axes = panels(2, (FULL, 2.0), sharey=True)
    names, labelings = list(table["spaces"].unique()), table["labeling"].unique()
    for look, labeling, shift in zip(SIDES, labelings, (-0.12, 0.12), strict=True):
        rows = table[table["labeling"] == labeling]
        at = [names.index(name) + shift for name in rows["spaces"]]  # no point hides another
        axes[0].scatter(100 * rows["accuracy"], at, s=26, zorder=3, **look)
        axes[1].scatter(rows["share"], at, s=26, zorder=3, **look)
    axes[0].set(xlim=(0, 104), xlabel="accuracy of a linear probe (%)")
    axes[1].set(xscale="log", xlim=(0.008, 1.3), xlabel="unexplained share CE / H")
    axes[1].set_xticks((0.01, 0.1, 1), ("0.01", "0.1", "1"))
    axes[0].set_yticks(range(len(names)), [spaces_name(name) for name in names])
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    looks = zip(SIDES, labelings, strict=True)
    keys = [legend_entry(n, DARK, k["marker"], markerfacecolor=k["facecolor"]) for k, n in looks]
    legend_above(fig, keys)
    return fig


KINDS = {  # of transfer: the method whose colour it has, and the texts of the four columns
    "Supervised transfer": (
        "linear-probe",
        "images and their labels",
        "image encoder",
        "a linear head\nfrom these labels",
        "a named class for any image",
    ),
    "Zero-shot transfer": (
        "zero-shot",
        "images and the names of all classes",
        "image encoder and\nits text encoder",
        "nothing: the most\nsimilar name wins",
        "a named class for any image",
    ),
    "Unsupervised transfer": (
        "turtle",
        "images and the number of classes",
        "image encoders,\none or several",
        "the labels and the\nheads that fit them",
        "a nameless group for any image",
    ),
}
COLUMNS = (1.0, 2.85, 4.4, 6.1)  # inches, their centres
STRIP = 1.06  # inches, the height of a kind


def plot_transfer_types(images: Sequence, names: Sequence[str], n_classes: int) -> Figure:
    """Supervised, zero-shot and unsupervised transfer: what each is given, learns and returns.

    Args:
        images: four small images, (H, W) or (H, W, 3) uint8.
        names: the name of the class of each of them.
        n_classes: the number of classes.
    """
    tall = 0.3 + STRIP * len(KINDS)
    fig = plt.figure(figsize=(FULL, tall))
    ax = fig.add_axes((0, 0, 1, 1))
    distinct = list(dict.fromkeys(names))
    groups = [f"group {distinct.index(name) + 1}" for name in names]
    words = ", ".join(f"“{name}”" for name in distinct) + ", …"
    for x, text in zip(COLUMNS, ("goes in", "is frozen", "is learnt", "comes out"), strict=True):
        ax.text(x, 0.12, text, ha="center", va="center", color=DARK)
    for row, (kind, parts) in enumerate(KINDS.items()):
        given = (names, words, f"C = {n_classes}")[row]
        found = (names, names, groups)[row]
        _draw_transfer(ax, 0.3 + STRIP * row, kind, parts, images, given, found)
    ax.set(xlim=(0, FULL), ylim=(tall, 0), aspect="equal")
    ax.set_axis_off()
    return fig


def _draw_transfer(ax, top: float, kind: str, parts, images, given, found) -> None:
    """One kind of transfer in a strip: images and what is given, two boxes, the result."""
    color = method_look(parts[0])["color"]
    middle = top + 0.46  # of the images
    ax.axhline(top, color=RULE, linewidth=0.8)
    ax.text(0.08, top + 0.14, kind, fontweight="bold", color=DARK, va="center")
    each = given if not isinstance(given, str) else [""] * len(images)
    _draw_images(ax, COLUMNS[0], middle, images, each)
    _draw_images(ax, COLUMNS[3], middle, images, found)
    words = {"ha": "center", "fontsize": 7, "color": DARK}
    if isinstance(given, str):
        ax.text(COLUMNS[0], middle + 0.26, given, va="center", **words)
    for x, text in ((COLUMNS[0], parts[1]), (COLUMNS[3], parts[4])):
        ax.text(x, middle + 0.36, text, va="top", **words)
    for x, text in zip(COLUMNS[1:3], parts[2:4], strict=True):
        box = {"boxstyle": "round,pad=0.45", "facecolor": "white", "edgecolor": color}
        ax.text(x, middle, text, va="center", bbox=box, **words)
    for end in (2.26, 3.76, 5.24):
        arrow = {"arrowstyle": "->", "color": GREY, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", (end, middle), (end - 0.26, middle), arrowprops=arrow)


def _draw_images(ax, centre: float, middle: float, images, texts: Sequence[str]) -> None:
    """Images side by side, each with a text below."""
    side, step = 0.34, 0.44
    for i, (image, text) in enumerate(zip(images, texts, strict=True)):
        x = centre + (i - (len(images) - 1) / 2) * step
        box = (x - side / 2, x + side / 2, middle + side / 2, middle - side / 2)
        ax.imshow(enlarged(image, 24), extent=box, interpolation="none")
        ax.text(x, middle + 0.26, text, ha="center", va="center", fontsize=7, color=DARK)

"""Figures that show images."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hume_turtle.reporting.style import DARK, FULL, GREY


def plot_images(images: Sequence, *, columns: int = 10) -> Figure:
    """PIL images or arrays, grey or RGB, side by side, `columns` in a row."""
    rows = -(-len(images) // columns)
    size = (0.62 * columns, 0.62 * rows)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="none")
    for ax in axes.flat:
        ax.axis("off")
    for ax, image in zip(axes.flat, images, strict=False):
        ax.imshow(np.asarray(image), cmap="gray", interpolation="nearest")
    fig.subplots_adjust(0, 0, 1, 1, wspace=0.08, hspace=0.08)
    return fig


def plot_clusters(
    images: np.ndarray,
    truth: np.ndarray,
    labels: np.ndarray,
    confidence: np.ndarray,
    class_names: Sequence[str],
) -> Figure:
    """Examples of every found class, most and least confident, beside the confusion matrix.

    An image whose true class is another one has a frame.

    Args:
        images: (n, height, width) or (n, height, width, 3).
        truth: (n,) true classes 0..classes-1.
        labels: (n,) found classes, each with the number of the true class that it matches;
            those that match none have numbers from `classes` on.
        confidence: (n,) the probability of the found class.
        class_names: (classes,) names of the true classes.
    """
    n_found = max(len(class_names), int(labels.max()) + 1)
    confusion = np.zeros((n_found, len(class_names)), int)  # rows of found, columns of true ones
    np.add.at(confusion, (labels, truth), 1)
    sheet, centres, corners = _example_sheet(images, truth, labels, confidence, n_found)
    shape = sheet.shape[1] / sheet.shape[0]
    height = 0.55 * FULL / shape
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(FULL, height + 0.75), width_ratios=(0.56, 0.44), layout="constrained"
    )
    left.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    rows = (np.arange(n_found) + 0.5) * sheet.shape[0] / n_found - 0.5
    left.set(yticks=rows, yticklabels=range(n_found), ylabel="found class")
    left.set(xticks=centres, xticklabels=["most confident", "least confident"])
    left.set_xlabel("framed: images of another true class" if corners else "no image is wrong")
    for (x, y), (width, depth) in corners:
        look = {"fill": False, "edgecolor": DARK, "linewidth": 1.4, "clip_on": False}
        left.add_patch(Rectangle((x, y), width, depth, **look))
    left.xaxis.tick_top()
    left.tick_params(length=0)
    left.grid(False)
    left.spines[:].set_visible(False)
    _draw_confusion(right, confusion, class_names)
    return fig


def _example_sheet(images, truth, labels, confidence, n_found: int, k: int = 6):
    """One picture of all tiles, one row per found class: k most, a gap, k least confident.

    Returns it, in 0..1; the horizontal centres of the two halves, in pixels; and for every tile
    that is wrong the corner and the size of a frame in the white around it.
    """
    tile = images.shape[1:3]
    pad = max(2, tile[0] // 4)
    step = (tile[0] + pad, tile[1] + pad)
    right = k * step[1] + step[1] // 2  # where the second half begins
    span = float(images.max() - images.min()) or 1.0
    sheet, corners = np.ones((n_found * step[0], right + k * step[1], *images.shape[3:])), []
    for c in range(n_found):
        members = np.flatnonzero(labels == c)
        members = members[np.argsort(-confidence[members], kind="stable")]
        most, least = members[:k], members[k:][-k:]  # no image twice
        for start, chosen in ((0, most), (right, least)):
            for j, index in enumerate(chosen):
                top, side = c * step[0] + pad // 2, start + j * step[1] + pad // 2
                picture = (images[index] - images.min()) / span
                sheet[top : top + tile[0], side : side + tile[1]] = picture
                if truth[index] != c:  # pixels are drawn around whole numbers
                    corner = (side - 0.5 - 0.4 * pad, top - 0.5 - 0.4 * pad)
                    corners.append((corner, (tile[1] + 0.8 * pad, tile[0] + 0.8 * pad)))
    half = k * step[1] / 2
    return sheet, (half, right + half), corners


def _draw_confusion(ax, confusion: np.ndarray, class_names: Sequence[str]) -> None:
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)  # rows sum to 1
    texts = np.array([[str(count or "") for count in row] for row in confusion])
    look = {"cmap": "Greys", "vmin": 0, "vmax": 1, "cbar": False, "annot_kws": {"size": 7}}
    many = len(confusion) > 20  # no room for numbers
    seaborn.heatmap(share, ax=ax, annot=None if many else texts, fmt="", square=True, **look)
    long = max(len(str(name)) for name in class_names) > 3
    ax.set_xticks(np.arange(len(class_names)) + 0.5, class_names, rotation=90 if long else 0)
    what = "shade: share of the row" + ("" if many else "; numbers: images")
    ax.set(xlabel="true class", ylabel="found class", title=what)
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color=GREY, linewidth=0.8)

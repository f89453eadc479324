"""Figures that show images."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn
from matplotlib.figure import Figure


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
    labels: np.ndarray,
    confidence: np.ndarray,
    confusion: np.ndarray,
    class_names: Sequence[str],
) -> Figure:
    """Examples of every found class, most and least confident, beside the confusion matrix.

    Args:
        images: (n, height, width) or (n, height, width, 3).
        labels: (n,) found classes 0..C-1.
        confidence: (n,) the probability of the found class.
        confusion: (C, classes) rows of found, columns of true classes, counts; the found classes
            in the order that matches them to true ones (the metrics give it).
        class_names: (classes,) names of the true classes.
    """
    sheet, centres = _example_sheet(images, labels, confidence, len(confusion))
    height = max(3.0, 0.36 * len(confusion))
    widths = height * np.array([sheet.shape[1] / sheet.shape[0], len(class_names) / len(confusion)])
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(widths.sum() + 1.6, height + 1.3), width_ratios=widths, layout="constrained"
    )
    left.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    rows = (np.arange(len(confusion)) + 0.5) * sheet.shape[0] / len(confusion) - 0.5
    left.set(yticks=rows, yticklabels=range(len(rows)), ylabel="found class")
    left.set(xticks=centres, xticklabels=["most confident", "least confident"])
    left.xaxis.tick_top()
    left.tick_params(length=0)
    left.grid(False)
    left.spines[:].set_visible(False)
    _draw_confusion(right, confusion, class_names)
    return fig


def _example_sheet(images, labels, confidence, n_classes: int, k: int = 6):
    """One picture of all tiles, one row per found class: k most, a gap, k least confident.

    Returns it, in 0..1, and the horizontal centres of the two halves, in pixels.
    """
    tile = images.shape[1:3]
    pad = max(1, tile[0] // 8)
    step = (tile[0] + pad, tile[1] + pad)
    right = k * step[1] + step[1] // 2  # where the second half begins
    span = float(images.max() - images.min()) or 1.0
    sheet = np.ones((n_classes * step[0], right + k * step[1], *images.shape[3:]))
    for c in range(n_classes):
        members = np.flatnonzero(labels == c)
        members = members[np.argsort(-confidence[members], kind="stable")]
        most, least = members[:k], members[k:][-k:]  # no image twice
        for start, chosen in ((0, most), (right, least)):
            for j, index in enumerate(chosen):
                top, side = c * step[0] + pad // 2, start + j * step[1] + pad // 2
                picture = (images[index] - images.min()) / span
                sheet[top : top + tile[0], side : side + tile[1]] = picture
    half = k * step[1] / 2
    return sheet, (half, right + half)


def _draw_confusion(ax, confusion: np.ndarray, class_names: Sequence[str]) -> None:
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)  # rows sum to 1
    texts = np.array([[str(count or "") for count in row] for row in confusion])
    look = {"cmap": "Blues", "vmin": 0, "vmax": 1, "cbar": False, "annot_kws": {"size": 8}}
    many = len(confusion) > 20  # no room for numbers
    seaborn.heatmap(share, ax=ax, annot=None if many else texts, fmt="", **look)
    long = max(len(str(name)) for name in class_names) > 3
    ax.set_xticks(np.arange(len(class_names)) + 0.5, class_names, rotation=90 if long else 0)
    ax.set(xlabel="true class", title="confusion matrix (images)")
    ax.grid(False)

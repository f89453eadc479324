"""Found groups as pictures: a row of images for each group, and several groupings side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from hume_turtle.reporting.style import DARK, FULL

GAP = 0.1  # between images, as a share of the distance of their centres
SIDE = 24  # pixels of an image at least: legible, and the file stays small
TEXT = 11  # points: the picture is also read on a phone
ABOVE, BELOW, BETWEEN = 0.26, 0.48, 0.3  # inches: titles, verdicts, from panel to panel


@dataclass(frozen=True)
class Grouping:
    """A grouping of images, as a panel.

    Attributes:
        images: (n, H, W) or (n, H, W, 3) uint8.
        labels: (n,) the group of each image.
        order: the groups from top to bottom.
        title: above the panel.
        verdict: below it, at most two short lines.
    """

    images: np.ndarray
    labels: np.ndarray
    order: Sequence[int]
    title: str = ""
    verdict: str = ""

    def rows(self, count: int) -> list[np.ndarray]:
        """The first `count` images of each group."""
        return [np.flatnonzero(self.labels == group)[:count] for group in self.order]


def plot_groupings(groupings: Sequence[Grouping], per_row: int = 8) -> Figure:
    """A contact sheet for each grouping, side by side: the first images of each group in a row."""
    width = (FULL - BETWEEN * (len(groupings) - 1)) / len(groupings)
    most = max(len(grouping.order) for grouping in groupings)
    below = BELOW if any(grouping.verdict for grouping in groupings) else 0
    tall = ABOVE + width * (most - GAP) / (per_row - GAP) + below
    fig = plt.figure(figsize=(FULL, tall))
    for k, grouping in enumerate(groupings):
        height = width * (len(grouping.order) - GAP) / (per_row - GAP)
        left, bottom = k * (width + BETWEEN), tall - ABOVE - height
        ax = fig.add_axes((left / FULL, bottom / tall, width / FULL, height / tall))
        sheet = image_rows(grouping.images, grouping.rows(per_row), per_row)
        ax.imshow(sheet, interpolation="none", aspect="auto")
        ax.set_axis_off()
        ax.set_title(grouping.title, fontsize=TEXT, fontweight="bold", color=DARK)
        look = {"ha": "center", "va": "top", "fontsize": TEXT, "color": DARK, "linespacing": 1.35}
        ax.text(0.5, -0.08 / height, grouping.verdict, transform=ax.transAxes, **look)
    return fig


def plot_rows(images: np.ndarray, rows: Sequence[Sequence[int]]) -> Figure:
    """Rows of images across the page; `rows` are their indices in images (n, H, W[, 3]) uint8."""
    sheet = image_rows(images, rows, max(map(len, rows)))
    fig = plt.figure(figsize=(FULL, FULL * sheet.shape[0] / sheet.shape[1]))
    ax = fig.add_axes((0, 0, 1, 1))
    ax.imshow(sheet, interpolation="none", aspect="auto")
    ax.set_axis_off()
    return fig


def image_rows(images: np.ndarray, rows: Sequence[Sequence[int]], per_row: int) -> np.ndarray:
    """One picture of images in rows, on white: uint8 (height, width, 3).

    A row with fewer than `per_row` images stays white at its end. Small images are enlarged
    smoothly, as a person reads an 8 x 8 digit better so.
    """
    side = max(SIDE, *images.shape[1:3])
    step = round(side / (1 - GAP))
    gap = step - side
    sheet = np.full((len(rows) * step - gap, per_row * step - gap, 3), 255, np.uint8)
    for row, indices in enumerate(rows):
        for column, index in enumerate(indices):
            top, left = row * step, column * step
            sheet[top : top + side, left : left + side] = enlarged(images[index], side)
    return sheet


def enlarged(image: np.ndarray, side: int) -> np.ndarray:
    """An image (H, W) or (H, W, 3) uint8 as (side, side, 3), smoothly."""
    picture = Image.fromarray(image).convert("RGB")
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))


def order_groups(labels, values) -> list[int]:
    """The groups of `labels` (n,) by their most frequent value of `values` (n,), integers from 0.

    Groups with the same one stand together, the purest first.
    """
    labels, values = np.asarray(labels), np.asarray(values)
    keys = {}
    for group in np.unique(labels):
        counts = np.bincount(values[labels == group])
        keys[int(group)] = (counts.argmax(), -counts.max() / counts.sum())
    return sorted(keys, key=keys.get)


def purity(labels, values) -> float:
    """Share of images whose value is the most frequent one of their group; both (n,) integers."""
    labels, values = np.asarray(labels), np.asarray(values)
    common = (np.bincount(values[labels == group]).max() for group in np.unique(labels))
    return int(sum(common)) / len(labels)

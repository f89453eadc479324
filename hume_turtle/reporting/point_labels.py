"""Names beside points, where they cover least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIZE = 7.5  # of the names, points
RADII = (11, 16, 24, 34, 46, 60)  # pixels from a point to the nearest corner or edge of its name
DIRECTIONS = np.exp(2j * np.pi * np.arange(16) / 16)


def label_points(ax, x: np.ndarray, y: np.ndarray, names: Sequence[str], color="#222222") -> None:
    """Write each name near its point: the nearest place that covers least of what is there.

    Names that are not close get a thin line to their point. Call it last: the limits of the axes
    and the size of the figure have to stay as they are.
    """
    from matplotlib.transforms import Bbox

    ax.figure.canvas.draw()  # the layout, and so pixels, are known only once it is drawn
    renderer = ax.figure.canvas.get_renderer()
    points = ax.transData.transform(np.column_stack([x, y]))  # (n, 2) pixels
    taken = [Bbox.from_bounds(px - 5, py - 5, 10, 10) for px, py in points]
    to_axes = ax.transAxes.inverted().transform
    for point, name in zip(points, names, strict=True):
        text = ax.text(0, 0, name, fontsize=SIZE, color=color, zorder=4, transform=ax.transAxes)
        size = text.get_window_extent(renderer).size
        box, far = _best_place(point, size, taken, ax.get_window_extent(renderer))
        text.set_position(to_axes(box.min))
        if far > RADII[0]:
            middle = np.clip(point, box.min, box.max)  # the nearest point of the box
            ends = to_axes(np.vstack([point, middle]))
            ax.plot(*ends.T, color=color, linewidth=0.5, alpha=0.6, transform=ax.transAxes)
        taken.append(box)


def _best_place(point: np.ndarray, size: np.ndarray, taken: list, frame):
    """The box for a name of this size that overlaps least, the nearest of equals; how far it is."""
    from matplotlib.transforms import Bbox

    options = []
    for far in RADII:
        for way in DIRECTIONS:
            way = np.array([way.real, way.imag])
            box = Bbox.from_bounds(*(point + far * way + (way - 1) / 2 * size), *size)
            outside = not (frame.contains(*box.min) and frame.contains(*box.max))
            covered = sum(_overlap(box, other) for other in taken)
            options.append((covered + 1e4 * outside + far, far, box))
    _, far, box = min(options, key=lambda option: option[0])
    return box, far


def _overlap(one, other) -> float:
    """Square pixels that two boxes share."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(0.0, width) * max(0.0, height)

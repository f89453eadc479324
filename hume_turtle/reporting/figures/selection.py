"""Settings chosen without labels: the generalization score against cluster accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hume_turtle.reporting.figures.correlation import pearson_and_spearman
from hume_turtle.reporting.names import spaces_name
from hume_turtle.reporting.style import (
    DARK,
    FULL,
    GREY,
    legend_above,
    legend_entry,
    method_look,
    panels,
)

STARTS = {True: ("warm start", "o"), False: ("cold start", "^")}  # both in TURTLE's colour
NEAR = 2.0  # percentage points of score below the best that the panel on the right shows


def plot_selection(frame: pd.DataFrame) -> Figure:
    """Generalization score against cluster accuracy over a grid of settings, one point per fit.

    One row for each dataset and space combination: all fits with the two correlations, and those
    near the highest score. A ring marks the highest score, of equals the first: the fit that is
    chosen without labels. A cross marks the fit that the score misjudges most (`misjudged`).

    Args:
        frame: one row per fit, with columns `dataset`, `spaces`, `generalization_score` and
            `cluster_accuracy` (fractions), and `warm_start`.
    """
    groups = list(frame.groupby(["dataset", "spaces"], sort=False))
    fig, axes = panels(2 * len(groups), (FULL, 2.7 * len(groups)), 2)
    for i, ((dataset, spaces), rows) in enumerate(groups):
        whole, near = axes[2 * i : 2 * i + 2]
        _draw_fits(whole, rows)
        _draw_fits(near, rows)
        _show_the_best(near, rows)
        correlation = correlations(rows["generalization_score"], rows["cluster_accuracy"])
        whole.set_title(f"{dataset}, {spaces_name(spaces)}: {correlation}", loc="left")
        near.set_title("the highest scores", loc="left")
    color = method_look("turtle")["color"]
    entries = [legend_entry(name, color, marker, markersize=5) for name, marker in STARTS.values()]
    entries.append(
        legend_entry("chosen, without labels", DARK, "o", fillstyle="none", markersize=9)
    )
    entries.append(legend_entry("misjudged most", DARK, "x", markersize=6))
    legend_above(fig, entries)
    return fig


def correlations(score, accuracy) -> str:
    """Spearman's and Pearson's correlation of (m,) and (m,), in words."""
    r, rho = pearson_and_spearman(score, accuracy)
    if np.isnan(r):
        return f"{len(score)} fits, too few for a correlation"
    return f"Spearman's ρ = {rho:.2f}, Pearson's r = {r:.2f}".replace("-", "−")


def misjudged(score: np.ndarray, accuracy: np.ndarray) -> tuple[int, float]:
    """The fit that is farthest behind one of lower score, and by how much.

    Scores and accuracies are (m,). The distance is 0 where accuracy rises with the score.
    """
    lower = score[None, :] < score[:, None]  # (m, m): does the column score lower than the row?
    behind = np.where(lower, accuracy[None, :] - accuracy[:, None], 0.0).max(1)
    return int(np.argmax(behind)), float(behind.max())


def _draw_fits(ax, rows: pd.DataFrame) -> None:
    """All fits of one dataset in one space combination, in percent."""
    score = 100 * rows["generalization_score"].to_numpy()
    accuracy = 100 * rows["cluster_accuracy"].to_numpy()
    warm = rows["warm_start"].to_numpy(bool)
    color = method_look("turtle")["color"]
    for start, (_, marker) in STARTS.items():
        at = warm == start
        look = {"s": 24, "color": color, "marker": marker, "alpha": 0.8, "linewidth": 0}
        ax.scatter(score[at], accuracy[at], **look)
    best = int(np.argmax(score))
    ring = {"s": 90, "facecolor": "none", "edgecolor": DARK, "linewidth": 1.2}
    ax.scatter(score[best], accuracy[best], **ring, label="chosen")
    worst, behind = misjudged(score, accuracy)
    if behind > 0:
        ax.scatter(score[worst], accuracy[worst], s=30, marker="x", color=DARK, label="misjudged")
        _write(ax, score[worst], accuracy[worst], (7, -3), "left")
    ax.set(xlabel="generalization score (%)", ylabel="cluster accuracy (%)")


def _show_the_best(ax, rows: pd.DataFrame) -> None:
    """Limit a panel to the fits near the highest score, and write the chosen one's numbers."""
    score = 100 * rows["generalization_score"].to_numpy()
    accuracy = 100 * rows["cluster_accuracy"].to_numpy()
    best, near = int(np.argmax(score)), score >= score.max() - NEAR
    room = max(0.5, 0.25 * np.ptp(accuracy[near]))
    ax.set_xlim(score.max() - NEAR - 0.1, score.max() + 0.3)
    ax.set_ylim(accuracy[near].min() - room, accuracy[near].max() + room)
    _write(ax, score[best], accuracy[best], (-8, 6), "right")


def _write(ax, score: float, accuracy: float, offset: tuple[int, int], side: str) -> None:
    """Write the two numbers of a point beside it; `offset` in points, `side` as matplotlib's ha."""
    place = {"xytext": offset, "textcoords": "offset points", "ha": side, "annotation_clip": True}
    ax.annotate(f"{score:.1f}, {accuracy:.1f}", (score, accuracy), fontsize=7, color=GREY, **place)

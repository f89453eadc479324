"""What each setting of TURTLE is worth: one panel for each, all others as usual."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hume_turtle.reporting.style import DARK, FULL, RULE, legend_above, method_look


def plot_ablations(frame: pd.DataFrame) -> Figure:
    """Cluster accuracy and, without labels, the generalization score: mean and std over seeds.

    A column of panels for each setting; a grey band marks its usual value.

    Args:
        frame: one row per fit, with columns `ablation`, what is changed; `value`, to what, as
            text; `usual`, whether that is its usual value; `cluster_accuracy` and
            `generalization_score` (fractions).
    """
    groups = list(frame.groupby("ablation", sort=False))
    widths = [1 + group["value"].nunique() for _, group in groups]
    shared = {"width_ratios": widths, "sharey": "row", "sharex": "col", "squeeze": False}
    fig, axes = plt.subplots(2, len(groups), figsize=(FULL, 3.9), layout="constrained", **shared)
    looks = (method_look("turtle"), {"color": DARK, "marker": "s"})
    for column, (name, group) in zip(axes.T, groups):
        for ax, quantity, look in zip(column, ("cluster_accuracy", "generalization_score"), looks):
            draw_means(ax, group, quantity, look)
        column[0].set_title(name)
    axes[0, 0].set_ylabel("cluster\naccuracy (%)")
    axes[1, 0].set_ylabel("generalization\nscore (%)")
    legend_above(fig, [Patch(color=RULE, label="usual value; the others as usual")])
    return fig


def draw_means(ax, group: pd.DataFrame, quantity: str, look: dict) -> None:
    """Mean and std in percent over the rows of each `value`, in the order of the rows."""
    values = list(dict.fromkeys(group["value"]))
    usual = dict(zip(group["value"], group["usual"]))
    percent = [100 * group.loc[group["value"] == value, quantity] for value in values]
    mean, std = [part.mean() for part in percent], [part.std(ddof=0) for part in percent]
    at = np.arange(len(values))
    for place in at[[bool(usual[value]) for value in values]]:
        ax.axvspan(place - 0.4, place + 0.4, color=RULE, linewidth=0, zorder=0)
    ax.errorbar(at, mean, std, **look, linestyle="", markersize=4, capsize=2, elinewidth=1)
    ax.set_xticks(at, values, rotation=90 if max(map(len, values)) > 4 else 0)
    ax.set_xlim(-0.6, len(values) - 0.4)
    ax.grid(axis="x", visible=False)

"""How far to trust a labeling and its number of classes, and what it is worth in labels."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hume_turtle.reporting.names import method_name, spaces_name
from hume_turtle.reporting.style import (
    CLASS_LOOKS,
    DARK,
    FULL,
    GREY,
    HALF,
    legend_above,
    method_look,
    panels,
    plain_ticks,
)

DASHES = ("-", "--", ":", "-.")  # lines of one method
STRETCHED = (0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)  # ticks of the learning curve's accuracy
INSIDE = (0.002, 0.998)  # what a logit axis shows


def plot_calibration(curves: Mapping[tuple[str, str], pd.DataFrame]) -> Figure:
    """The share of rows that are right over their confidence, with the diagonal.

    The area of a pale marker is in proportion to the rows that it stands for.

    Args:
        curves: (method, what was labelled) to a `calibration_curve`. The method gives the colour
            and the marker; what was labelled gives the line style.
    """
    fig, ax = plt.subplots(figsize=(HALF, 3.5), layout="constrained")
    ax.plot([0, 100], [0, 100], color=GREY, linewidth=0.8)
    seen = []  # methods, as often as they have lines
    for (method, what), curve in curves.items():
        look, style = method_look(method), DASHES[seen.count(method) % len(DASHES)]
        seen.append(method)
        x, y = 100 * curve["confidence"], 100 * curve["right"]
        name = f"{method_name(method)}, {what}"
        ax.plot(x, y, **look, markersize=3, linestyle=style, label=name)
        area = 250 * curve["rows"] / curve["rows"].sum()
        ax.scatter(x, y, area, **look, alpha=0.35, linewidth=0, clip_on=False)
    ax.text(36, 93, "underconfident", color=GREY, ha="center")
    ax.text(85, 5, "overconfident", color=GREY, ha="center")
    ax.set(xlabel="confidence (%)", ylabel="share that is right (%)")
    ax.set(xlim=(0, 104), ylim=(-3, 104), xticks=range(0, 101, 20))
    legend_above(fig, ncols=1, handlelength=2.6)
    return fig


def plot_learning_curve(
    curve: pd.DataFrame, levels: pd.DataFrame, reached: Mapping[str, np.ndarray]
) -> Figure:
    """A probe's accuracy over the labels that it is given, crossing lines that were given none.

    One panel for each space combination. Bands reach from the lowest to the highest seed; the axis
    of accuracy is stretched towards 100 % (logit), where the lines cross.

    Args:
        curve: every `learning_curve`, fractions, with columns `spaces` and `choice` before its own:
            how the probe's C was chosen. The first choice has a solid line and the band.
        levels: cluster accuracies of methods without labels, as fractions: spaces, method, seed and
            accuracy. A method's line is the mean over seeds.
        reached: spaces -> (seeds,) the numbers of labels where the first choice overtakes TURTLE;
            a grey span from the smallest to the largest, NaN for none.
    """
    names = list(dict.fromkeys(curve["spaces"]))
    fig, axes = panels(len(names), (FULL, 3.0), sharey=True)
    for ax, spaces in zip(axes, names, strict=True):
        _draw_probe(ax, curve[curve["spaces"] == spaces])
        for method, rows in levels[levels["spaces"] == spaces].groupby("method", sort=False):
            _draw_level(ax, method, rows["accuracy"])
        low, high = np.min(reached[spaces]), np.max(reached[spaces])
        if np.isfinite(low + high):
            ax.axvspan(low, high, color=GREY, alpha=0.25, linewidth=0, zorder=0)
            text = f"the probe overtakes TURTLE\nat {low:.0f} to {high:.0f} labels"
            place = {"transform": ax.transAxes, "ha": "right", "va": "bottom"}
            ax.text(0.98, 0.03, text, color=DARK, fontsize=7, **place)
        ax.set(title=spaces_name(spaces), xlabel="labels given to the probe", xscale="log")
        ax.set(yscale="logit")
        plain_ticks(ax.xaxis, sorted(set(curve["labels"])))
        plain_ticks(ax.yaxis, STRETCHED, scale=100)
    axes[0].set(ylabel="accuracy on the test split (%)", ylim=(0.08, 0.998))
    legend_above(fig)
    return fig


def _draw_probe(ax, curve: pd.DataFrame) -> None:
    """The probe's lines, one for each choice of its C, and the band of the first."""
    look = method_look("linear-probe")
    for i, (choice, rows) in enumerate(curve.groupby("choice", sort=False)):
        over_seeds = rows.groupby("labels")["accuracy"].agg(["mean", "min", "max"]).clip(*INSIDE)
        if i == 0:
            edges = over_seeds.index, over_seeds["min"], over_seeds["max"]
            ax.fill_between(*edges, color=look["color"], alpha=0.18, linewidth=0)
        style = {"linestyle": DASHES[i % len(DASHES)], "markersize": 4 if i == 0 else 0}
        name = f"{method_name('linear-probe')}, {choice}"
        ax.plot(over_seeds["mean"], **look, **style, label=name)


def _draw_level(ax, method: str, accuracy: pd.Series) -> None:
    """The line of a method that is given no label, and its band."""
    color = method_look(method)["color"]
    style = "-" if method == "turtle" else (0, (5, 1, 1, 1))
    low, mean, high = np.clip([accuracy.min(), accuracy.mean(), accuracy.max()], *INSIDE)
    ax.axhline(mean, color=color, linestyle=style, label=method_name(method))
    ax.axhspan(low, high, color=color, alpha=0.18, linewidth=0)


def plot_signs(table: pd.DataFrame, signs: Mapping[str, str]) -> Figure:
    """What a person sees without labels against cluster accuracy, a point for each labeling.

    One panel for each sign, with Spearman's correlation; a marker for each dataset.

    Args:
        table: one row per labeling: dataset, cluster_accuracy and the signs, all fractions.
        signs: column -> what the axis says.
    """
    fig, axes = panels(len(signs), (FULL, 2.7), sharey=True)
    for ax, (column, text) in zip(axes, signs.items(), strict=True):
        for look, (dataset, rows) in zip(CLASS_LOOKS, table.groupby("dataset", sort=False)):
            x, y = 100 * rows[column], 100 * rows["cluster_accuracy"]
            ax.scatter(x, y, 24, **look, linewidth=0.8, label=dataset)
        rank = table[[column, "cluster_accuracy"]].corr("spearman").iloc[0, 1]
        title = f"Spearman's correlation {rank:.2f}".replace("-", "−")
        ax.set(xlabel=f"{text} (%)", title=title)
    axes[0].set(ylabel="cluster accuracy (%)", ylim=(0, 103))
    legend_above(fig)
    return fig

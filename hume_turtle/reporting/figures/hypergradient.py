"""The gradient through an inner training: on which rows it falls, and how soon it is right."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hume_turtle.reporting.names import method_name
from hume_turtle.reporting.style import DARK, FULL, GREY, legend_above, method_look, panels

GRADIENTS = {"unrolled": "-", "first-order": "--"}


def plot_label_gradients(gradients: dict[str, np.ndarray], n_train: int) -> Figure:
    """The gradient by each row's label, a panel for each way to compute it.

    Args:
        gradients: name -> (n,), the derivative by the first class's label less that by the second.
        n_train: number of rows, of which the first train the head and the others test it.
    """
    fig, axes = panels(len(gradients), (FULL, 0.5 + 1.15 * len(gradients)), 1, sharex=True)
    for ax, (name, values) in zip(axes, gradients.items(), strict=True):
        for rows, color in ((slice(n_train), GREY), (slice(n_train, None), DARK)):
            at = np.arange(1, len(values) + 1)[rows]
            ax.vlines(at, 0, np.asarray(values)[rows], color=color, linewidth=1.6)
        ax.axhline(0, color=DARK, linewidth=0.6)
        ax.axvline(n_train + 0.5, color=GREY, linewidth=0.8, linestyle=":")
        reach = 1.15 * max(np.abs(values).max() for values in gradients.values())
        ax.set(ylabel=name, xlim=(0, len(values) + 1), ylim=(-reach, reach))
        ax.grid(axis="x", visible=False)
    for x, text, ha in ((n_train - 0.5, "training rows", "right"), (n_train + 1.5, "test", "left")):
        axes[0].text(x, axes[0].get_ylim()[0], text, ha=ha, va="bottom", fontsize=7, color=DARK)
    axes[-1].set_xlabel("row")
    fig.align_ylabels()
    return fig


def plot_cosines(table: pd.DataFrame) -> Figure:
    """Cosine similarity to the exact gradient over the number of inner steps, a panel a dataset.

    The colour is the method whose loss it is, the line how its gradient is computed. Several draws
    are drawn faintly, their mean boldly.

    Args:
        table: columns data, method, gradient ("unrolled" or "first-order"), draw, steps and cosine.
    """
    data = list(dict.fromkeys(table["data"]))
    fig, axes = panels(len(data), (FULL, 2.9), sharey=True)
    for ax, name in zip(axes, data, strict=True):
        here = table[table["data"] == name]
        for (method, gradient), rows in here.groupby(["method", "gradient"], sort=False):
            curves = rows.pivot(index="steps", columns="draw", values="cosine")
            look = {"color": method_look(method)["color"], "linestyle": GRADIENTS[gradient]}
            if curves.shape[1] > 1:
                ax.plot(curves.index, curves, linewidth=0.7, alpha=0.3, **look)
            label = f"{method_name(method)}'s loss, {gradient}"
            marker = method_look(method)["marker"]
            ax.plot(curves.index, curves.mean(axis=1), marker=marker, label=label, **look)
        ax.set(xscale="log", xlabel="inner steps M", title=name)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter("")
    axes[0].set(ylabel="cosine to the exact gradient", ylim=(min(0, table["cosine"].min()), 1.03))
    legend_above(fig, ncols=2, handlelength=2.6)
    return fig


def plot_slopes(angles, slopes: dict[str, np.ndarray]) -> Figure:
    """The slope of a loss over the one angle of a task encoder, as each gradient has it.

    Args:
        angles: (A,) degrees.
        slopes: what it is -> (A,) nats a degree: first the true one, a line, then estimates.
    """
    fig, (ax,) = panels(1, (FULL, 2.6))
    looks = (
        {"color": GREY, "linewidth": 4, "alpha": 0.5},
        {"color": DARK, "linewidth": 1.2},
        {"color": DARK, "linestyle": "--"},
    )
    for (name, values), look in zip(slopes.items(), looks, strict=True):
        ax.plot(angles, values, label=name, **look)
    ax.axhline(0, color=DARK, linewidth=0.6)
    ax.set(xlabel="angle α of the task encoder (degrees)", ylabel="slope (nats per degree)")
    ax.set(xlim=(min(angles), max(angles)), xticks=range(-45, 136, 45))
    legend_above(fig, ncols=3)
    return fig

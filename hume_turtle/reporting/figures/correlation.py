"""What a method minimises against cluster accuracy, over many labelings."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import pearsonr, spearmanr

from hume_turtle.reporting.names import METHOD_NAMES, family, method_name
from hume_turtle.reporting.style import DARK, FULL, GREY, RULE, legend_above, method_look, panels

TRUE = "true labels"
MADE = ("x", "+", "1", "2", "3")  # labelings that no method found: grey, and thin
MADE_SHADES = (DARK, GREY)


def pearson_and_spearman(x, y) -> tuple[float, float]:
    """Pearson's r and Spearman's ρ of points (m,); NaN where there are too few distinct ones."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan, np.nan
    return float(pearsonr(x, y).statistic), float(spearmanr(x, y).statistic)


def plot_correlation(objective, accuracy, groups, *, xlabel: str, good: float) -> Figure:
    """An objective against cluster accuracy, one point per labeling: all, and the good ones.

    Args:
        objective: (m,) values the method minimises.
        accuracy: (m,) cluster accuracies, fractions.
        groups: (m,) where each labeling is from. A method, or a variant of one, has its colour;
            variants are hollow. `true labels` is a star; all others are grey.
        xlabel: what the objective is.
        good: the right panel shows objectives up to this.
    """
    objective, accuracy = np.asarray(objective, dtype=float), 100 * np.asarray(accuracy)
    groups = np.asarray(groups)
    fig, axes = panels(2, (FULL, 3.7))
    regions = ("all", np.full(len(objective), True)), ("enlarged", objective <= good)
    for ax, (name, shown) in zip(axes, regions, strict=True):
        for group, look in group_looks(groups).items():
            chosen = shown & (groups == group)
            ax.plot(objective[chosen], accuracy[chosen], label=method_name(group), **look)
        r, rho = pearson_and_spearman(objective[shown], accuracy[shown])
        numbers = f"r = {r:.2f}, ρ = {rho:.2f}" if np.isfinite(r) else "too few for a correlation"
        title = f"{name}: {shown.sum()} labelings, {numbers}"
        ax.set(xlabel=xlabel, title=title.replace("-", "−"))
    axes[0].axvspan(axes[0].get_xlim()[0], good, color=RULE, alpha=0.6, zorder=0, linewidth=0)
    axes[0].set_ylabel("cluster accuracy (%)")
    legend_above(fig, ncols=4)
    return fig


def group_looks(groups) -> dict[str, dict]:
    """For each distinct group the options of `plot`: methods first, the true labels on top."""
    names = list(dict.fromkeys(groups))
    methods = sorted(name for name in names if family(name) in METHOD_NAMES)
    made = [name for name in names if name not in methods and name != TRUE]
    looks: dict[str, dict] = {}
    for name in methods:
        look = {"markersize": 4.5, "markeredgewidth": 0.9, **method_look(name)}
        hollow = {"markerfacecolor": "white"} if name != family(name) else {}
        looks[name] = {"linestyle": "", "zorder": 3, **look, **hollow}
    for i, name in enumerate(made):
        look = {"color": MADE_SHADES[i % 2], "marker": MADE[i % len(MADE)], "markersize": 5.5}
        looks[name] = {"linestyle": "", "zorder": 2, **look}
    if TRUE in names:
        star = {"marker": "*", "markersize": 11, "color": DARK, "markeredgecolor": "white"}
        looks[TRUE] = {"linestyle": "", "zorder": 4, **star}
    return looks

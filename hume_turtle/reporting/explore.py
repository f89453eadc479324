"""Pictures that depend on one number: a slider for a person, a film strip for everyone else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from hume_turtle.reporting.style import FULL, panels

HEADLESS = "HUME_TURTLE_HEADLESS"  # set for the notebooks that papermill executes


def film_strip(
    draw: Callable[[Any, Any], None],
    values: Sequence,
    *,
    columns: int = 4,
    aspect: float = 1.0,
    **shared,
) -> Figure:
    """One panel for each value, side by side.

    Args:
        draw: `draw(ax, value)` draws one panel.
        values: a panel each.
        columns: panels in a row.
        aspect: height of a panel by its width.
        shared: `sharex` and `sharey` of matplotlib's subplots.
    """
    columns = min(columns, len(values))
    rows = -(-len(values) // columns)
    fig, axes = panels(len(values), (FULL, FULL / columns * aspect * rows), columns, **shared)
    for ax, value in zip(axes, values, strict=True):
        draw(ax, value)
    return fig


def explore(
    draw: Callable[[Any, Any], None],
    values: Sequence,
    name: str,
    *,
    size: tuple[float, float] = (3.4, 3.4),
) -> None:
    """A slider over `values`, called `name`, which redraws one panel; nothing without a person.

    It needs a running kernel, so a page or a file shows the film strip that stands beside it.
    """
    if os.environ.get(HEADLESS):
        return
    from ipywidgets import SelectionSlider, interact

    def show(value) -> None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
        draw(ax, value)
        plt.show()

    interact(show, value=SelectionSlider(options=list(values), description=name))

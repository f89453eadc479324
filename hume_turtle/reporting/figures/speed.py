"""How an outer iteration grows with the problem."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from hume_turtle.reporting.names import method_name
from hume_turtle.reporting.style import GREY, MARKERS, legend_above, method_look, note, panels

AXES = {"n": "rows n", "d": "dimensions d", "C": "classes C", "runs": "batched runs"}


def plot_growth(frame: pd.DataFrame) -> Figure:
    """Seconds per outer iteration as n, d, C and the batched runs grow, one panel each.

    Both axes are logarithmic: a straight line of slope one doubles with what grows. A line is a
    method on one hardware; the reference is grey.

    Args:
        frame: columns `axis` (n, d, C or runs), `value`, `method`, `seconds`, `hardware`. An axis
            without rows is drawn as not measured.
    """
    machines = list(dict.fromkeys(frame["hardware"]))
    fig, axes = panels(len(AXES), (11.0, 3.2), sharey=True)
    for ax, (axis, label) in zip(axes, AXES.items(), strict=True):
        rows = frame[frame["axis"] == axis].sort_values("value", kind="stable")
        for (hardware, method), line in rows.groupby(["hardware", "method"], sort=False):
            name = method_name(method)
            ax.plot(
                line["value"],
                line["seconds"],
                color=GREY if method == "reference" else method_look(method)["color"],
                marker=MARKERS[machines.index(hardware) % len(MARKERS)],
                markersize=5,
                label=name if len(machines) == 1 else f"{name}, {hardware}",
            )
        ax.set(xlabel=label)
        if rows.empty:
            note(ax, "not measured")
            ax.tick_params(which="both", length=0, labelleft=False, labelbottom=False)
        else:
            ax.set(xscale="log", yscale="log")
    axes[0].set_ylabel("seconds per outer iteration")
    legend_above(fig, ncols=4 if len(machines) == 1 else 1)  # a name of hardware is long
    return fig

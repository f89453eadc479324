"""How much faster than the plain reference, and how that depends on the size of the problem."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from hume_turtle.reporting.style import (
    FULL,
    GREY,
    MARKERS,
    legend_above,
    method_look,
    note,
    panels,
    plain_ticks,
)

AXES = {"n": "rows n", "d": "dimensions d", "C": "classes C", "runs": "batched runs"}
# What stays the same while one of them grows, as `benchmarks.cases.growth_cases` has it.
FIXED = {"n": 4000, "d": 256, "C": 10, "runs": 1}
LINE_STYLES = ("-", "--", ":", "-.")


def speedup(frame: pd.DataFrame) -> pd.DataFrame:
    """The reference's seconds by ours, for every size and hardware.

    Args:
        frame: columns `axis` (n, d, C or runs), `value`, `method` ("reference" or "turtle"),
            `seconds`, `hardware`.

    Returns:
        DataFrame: hardware (in the order of the frame), axis, value, ratio.
    """
    keys = ["hardware", "axis", "value"]
    wide = frame.pivot_table("seconds", keys, "method", sort=False)
    wide = wide.reindex(columns=["reference", "turtle"]).astype(float)
    return (wide["reference"] / wide["turtle"]).rename("ratio").dropna().reset_index()


def plot_growth(frame: pd.DataFrame) -> Figure:
    """How many times as fast as the reference an outer iteration of TURTLE is, by its size.

    A panel for each of n, d, C and the batched runs; below each stands what the others are. A line
    is a machine; the grey line at 1 is the reference. All axes are logarithmic.

    Args:
        frame: see `speedup`. An axis without rows is drawn as not measured.
    """
    ratios = speedup(frame)
    machines = list(dict.fromkeys(frame["hardware"]))
    fig, axes = panels(len(AXES), (FULL, 2.3 + 0.14 * len(machines)), sharey=True)
    for ax, (axis, label) in zip(axes, AXES.items(), strict=True):
        rows = ratios[ratios["axis"] == axis].sort_values("value", kind="stable")
        for hardware, line in rows.groupby("hardware", sort=False):
            i = machines.index(hardware)
            look = {"marker": MARKERS[i % len(MARKERS)], "linestyle": LINE_STYLES[i % 4]}
            look["color"] = method_look("turtle")["color"]
            ax.plot(line["value"], line["ratio"], label=hardware, **look)
        _set_growth_axis(ax, axis, label, rows)
    axes[0].set_ylabel("times as fast as the reference")
    legend_above(fig, ncols=1, handlelength=2.6)  # a name of hardware is long
    return fig


def _set_growth_axis(ax, axis: str, label: str, rows: pd.DataFrame) -> None:
    others = [f"{key} = {value}" for key, value in FIXED.items() if key not in (axis, "runs")]
    others += [] if axis == "runs" else ["1 run"]
    ax.set_xlabel(f"{label}\n({', '.join(others)})")
    if rows.empty:
        note(ax, "not measured")
        ax.tick_params(which="both", length=0, labelleft=False, labelbottom=False)
        return
    ax.axhline(1, color=GREY, linewidth=0.8)
    ax.set(xscale="log", yscale="log")
    plain_ticks(ax.xaxis, sorted(set(rows["value"])))
    plain_ticks(ax.yaxis, [2.0**k for k in range(-4, 11)])

"""What the report draws with Bokeh: a map of the rows, and what speaks for each number of classes.

The page gets the models as JSON and Bokeh's own script draws them. Models that the page fills or
listens to have a name.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
from bokeh.embed import json_item
from bokeh.layouts import column
from bokeh.models import (
    CDSView,
    Column,
    ColumnDataSource,
    HoverTool,
    IndexFilter,
    InlineStyleSheet,
    LinearColorMapper,
    Model,
    Range1d,
    Span,
    TapTool,
)
from bokeh.plotting import figure

from hume_turtle.reporting.style import COLOURS, DARK, GREY, RULE

# Okabe and Ito's colours without black, then colours as far as possible from those before them in
# OKLab, to eyes that see all colours, no red and no green alike. The tenth is 0.1 from any other.
PALETTE = (
    *COLOURS[:4], "#E69F00", "#56B4E9", "#800000", "#1A4073", "#0000FF", "#735959",
    "#008CFF", "#B3BFA6", "#6600B3", "#BF0026", "#BF2699", "#D940E6", "#FF4D66", "#730D59",
    "#33661A", "#59CC66", "#4D4DCC", "#FF80CC", "#598C1A", "#73B38C", "#6680BF", "#4000D9",
    "#80008C", "#335973", "#80334D", "#8C99FF", "#E60DB3", "#A65973", "#99664D", "#993380",
    "#A6804D", "#00BFBF", "#8C33FF", "#FFA673", "#A69926", "#7366CC",
)  # fmt: skip
# A column of the curve and which end is the good one.
CURVES = {
    "unexplained": "lower is better",
    "dip": "higher is clearer",
    "agreement": "higher is better",
}
TOOLS = "pan,wheel_zoom,box_zoom,zoom_in,zoom_out,reset"
FINGER = "@media (pointer: coarse) { :host { --button-width: 40px; --button-height: 40px; } }"


def as_json(plots: dict[str, Model]) -> dict:
    """Plots for the elements of the page that have these ids.

    Bokeh numbers all models of a process; here they are numbered in the order of appearance, so
    that the same plots are the same text.
    """
    text = json.dumps({name: json_item(plot, name) for name, plot in plots.items()})
    numbers: dict[str, str] = {}
    return json.loads(
        re.sub(r'"p\d+"', lambda id: numbers.setdefault(id[0], f'"p{len(numbers)}"'), text)
    )


# The map


def draw_map(points: np.ndarray, labels: np.ndarray) -> figure:
    """Rows (n, 2) as points, without data: the page puts in what it has anyway."""
    plot = _canvas(points)
    n, top = len(labels), int(labels.max()) + 1
    colours = [PALETTE[c % len(PALETTE)] for c in range(top)]
    colour = LinearColorMapper(palette=colours, low=-0.5, high=top - 0.5)
    rows = ColumnDataSource({"x": [], "y": [], "label": []}, name="rows")
    look = {"source": rows, "size": float(np.clip(60 / n**0.3, 2.5, 12)), "line_color": None}
    plot.scatter(name="others", visible=False, fill_color="#D9D9D9", **look)
    shown = plot.scatter(
        view=CDSView(filter=IndexFilter(indices=None, name="filter")),
        fill_color={"field": "label", "transform": colour},
        fill_alpha=float(np.clip(4 / n**0.2, 0.55, 0.9)),
        **look,
    )
    shown.nonselection_glyph = shown.selection_glyph = None
    plot.add_tools(TapTool(renderers=[shown]))
    plot.add_tools(HoverTool(renderers=[shown], tooltips=None, visible=False))
    _add_ring(plot)
    _add_names(plot, points, labels)
    return plot


def _canvas(points: np.ndarray) -> figure:
    """A plot for points (n, 2) without axes, to be moved and zoomed."""
    plot = figure(
        sizing_mode="stretch_both",
        tools=TOOLS,
        active_scroll="wheel_zoom",
        x_range=_range(points[:, 0], "across"),
        y_range=_range(points[:, 1], "upwards"),
        toolbar_location="above",
        outline_line_color=RULE,
        min_border=0,
    )
    plot.toolbar.logo = None
    plot.toolbar.stylesheets = [InlineStyleSheet(css=FINGER)]
    plot.axis.visible = plot.grid.visible = False
    return plot


def _range(values: np.ndarray, name: str) -> Range1d:
    """The range of some coordinates and a margin; its tag is how wide it is at first."""
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 1.0
    return Range1d(low - margin, high + margin, name=name, tags=[high - low + 2 * margin])


def _add_ring(plot: figure) -> None:
    """A ring around the chosen row, which the page moves."""
    chosen = ColumnDataSource({"x": [], "y": []}, name="chosen")
    for colour, width in (("white", 6), ("black", 2.5)):
        plot.scatter(source=chosen, size=18, fill_color=None, line_color=colour, line_width=width)


def _add_names(plot: figure, points: np.ndarray, labels: np.ndarray) -> None:
    """Each class's number in its middle; the page writes its name there."""
    classes = np.unique(labels)
    x, y = np.array([np.median(points[labels == c], axis=0) for c in classes], float).T
    text = {"x": x.tolist(), "y": y.tolist(), "text": [str(c) for c in classes]}
    plot.text(
        source=ColumnDataSource(text, name="names"),
        text_align="center",
        text_baseline="middle",
        text_font_size="14px",
        text_font_style="bold",
        text_color=DARK,
        background_fill_color="white",
        background_fill_alpha=0.85,
        border_radius=4,
        padding=3,
    )


# The number of classes


def draw_curve(curve: pd.DataFrame, chosen: int) -> Column:
    """The columns `CURVES` over the numbers of classes, one plot below the other."""
    source = ColumnDataSource({name: curve[name].tolist() for name in ("n_classes", *CURVES)})
    plots = [_one_curve(source, name, chosen) for name in CURVES]
    for plot in plots:
        plot.x_range = plots[0].x_range
    plots[-1].xaxis.axis_label = "number of classes"
    return column(plots, sizing_mode="stretch_width")


def _one_curve(source: ColumnDataSource, name: str, chosen: int) -> figure:
    """One column of the curve, with the chosen number of classes marked."""
    plot = figure(
        height=170,
        sizing_mode="stretch_width",
        tools="",
        toolbar_location=None,
        title=f"{name}: {CURVES[name]}",
        outline_line_color=None,
    )
    plot.title.text_font_style, plot.title.text_color = "normal", DARK
    plot.grid.grid_line_color, plot.axis.minor_tick_line_color = RULE, None
    mark = Span(location=chosen, dimension="height", line_color=COLOURS[1], line_width=2)
    plot.add_layout(mark)
    plot.line("n_classes", name, source=source, line_color=GREY, line_width=1.5)
    dots = plot.scatter("n_classes", name, source=source, size=8, fill_color=COLOURS[0])
    numbers = [("classes", "@n_classes"), (name, f"@{name}{{0.000}}")]
    plot.add_tools(HoverTool(renderers=[dots], tooltips=numbers, mode="vline"))
    return plot

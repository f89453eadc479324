"""The report on a labeling that was found: one HTML file that needs nothing beside it.

The page's text, look and behaviour are in `page/`. Everything that is known about the rows goes
into the file as data and reaches the page as text, so that no file name can be anything else. The
page's content security policy lets only its own scripts run, and lets it ask no host for anything.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from bokeh.embed import json_item
from bokeh.layouts import column
from bokeh.models import (
    CDSView,
    Column,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    IndexFilter,
    LinearColorMapper,
    Range1d,
    Span,
    TapTool,
)
from bokeh.plotting import figure
from bokeh.resources import Resources
from PIL import Image

from hume_turtle.estimators.voting import match_clusters
from hume_turtle.evaluation.metrics import evaluate
from hume_turtle.reporting.contact_sheet import by_confidence, extremes, first_readable
from hume_turtle.reporting.style import COLOURS, DARK, GREY, RULE
from hume_turtle.storage.files import atomic_write

PAGE = Path(__file__).parent / "page"
BEST, WORST = 12, 6  # images of a class on its card
NAMES = 5  # rows of a class, of either kind, where there are no images
THUMBNAILS = 3000  # in the whole file
THUMBNAIL_BYTES = 11_000_000  # of all of them, in base64
SIDE = 96  # of a thumbnail, in pixels
STEPS = 10_000  # to which the confidence is rounded, from 0 to 1
# Okabe and Ito's colours without black, then colours as far as possible from those before them in
# OKLab, to eyes that see all colours, no red and no green alike. The tenth is 0.1 from any other.
PALETTE = (
    *COLOURS[:4], "#E69F00", "#56B4E9", "#800000", "#1A4073", "#0000FF", "#735959",
    "#008CFF", "#B3BFA6", "#6600B3", "#BF0026", "#BF2699", "#D940E6", "#FF4D66", "#730D59",
    "#33661A", "#59CC66", "#4D4DCC", "#FF80CC", "#598C1A", "#73B38C", "#6680BF", "#4000D9",
    "#80008C", "#335973", "#80334D", "#8C99FF", "#E60DB3", "#A65973", "#99664D", "#993380",
    "#A6804D", "#00BFBF", "#8C33FF", "#FFA673", "#A69926", "#7366CC",
)  # fmt: skip
# A column of the curve, what it is called and which end is the good one.
CURVES = {
    "unexplained": "unexplained share of the labeling, CE / H: lower is better",
    "dip": "dip below the trend of the curve above: higher is clearer",
    "agreement": "agreement (ARI) of fits to disjoint halves: higher is better",
}
SCORES = {"cluster_accuracy": "cluster accuracy", "ari": "ARI", "nmi": "NMI"}


@dataclass(frozen=True, eq=False)
class Report:
    """What is known about a labeling of n rows.

    Attributes:
        title: the page's heading.
        names: (n,) files relative to their folder, or "row 17".
        labels: (n,) the class of each row, ≥ 0.
        confidence: (n,) its probability, in 0..1.
        second: (n,) the second choice.
        by_space: (K, n) the class that each space alone gives.
        space_names: (K,).
        points: (n, 2) the map, as `map_points` makes it.
        images: n PIL images made on access, which may raise for a damaged file, or None.
        facts: shown as a small table: the number of classes, encoders, versions, the seed …
        notes: sentences for the reader.
        curve: one row per candidate number of classes, with columns n_classes, unexplained
            (cross-entropy / entropy, lower is better), dip (how far below its trend) and agreement
            (ARI between fits to disjoint halves), where NaN is unknown; or None.
        chosen: the number of classes that was taken from the curve.
        true: (n,) true classes, which nothing was fitted to, or None.
        class_names: their names: a true class c is called `class_names[c]`; or None.
    """

    title: str
    names: Sequence[str]
    labels: np.ndarray
    confidence: np.ndarray
    second: np.ndarray
    by_space: np.ndarray
    space_names: Sequence[str]
    points: np.ndarray
    images: Sequence | None = None
    facts: dict[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    curve: pd.DataFrame | None = None
    chosen: int | None = None
    true: np.ndarray | None = None
    class_names: Sequence[str] | None = None

    def __post_init__(self):
        n = len(self.labels)
        sized = {name: len(getattr(self, name)) for name in ("names", "confidence", "second")}
        sized |= {"points": len(self.points), "by_space": np.shape(self.by_space)[-1]}
        given = {"images": self.images, "true": self.true}
        sized |= {name: len(values) for name, values in given.items() if values is not None}
        wrong = [f"{name} has {size}" for name, size in sized.items() if size != n]
        if wrong or n == 0:
            raise ValueError(f"there are {n} labels, but {', '.join(wrong) or 'one is needed'}")


@dataclass(frozen=True)
class Card:
    """What is shown of one class; rows are numbered from 0, `best` from the most confident on."""

    id: int
    size: int
    share: float
    confidence: float
    agreement: float | None
    best: list[int]
    worst: list[int]
    truth: list[tuple[str, float]]  # its most frequent true classes and their shares


def write_report(path: str | os.PathLike, report: Report) -> None:
    """Write the report to one HTML file, which replaces an older one when it is whole."""
    cards, thumbnails = _cards_and_thumbnails(report)
    data = {
        "title": report.title,
        "key": _digest(report),
        "facts": [[str(key), str(value)] for key, value in report.facts.items()],
        "notes": list(report.notes),
        "names": [_readable(name) for name in report.names],
        "spaces": list(report.space_names),
        "images": report.images is not None,
        "colours": PALETTE,
        "steps": STEPS,
        "columns": _columns(report),
        "classes": [asdict(card) for card in cards],
        "thumbnails": thumbnails,
        "curve": _curve_table(report),
        "truth": _truth(report),
    }
    plots = {"map": json_item(_map(report), "map")}
    if report.curve is not None and len(report.curve):
        plots["curve"] = json_item(_curve(report), "curve")
    with atomic_write(path) as file:
        file.write(_page(data, plots).encode("utf-8"))


def _page(data: dict, plots: dict) -> str:
    """The text of the page; its policy names the scripts by their digests."""
    bokeh = Resources(mode="inline", components=["bokeh", "bokeh-gl"], log_level="warn")
    parts = {
        "style": _read("page.css"),
        "report": _as_script(data),
        "plots": _as_script(plots),
        "bokeh": "\n".join(bokeh.js_raw).replace("\r", ""),
        "script": _read("page.js"),
    }
    digests = [hashlib.sha256(parts[name].encode()).digest() for name in ("bokeh", "script")]
    parts["scripts"] = " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)
    return re.sub(r"\{\{ (\w+) \}\}", lambda match: parts[match[1]], _read("page.html"))


def _read(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def _as_script(value) -> str:
    """JSON for a script block, which no text in it can end or turn into anything else."""
    text = json.dumps(value, separators=(",", ":"), default=_plain)  # ASCII alone
    return text.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"})


def _plain(value):
    """A number of NumPy's as JSON has it."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value)} has no form in JSON")


def _readable(name: str) -> str:
    """A file name in which every byte that is no UTF-8 is a replacement character."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _digest(report: Report) -> str:
    """Tells this labeling from others: the browser keeps names of classes under it."""
    names = "\0".join(report.names).encode("utf-8", "surrogateescape")
    labels = np.ascontiguousarray(report.labels, "<i8").tobytes()
    return hashlib.sha256(names + labels).hexdigest()[:16]


def _columns(report: Report) -> dict:
    """What is known of each row, in bytes."""
    points = np.asarray(report.points)
    confidence = np.nan_to_num(np.asarray(report.confidence, float)).clip(0, 1)
    return {
        "x": _packed(points[:, 0], "float32"),
        "y": _packed(points[:, 1], "float32"),
        "label": _packed(report.labels, "int32"),
        "second": _packed(report.second, "int32"),
        "confidence": _packed(np.rint(STEPS * confidence), "uint16"),
        "spaces": [_packed(labels, "int16") for labels in report.by_space],
    }


def _packed(values: np.ndarray, dtype: str) -> dict[str, str]:
    """An array as base64, little-endian, as browsers read it."""
    array = np.asarray(values).astype(np.dtype(dtype).newbyteorder("<"))
    return {"type": dtype, "data": base64.b64encode(array.tobytes()).decode()}


# Classes and their images


def _cards_and_thumbnails(report: Report) -> tuple[list[Card], dict[int, str]]:
    """A card for each class, and JPEG files in base64 by row: those of the cards and others."""
    classes = np.unique(report.labels)
    best, worst = _per_class(len(classes)) if report.images is not None else (NAMES, NAMES)
    kept, cards = Thumbnails(report), []
    for c in classes:
        order = by_confidence(report.labels, report.confidence, c)
        if report.images is None:
            most, least = order[:best], order[best:][-worst:]
        else:
            found = extremes(report.images, order, best, worst, SIDE)
            most, least = ([kept.add(row, image) for row, image in part] for part in found)
        cards.append(_card(report, int(c), order, most, least))
    kept.add_others()
    return cards, kept.files


def _per_class(n_classes: int) -> tuple[int, int]:
    """How many images of either kind a card has, so that all classes have some."""
    worst = max(1, min(WORST, THUMBNAILS // (3 * n_classes)))
    return max(1, min(BEST, THUMBNAILS // n_classes - worst)), worst


class Thumbnails:
    """JPEG files in base64, by row, until there are too many of them or they are too large."""

    def __init__(self, report: Report):
        self.report, self.files, self.size = report, {}, 0

    @property
    def full(self) -> bool:
        return len(self.files) >= THUMBNAILS or self.size >= THUMBNAIL_BYTES

    def add(self, row: int, image: Image.Image) -> int:
        """Keep a thumbnail if there is room; returns its row."""
        if not self.full:
            file = io.BytesIO()
            image.save(file, "JPEG", quality=80, optimize=True)
            self.files[row] = base64.b64encode(file.getvalue()).decode()
            self.size += len(self.files[row])
        return row

    def add_others(self) -> None:
        """Fill what is left with rows of all classes and all degrees of confidence."""
        if self.report.images is None:
            return
        order = np.lexsort((self.report.confidence, self.report.labels))
        order = order[~np.isin(order, list(self.files))]
        for row in _spread(order):
            if self.full:
                break
            for found in first_readable(self.report.images, [row], 1, SIDE):
                self.add(*found)


def _spread(order: np.ndarray) -> np.ndarray:
    """The same rows in an order of which every beginning is spread over the whole."""
    golden = (5**0.5 - 1) / 2
    return order[np.argsort(golden * np.arange(len(order)) % 1, kind="stable")]


def _card(report: Report, c: int, order: np.ndarray, most: Iterable, least: Iterable) -> Card:
    alone = np.asarray(report.by_space)[:, order]  # (K, rows)
    return Card(
        id=c,
        size=len(order),
        share=len(order) / len(report.labels),
        confidence=float(np.mean(np.asarray(report.confidence)[order])),
        agreement=float(np.mean(alone == c)) if alone.size else None,
        best=[int(row) for row in most],
        worst=[int(row) for row in least][::-1],
        truth=_most_frequent(report, order),
    )


# True classes


def _most_frequent(report: Report, rows: np.ndarray) -> list[tuple[str, float]]:
    """The three most frequent true classes of some rows, and their shares."""
    if report.true is None:
        return []
    classes, counts = np.unique(np.asarray(report.true)[rows], return_counts=True)
    first = np.argsort(-counts, kind="stable")[:3]
    return [(_true_name(report, classes[i]), float(counts[i] / len(rows))) for i in first]


def _true_name(report: Report, c: int) -> str:
    known = report.class_names is not None and 0 <= c < len(report.class_names)
    return str(report.class_names[c]) if known else str(c)


def _truth(report: Report) -> dict | None:
    """Scores, and the confusion matrix: true classes by found ones, matched ones first."""
    if report.true is None:
        return None
    true, labels = np.asarray(report.true), np.asarray(report.labels)
    scores = evaluate(true, labels)
    counts = pd.crosstab(true, labels)  # both sorted
    partner = {c: found for found, c in match_clusters(true, labels).items()}
    matched = [partner[c] for c in counts.index if c in partner]
    counts = counts[matched + [found for found in counts.columns if found not in set(matched)]]
    return {
        "scores": [[name, scores[key]] for key, name in SCORES.items()],
        "names": [_true_name(report, c) for c in counts.index],
        "found": counts.columns.tolist(),
        "matched": [partner.get(c) for c in counts.index],
        "counts": counts.to_numpy().tolist(),
        "rows": _packed(counts.index.get_indexer(true), "int32"),
    }


# Plots


def _map(report: Report) -> figure:
    """All rows as points, without data: the page puts in what it has anyway."""
    plot = _canvas(np.asarray(report.points))
    rows = ColumnDataSource({"x": [], "y": [], "label": []}, name="rows")
    n, top = len(report.labels), int(np.max(report.labels)) + 1
    palette = [PALETTE[c % len(PALETTE)] for c in range(top)]
    colour = LinearColorMapper(palette=palette, low=-0.5, high=top - 0.5)
    look = {"source": rows, "size": float(np.clip(60 / n**0.3, 2.5, 12)), "line_color": None}
    plot.scatter("x", "y", name="others", visible=False, fill_color="#D9D9D9", **look)
    shown = plot.scatter(
        "x",
        "y",
        view=CDSView(filter=IndexFilter(indices=None, name="filter")),
        fill_color={"field": "label", "transform": colour},
        fill_alpha=float(np.clip(4 / n**0.2, 0.55, 0.9)),
        **look,
    )
    shown.nonselection_glyph = shown.selection_glyph = None
    plot.add_tools(TapTool(renderers=[shown]))
    plot.add_tools(HoverTool(renderers=[shown], tooltips=None, visible=False))
    _add_marks(plot, report)
    return plot


def _canvas(points: np.ndarray) -> figure:
    """A plot for points (n, 2) without axes, to be moved and zoomed."""
    plot = figure(
        output_backend="webgl",
        sizing_mode="stretch_both",
        tools="pan,wheel_zoom,box_zoom,zoom_in,zoom_out,reset",
        active_scroll="wheel_zoom",
        x_range=_range(points[:, 0], "across"),
        y_range=_range(points[:, 1], "upwards"),
        toolbar_location="above",
        outline_line_color=RULE,
        min_border=0,
    )
    plot.toolbar.logo = None
    plot.axis.visible = plot.grid.visible = False
    return plot


def _range(values: np.ndarray, name: str) -> Range1d:
    """The range of some coordinates and a margin."""
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 1.0
    return Range1d(low - margin, high + margin, name=name)


def _add_marks(plot: figure, report: Report) -> None:
    """A ring around the chosen row, which the page moves, and the name of each class on it."""
    chosen = ColumnDataSource({"x": [], "y": []}, name="chosen")
    ring = {"fill_color": None, "size": 18}
    plot.scatter("x", "y", source=chosen, line_color="white", line_width=6, **ring)
    plot.scatter("x", "y", source=chosen, line_color="black", line_width=2.5, **ring)
    classes = np.unique(report.labels)
    middle = [np.median(np.asarray(report.points)[report.labels == c], axis=0) for c in classes]
    x, y = np.array(middle, float).T
    names = ColumnDataSource(
        {"x": x.tolist(), "y": y.tolist(), "text": [str(c) for c in classes]}, name="names"
    )
    plot.text(
        "x",
        "y",
        "text",
        source=names,
        text_align="center",
        text_baseline="middle",
        text_font_size="13px",
        text_font_style="bold",
        text_color=DARK,
        background_fill_color="white",
        background_fill_alpha=0.8,
        border_radius=4,
        padding=2,
    )


def _curve_table(report: Report) -> dict | None:
    """The curve's numbers for the page, None where they are unknown."""
    if report.curve is None or not len(report.curve):
        return None
    names = [name for name in CURVES if report.curve[name].notna().any()]
    rows = [
        [int(n_classes), *(float(x) if math.isfinite(x) else None for x in values)]
        for n_classes, *values in report.curve[["n_classes", *names]].itertuples(index=False)
    ]
    return {"columns": ["n_classes", *names], "rows": rows, "chosen": report.chosen}


def _curve(report: Report) -> Column:
    """What is known of each candidate number of classes, one plot below the other."""
    known = [name for name in CURVES if report.curve[name].notna().any()]
    candidates = report.curve["n_classes"].astype(float)
    log = candidates.max() > 10 * candidates.min() > 0
    plots: list[figure] = []
    for name in known:
        shared = {"x_range": plots[0].x_range} if plots else {}
        plots.append(_one_curve(report, name, "log" if log else "linear", **shared))
    if plots:
        plots[-1].xaxis.axis_label = "number of classes"
    return column(plots, sizing_mode="stretch_width")


def _one_curve(report: Report, name: str, scale: str, **shared) -> figure:
    """One column of the curve, with the chosen number of classes marked."""
    table = report.curve[["n_classes", name]].dropna().sort_values("n_classes")
    source = ColumnDataSource({key: table[key].astype(float).to_numpy() for key in table})
    plot = figure(
        height=170,
        sizing_mode="stretch_width",
        tools="",
        toolbar_location=None,
        x_axis_type=scale,
        title=CURVES[name],
        outline_line_color=None,
        **shared,
    )
    plot.title.text_font_style, plot.title.text_color = "normal", DARK
    plot.grid.grid_line_color, plot.axis.minor_tick_line_color = RULE, None
    plot.xaxis.ticker = FixedTicker(ticks=_ticks(table["n_classes"].tolist(), scale))
    if report.chosen is not None:
        plot.add_layout(
            Span(location=report.chosen, dimension="height", line_color=COLOURS[1], line_width=2)
        )
    plot.line("n_classes", name, source=source, line_color=GREY, line_width=1.5)
    dots = plot.scatter("n_classes", name, source=source, size=8, fill_color=COLOURS[0])
    numbers = [("classes", "@n_classes{0}"), (name, f"@{name}{{0.000}}")]
    plot.add_tools(HoverTool(renderers=[dots], tooltips=numbers, mode="vline"))
    return plot


def _ticks(candidates: list[int], scale: str) -> list[int]:
    """Some of the candidates, far enough apart to be read."""
    place = np.log(candidates) if scale == "log" else np.array(candidates, float)
    apart, ticks = np.ptp(place) / 12, [0]
    for i in range(1, len(place)):
        if place[i] - place[ticks[-1]] >= apart:
            ticks.append(i)
    return [int(candidates[i]) for i in ticks]

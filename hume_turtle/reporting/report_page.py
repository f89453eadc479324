"""The report on a labeling that was found: one HTML file that needs nothing beside it.

The page's text, look and behaviour are in `page/`. Everything that is known about the rows goes
into the file as data and reaches the page as text, so that no file name can be anything else. The
page's content security policy lets only its own scripts run, and lets it ask no host for anything.
The same report is the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from bokeh.resources import Resources
from PIL import Image

from hume_turtle.estimators.voting import match_clusters
from hume_turtle.evaluation.metrics import evaluate
from hume_turtle.reporting.contact_sheet import by_confidence, extremes, first_readable
from hume_turtle.reporting.report_map import CURVES, PALETTE, as_json, draw_curve, draw_map
from hume_turtle.storage.files import atomic_write

PAGE = Path(__file__).parent / "page"
BEST, WORST = 12, 6  # images of a class on its card
NAMES = 5  # rows of a class, of either kind, where there are no images
THUMBNAILS = 2500  # in the whole file: about 10 MB
SIDE = 96  # of a thumbnail, in pixels
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
        images: n PIL images made on access, which may raise for a damaged file, or None. Of
            photographs, `OpenedFiles` is fast: its JPEG files are decoded small.
        facts: shown as a small table: the number of classes, encoders, versions, the seed …
        notes: sentences for the reader.
        curve: `NumberOfClasses.table()`, where the number of classes was chosen, or None.
        chosen: the number that was taken from the curve.
        true: (n,) true classes, which nothing was fitted to, as indices of `class_names`, or None.
        class_names: their names.
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
        columns = ("names", "confidence", "second", "points", "images", "true")
        given = {name: getattr(self, name) for name in columns}
        for name, values in given.items():
            if values is not None and len(values) != len(self.labels):
                raise ValueError(f"{name} has {len(values)} rows, labels {len(self.labels)}")


def write_report(path: str | os.PathLike, report: Report) -> None:
    """Write the report to one HTML file, which replaces an older one when it is whole."""
    cards, thumbnails = _cards_and_thumbnails(report)
    data = {
        "title": report.title,
        "key": hashlib.sha256(_as_script([report.names, report.labels]).encode()).hexdigest()[:16],
        "facts": [*report.facts.items()],
        "notes": report.notes,
        "names": [_readable(name) for name in report.names],
        "spaces": report.space_names,
        "images": report.images is not None,
        "colours": PALETTE,
        "columns": _columns(report),
        "classes": cards,
        "thumbnails": thumbnails,
        "curve": _curve_table(report),
        "truth": _truth(report),
    }
    plots = {"map": draw_map(report.points, report.labels)}
    if report.curve is not None:
        plots["curve"] = draw_curve(report.curve, report.chosen)
    with atomic_write(path) as file:
        file.write(_page(data, as_json(plots)).encode("utf-8"))


def _page(data: dict, plots: dict) -> str:
    """The text of the page; its policy names the scripts by their digests."""
    bokeh = Resources(mode="inline", components=["bokeh"], log_level="warn")
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
    text = json.dumps(value, separators=(",", ":"), default=lambda array: array.tolist())  # ASCII
    return text.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"})


def _readable(name: str) -> str:
    """A file name in which every byte that is no UTF-8 is a replacement character."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _columns(report: Report) -> dict:
    """What is known of each row."""
    x, y = np.asarray(report.points, float).T.round(4)
    confidence = np.asarray(report.confidence, float).round(4)
    columns = {"x": x, "y": y, "label": report.labels, "second": report.second}
    return {**columns, "confidence": confidence, "spaces": report.by_space}


def _curve_table(report: Report) -> dict | None:
    """The curve's numbers."""
    if report.curve is None:
        return None
    rows = report.curve[["n_classes", *CURVES]].to_numpy()
    return {"columns": ["classes", *CURVES], "rows": rows, "chosen": report.chosen}


# Classes and their images


def _cards_and_thumbnails(report: Report) -> tuple[list[dict], dict[int, str]]:
    """A card for each class, and JPEG files in base64 by row: those of the cards and others."""
    classes = np.unique(report.labels)
    cards, files = [], {}
    for c in classes:
        order = by_confidence(report.labels, report.confidence, c)
        if report.images is None:
            most, least = order[:NAMES], order[NAMES:][-NAMES:]
        else:
            found = extremes(report.images, order, *_per_class(len(classes)), SIDE)
            files.update((row, _jpeg(image)) for part in found for row, image in part)
            most, least = ([row for row, _ in part] for part in found)
        cards.append({**_card(report, c, order), "best": most, "worst": least[::-1]})
    for row, image in _others(report, files):
        files[row] = _jpeg(image)
    return cards, files


def _per_class(n_classes: int) -> tuple[int, int]:
    """How many images of either kind a card has, so that all classes have some."""
    part = min(1, THUMBNAILS / ((BEST + WORST) * n_classes))
    return max(1, int(part * BEST)), max(1, int(part * WORST))


def _others(report: Report, shown: dict) -> list[tuple[int, Image.Image]]:
    """Thumbnails, as far as there is room, of rows of all classes and degrees of confidence."""
    if report.images is None:
        return []
    order = np.lexsort((report.confidence, report.labels))
    order = order[~np.isin(order, [*shown])]
    room = min(len(order), max(0, THUMBNAILS - len(shown)))
    rows = order[np.linspace(0, len(order) - 1, room).astype(int)]
    return first_readable(report.images, rows, room, SIDE)


def _jpeg(image: Image.Image) -> str:
    """A JPEG file in base64."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80, optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _card(report: Report, c: int, order: np.ndarray) -> dict:
    """What is said of a class; `order` has its rows."""
    alone = np.asarray(report.by_space)[:, order]  # (K, rows)
    return {
        "id": c,
        "size": len(order),
        "share": len(order) / len(report.labels),
        "confidence": float(report.confidence[order].mean()),
        "agreement": float((alone == c).mean()) if len(alone) > 1 else None,
        "truth": _most_frequent(report, order),
    }


# True classes


def _most_frequent(report: Report, rows: np.ndarray) -> list[tuple[str, float]]:
    """The three most frequent true classes of some rows, and their shares."""
    if report.true is None:
        return []
    shares = np.bincount(report.true[rows]) / len(rows)
    first = np.argsort(-shares, kind="stable")[:3]
    return [(report.class_names[c], shares[c]) for c in first if shares[c]]


def _truth(report: Report) -> dict | None:
    """Scores, and the confusion matrix: true classes by found ones, matched ones first."""
    if report.true is None:
        return None
    scores = evaluate(report.true, report.labels)
    counts = pd.crosstab(report.true, report.labels)  # both sorted
    partner = {c: found for found, c in match_clusters(report.true, report.labels).items()}
    matched = [partner.get(c) for c in counts.index]
    rest = [found for found in counts.columns if found not in matched]
    counts = counts[[found for found in matched if found is not None] + rest]
    return {
        "scores": [[name, scores[key]] for key, name in SCORES.items()],
        "names": [report.class_names[c] for c in counts.index],
        "found": counts.columns,
        "matched": matched,
        "counts": counts.to_numpy(),
        "rows": counts.index.get_indexer(report.true),
    }

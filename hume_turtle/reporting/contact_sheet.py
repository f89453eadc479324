"""A contact sheet: one row of images for every class that was found."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from hume_turtle.reporting.style import DARK, GREY

# What an image may raise that was cut off, is no image, or is unreasonably large.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


class OpenedFiles(Sequence):
    """PIL images opened on access and not decoded: `thumbnail` decodes JPEG files small."""

    def __init__(self, paths: Sequence[str | os.PathLike]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Image.Image:
        return Image.open(self.paths[row])


@dataclass(frozen=True)
class Grid:
    """Where things lie on a contact sheet, in pixels."""

    best: int  # the most confident images of a row
    worst: int  # the least confident ones, to their right
    tile: int
    pad: int = 4
    gap: int = 24  # between the two kinds
    margin: int = 16
    text: int = 30  # height of a line of text

    @property
    def width(self) -> int:
        return self.left(self.best + self.worst - 1) + self.tile + self.margin

    @property
    def row(self) -> int:
        return self.text + self.tile + 10

    def left(self, column: int) -> int:
        """Of the tile in a column."""
        apart = self.gap if column >= self.best else 0
        return self.margin + column * (self.tile + self.pad) + apart


def contact_sheet(
    images: Sequence,
    labels: np.ndarray,
    confidence: np.ndarray,
    *,
    best: int = 10,
    worst: int = 4,
    tile: int = 96,
    max_classes: int = 40,
) -> Image.Image:
    """One row per class: its most confident images and, set apart, its least confident ones.

    Images that cannot be read are skipped. No image appears twice.

    Args:
        images: n PIL images, made on access.
        labels: (n,) classes.
        confidence: (n,) the probability of the class.
        best, worst: how many images of either kind a row has.
        tile: side of an image on the sheet, in pixels.
        max_classes: of more classes, the largest are shown.
    """
    grid = Grid(best, worst, tile)
    classes, sizes = np.unique(labels, return_counts=True)
    shown = np.sort(classes[np.argsort(-sizes, kind="stable")[:max_classes]])
    rest = len(classes) - len(shown)
    height = 2 * grid.margin + grid.text * (1 + (rest > 0)) + grid.row * len(shown)
    sheet = Image.new("RGB", (grid.width, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((grid.left(0), grid.margin), "most confident", GREY, _font(14))
    if worst:
        draw.text((grid.left(best), grid.margin), "least confident", GREY, _font(14))
    top = grid.margin + grid.text
    for c in shown:
        _draw_class(sheet, grid, top, c, images, labels, confidence)
        top += grid.row
    if rest:
        draw.text((grid.left(0), top), f"and {rest} smaller classes", GREY, _font(14))
    return sheet


def _draw_class(sheet, grid: Grid, top: int, c: int, images, labels, confidence) -> None:
    order = by_confidence(labels, confidence, c)
    text = f"class {c} · {len(order)} images · confidence {confidence[order].mean():.2f}"
    ImageDraw.Draw(sheet).text((grid.left(0), top + 4), text, DARK, _font(15))
    most, least = extremes(images, order, grid.best, grid.worst, grid.tile)
    least = [None] * (grid.worst - len(least)) + least  # the least confident stands at the edge
    for column, found in enumerate(most + [None] * (grid.best - len(most)) + least):
        if found:
            tile = _square(found[1], grid.tile)
            sheet.paste(tile, (grid.left(column), top + grid.text))


def by_confidence(labels: np.ndarray, confidence: np.ndarray, c: int) -> np.ndarray:
    """The rows of a class, the most confident first."""
    rows = np.flatnonzero(labels == c)
    return rows[np.argsort(-confidence[rows], kind="stable")]


def extremes(
    images: Sequence, order: np.ndarray, best: int, worst: int, size: int
) -> tuple[list, list]:
    """The first and the last readable images of an order of rows, as (row, thumbnail).

    Both lists are in that order; no row is in both.
    """
    most = first_readable(images, order, best, size)
    taken = {row for row, _ in most}
    others = (row for row in order[::-1] if row not in taken)
    return most, first_readable(images, others, worst, size)[::-1]


def first_readable(
    images: Sequence, rows: Iterable[int], count: int, size: int
) -> list[tuple[int, Image.Image]]:
    """Row and thumbnail of the first `count` of some rows whose images can be read."""
    found: list[tuple[int, Image.Image]] = []
    for row in rows:
        if len(found) >= count:
            break
        image = thumbnail(images, int(row), size)
        if image is not None:
            found.append((int(row), image))
    return found


def thumbnail(images: Sequence, row: int, size: int) -> Image.Image | None:
    """An image in RGB with sides of at most `size`, on white where it is transparent.

    It is turned as its camera noted. None stands for one that cannot be read.
    """
    try:
        with images[row] as opened:
            opened.draft(None, (2 * size, 2 * size))  # a JPEG file not yet decoded is so small
            image = _rgb(ImageOps.exif_transpose(opened))
    except UNREADABLE:
        return None
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    return image


def _rgb(image: Image.Image) -> Image.Image:
    """A copy of an image in RGB."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):  # no range is agreed on
        values = np.asarray(image, float)
        low, high = values.min(), values.max()
        grey = 255 * (values - low) / (high - low if high > low else 1)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _square(image: Image.Image, size: int) -> Image.Image:
    """An image in the middle of a light square; a smaller one is enlarged."""
    square = Image.new("RGB", (size, size), "#F2F2F2")
    scale = size / max(image.size)
    shape = [max(1, round(scale * side)) for side in image.size]
    image = image.resize(shape, Image.Resampling.BICUBIC) if scale > 1 else image
    square.paste(image, [(size - side) // 2 for side in image.size])
    return square


def _font(size: int) -> ImageFont.ImageFont:
    """The font that comes with matplotlib, so that a sheet is the same everywhere."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size)

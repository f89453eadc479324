"""The default suite's datasets, which need no network: scikit-learn's 1797 handwritten digits.

The digits themselves, the digits on coloured backgrounds, and the digits with unbalanced classes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from hume_turtle.datasets.images import ArrayImages, Builder, ImageDataset

SPLIT_SEED = 0  # of the one permutation that separates train from test
BACKGROUND_SEED = 1  # of `coloured-digits`
SMALLEST_CLASS = 0.2  # fraction kept of the last class of `unbalanced-digits`

BACKGROUNDS = {  # saturated, and dark enough for white ink to stay legible in grey
    "red": (200, 30, 40),
    "green": (20, 140, 50),
    "blue": (30, 60, 210),
    "purple": (140, 30, 170),
    "orange": (230, 110, 10),
}


def digits(split: str, root: Path | None = None, download: bool = False) -> ImageDataset:
    """scikit-learn's digits as 8×8 grey images, white ink on black: 1198 train, 599 test."""
    pixels, labels = digit_pixels()
    rows = split_rows(len(labels), split)
    names = tuple(str(digit) for digit in range(10))
    return ImageDataset("digits", split, ArrayImages(pixels[rows]), labels[rows], names)


def coloured_digits(split: str, root: Path | None, download: bool) -> ImageDataset:
    """The digits in near-white ink on a background of one of five colours, whatever the digit."""
    pixels, _ = digit_pixels()
    generator = np.random.default_rng(BACKGROUND_SEED)
    background = generator.integers(len(BACKGROUNDS), size=len(pixels))
    shade = generator.uniform(0.92, 1.0, size=(len(pixels), 1, 1, 1))  # of the ink

    cover = pixels[..., None] / 255  # (n, 8, 8, 1)
    colours = np.array(list(BACKGROUNDS.values()), float)  # (5, 3)
    colour = colours[background][:, None, None]  # (n, 1, 1, 3)
    painted = np.rint(cover * shade * 255 + (1 - cover) * colour).astype(np.uint8)

    grey = digits(split)
    rows = split_rows(len(pixels), split)
    return replace(
        grey,
        name="coloured-digits",
        images=ArrayImages(painted[rows]),
        attributes={"background": background[rows]},
    )


def unbalanced_digits(split: str, root: Path | None, download: bool) -> ImageDataset:
    """The digits, of class c only a fraction 0.2^(c/9): from all the zeros to a fifth of the nines.

    Train and test are thinned each on its own, so both have the same class fractions.
    """
    whole = digits(split)
    kept = np.sort(np.concatenate([kept_rows(whole.labels, c) for c in range(10)]))
    return replace(
        whole,
        name="unbalanced-digits",
        images=ArrayImages(whole.images.pixels[kept]),
        labels=whole.labels[kept],
    )


def kept_rows(labels: np.ndarray, c: int) -> np.ndarray:
    """The first rows of class c, as many as its fraction allows: already in random order."""
    rows = np.flatnonzero(labels == c)
    fraction = SMALLEST_CLASS ** (c / labels.max())
    return rows[: round(fraction * len(rows))]


@lru_cache(maxsize=1)
def digit_pixels() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits in its order: (1797, 8, 8) uint8 from 0 to 255, (1797,) int64."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    pixels.flags.writeable = labels.flags.writeable = False  # shared between datasets
    return pixels, labels


def split_rows(n: int, split: str) -> np.ndarray:
    """Rows of a split: one seeded permutation of n, two thirds train, no label consulted."""
    order = np.random.default_rng(SPLIT_SEED).permutation(n)
    n_train = 2 * n // 3
    return {"train": order[:n_train], "test": order[n_train:], "all": order}[split]


BUILDERS: dict[str, Builder] = {
    "digits": digits,
    "coloured-digits": coloured_digits,
    "unbalanced-digits": unbalanced_digits,
}

"""Datasets by name: images, splits, class names.

The default suite's datasets come from scikit-learn's 1797 handwritten digits, which need no
network: the digits themselves, the digits on coloured grounds, and the digits with unbalanced
classes. `load_dataset` is the one entrance; a new dataset is one builder in `BUILDERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

SPLITS = ("train", "test", "all")
SPLIT_SEED = 0  # of the one permutation that parts train from test
GROUND_SEED = 1  # of the grounds of `coloured-digits`
SMALLEST_CLASS = 0.2  # fraction kept of the last class of `unbalanced-digits`

GROUNDS = {  # saturated, and dark enough for white ink to stay legible in grey
    "red": (200, 30, 40),
    "green": (20, 140, 50),
    "blue": (30, 60, 210),
    "purple": (140, 30, 170),
    "orange": (230, 110, 10),
}


class ArrayImages(Sequence):
    """PIL images made on access from (n, H, W) or (n, H, W, 3) uint8 pixels."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int):
        from PIL import Image

        return Image.fromarray(self.pixels[index])


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """The images of one split of one dataset, and the labels that only metrics may see.

    Attributes:
        images: a sequence of PIL images, made on access.
        labels: (n,) int64, indices into `class_names`.
        attributes: further labelings of the same images by name, (n,) int64 each: for
            `coloured-digits`, "ground" holds indices into the keys of `GROUNDS`.
    """

    name: str
    split: str
    images: Sequence
    labels: np.ndarray
    class_names: tuple[str, ...]
    attributes: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        return self.images[index]

    def __iter__(self) -> Iterator:
        return (self.images[index] for index in range(len(self)))


def load_dataset(name: str, split: str, root: str | Path | None = None) -> ImageDataset:
    """One split of a dataset: "train", "test", or "all", which is train followed by test.

    root: the folder of a dataset that lives on disk; the digits need none.
    Raises ValueError for an unknown name or split.
    """
    if name not in BUILDERS:
        raise ValueError(f"unknown dataset {name!r}; there are {', '.join(BUILDERS)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} of {name!r}; there are {', '.join(SPLITS)}")
    return BUILDERS[name](split, root)


def digits(split: str, root: str | Path | None = None) -> ImageDataset:
    """scikit-learn's digits as 8×8 grey images, white ink on black: 1198 train, 599 test."""
    pixels, labels = digit_pixels()
    rows = split_rows(len(labels), split)
    names = tuple(str(digit) for digit in range(10))
    return ImageDataset("digits", split, ArrayImages(pixels[rows]), labels[rows], names)


def coloured_digits(split: str, root: str | Path | None = None) -> ImageDataset:
    """The digits in near-white ink on a ground of one of five colours, whatever the digit."""
    pixels, _ = digit_pixels()
    generator = np.random.default_rng(GROUND_SEED)
    ground = generator.integers(len(GROUNDS), size=len(pixels))
    shade = generator.uniform(0.92, 1.0, size=(len(pixels), 1, 1, 1))  # of the ink

    cover = pixels[..., None] / 255  # (n, 8, 8, 1)
    colour = np.array(list(GROUNDS.values()), float)[ground][:, None, None]  # (n, 1, 1, 3)
    painted = np.rint(cover * shade * 255 + (1 - cover) * colour).astype(np.uint8)

    grey = digits(split)
    rows = split_rows(len(pixels), split)
    return replace(
        grey,
        name="coloured-digits",
        images=ArrayImages(painted[rows]),
        attributes={"ground": ground[rows]},
    )


def unbalanced_digits(split: str, root: str | Path | None = None) -> ImageDataset:
    """The digits, of class c only a fraction 0.2^(c/9): from all the zeros to a fifth of the nines.

    Train and test are thinned each on its own, so both have the same class fractions.
    """
    parts = []
    for part in ("train", "test") if split == "all" else (split,):
        whole = digits(part)
        kept = np.sort(np.concatenate([kept_rows(whole.labels, c) for c in range(10)]))
        parts.append((whole.images.pixels[kept], whole.labels[kept]))
    pixels, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    return replace(
        digits(split), name="unbalanced-digits", images=ArrayImages(pixels), labels=labels
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


BUILDERS: dict[str, Callable[[str, str | Path | None], ImageDataset]] = {
    "digits": digits,
    "coloured-digits": coloured_digits,
    "unbalanced-digits": unbalanced_digits,
}

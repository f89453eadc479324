"""Are these the images of the papers? Counts of images and classes beside the reported ones."""

from __future__ import annotations

import csv
import warnings
from functools import lru_cache
from pathlib import Path

from hume_turtle.datasets.images import ImageDataset

NOT_DEMANDED = ("birdsnap",)  # its links die: no one has the papers' images any more


def check_counts(dataset: ImageDataset) -> None:
    """Warn (UserWarning) where a dataset has other counts than data/reported/dataset_sizes.csv.

    The images of the split ("all" is both) and the classes are compared. Silent for datasets
    that are not in that file, and for birdsnap.
    """
    if dataset.name in NOT_DEMANDED or dataset.name not in reported_sizes():
        return
    size = reported_sizes()[dataset.name]
    splits = ("train", "test") if dataset.split == "all" else (dataset.split,)
    expected = (sum(size[split] for split in splits), size["classes"])
    found = (len(dataset), len(dataset.class_names))
    if found != expected:
        warnings.warn(
            f"dataset {dataset.name!r}, split {dataset.split!r}, has {found[0]} images of "
            f"{found[1]} classes, the papers' has {expected[0]} images of {expected[1]} classes: "
            "numbers computed from it do not compare with theirs",
            UserWarning,
            stacklevel=3,
        )


@lru_cache(maxsize=1)
def reported_sizes() -> dict[str, dict[str, int]]:
    """Dataset name to its `classes` and its images in `train` and `test`, as reported."""
    with open(sizes_path(), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row.pop("dataset"): {key: int(value) for key, value in row.items()} for row in rows}


def sizes_path() -> Path:
    """dataset_sizes.csv: in an installed package inside it, in a checkout under data/reported."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "reported" / "dataset_sizes.csv"
    return packaged if packaged.exists() else package.parent / "data/reported/dataset_sizes.csv"

"""Splits, and names of datasets, methods and spaces, as they are written in files and folders."""

from __future__ import annotations

import csv
import re
from functools import lru_cache
from pathlib import Path

SPLITS = ("train", "test")  # that a dataset is stored in; "all" is one after the other


def slug(name: str) -> str:
    """A published name as this project writes it: "CLIP ViT-L/14" becomes "clip-vit-l-14"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@lru_cache(maxsize=1)
def reported_sizes() -> dict[str, dict[str, int]]:
    """Dataset name to its `classes` and its images in `train` and `test`, as reported."""
    package = Path(__file__).resolve().parents[1]
    path = package / "reported" / "dataset_sizes.csv"  # in an installed package
    path = path if path.exists() else package.parent / "data/reported/dataset_sizes.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row.pop("dataset"): {key: int(value) for key, value in row.items()} for row in rows}

"""Splits, and names of datasets, methods and spaces, as they are written in files and folders."""

from __future__ import annotations

import re

SPLITS = ("train", "test")  # that a dataset is stored in; "all" is one after the other


def slug(name: str) -> str:
    """A published name as this project writes it: "CLIP ViT-L/14" becomes "clip-vit-l-14"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")

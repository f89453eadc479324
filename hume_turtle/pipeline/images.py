"""The images of a suite's datasets."""

from __future__ import annotations

from pathlib import Path

from hume_turtle.datasets.images import ImageDataset
from hume_turtle.datasets.registry import load_dataset
from hume_turtle.pipeline.settings import Settings


def images_folder(suite: Settings) -> Path:
    """The folder under which datasets lie."""
    section = suite.params.get("images", {})
    return suite.root / Path(section.get("folder", "data/images")).expanduser()


def load_images(suite: Settings, dataset: str, split: str) -> ImageDataset:
    """The images of a split, from where `images` in params.yaml says that datasets lie.

    Raises:
        FileNotFoundError: if they are not there; the message says how to get them.
    """
    download = suite.params.get("images", {}).get("download", False)
    return load_dataset(dataset, split, images_folder(suite), download)

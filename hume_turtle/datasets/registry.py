"""Datasets by name: images, splits, class names. `load_dataset` is the one entrance.

A new dataset is one builder in the `BUILDERS` of one of the files here. Any folder of images is a
dataset too, without code: see folder.py for its layout.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from hume_turtle.datasets import digits, drawn_splits, folder, manual, torchvision_sets, video
from hume_turtle.datasets.images import Builder, ImageDataset, JoinedImages
from hume_turtle.storage.names import SPLITS, reported_sizes

CHOICES = (*SPLITS, "all")

BUILDERS: dict[str, Builder] = {
    **digits.BUILDERS,
    **manual.BUILDERS,
    **video.BUILDERS,
    **torchvision_sets.BUILDERS,
    **drawn_splits.BUILDERS,
}

MANUAL = {**manual.MANUAL, **video.MANUAL}  # those that nobody but the user can fetch


def load_dataset(
    name: str, split: str, root: str | Path | None = None, download: bool = False
) -> ImageDataset:
    """One split of a dataset: "train", "test", or "all", which is train followed by test.

    name: one of `BUILDERS`; "folder:<path>", a folder of images, by its own path or under `root`;
        or any other name for which there is a folder of images `<root>/<name>`.
    root: the folder under which datasets lie on disk; the digits need none.
    download: fetch what is missing, where no manual download is required.
    Raises ValueError for an unknown name or split, and where `root` is needed and not given;
    FileNotFoundError where files are missing, with what to do about it. Warns where the counts
    are not the papers'.
    """
    root = None if root is None else Path(root).expanduser()
    found = None if name in BUILDERS else folder.find_folder(name, root)
    if name not in BUILDERS and found is None:
        place = "" if root is None else f", and there is no folder {root / name}"
        raise ValueError(f"unknown dataset {name!r}; choose from {', '.join(BUILDERS)}{place}")
    if split not in CHOICES:
        raise ValueError(f"unknown split {split!r} of {name!r}; choose from {', '.join(CHOICES)}")
    if found is not None:
        own = name.startswith(folder.PREFIX)  # its dataset is called as the folder is
        return folder.image_folder(found, split, None if own else name)
    splits = SPLITS if split == "all" else (split,)
    parts = [BUILDERS[name](part, root, download) for part in splits]
    for part in parts:
        check_counts(part)
    return joined(*parts) if split == "all" else parts[0]


def joined(train: ImageDataset, test: ImageDataset) -> ImageDataset:
    """Both splits as one: the training images, then the test images."""
    return replace(
        train,
        split="all",
        images=JoinedImages(train.images, test.images),
        labels=np.concatenate([train.labels, test.labels]),
        attributes={
            kind: np.concatenate([labels, test.attributes[kind]])
            for kind, labels in train.attributes.items()
        },
    )


def check_counts(dataset: ImageDataset) -> None:
    """Warn (UserWarning) where a split has other counts than data/reported/dataset_sizes.csv.

    The images of the split and the classes are compared. Silent for datasets that are not in that
    file, and for birdsnap.
    """
    size = reported_sizes().get(dataset.name)
    if size is None or dataset.name == "birdsnap":  # its links die: no one has all the images
        return
    expected = (size[dataset.split], size["classes"])
    found = (len(dataset), len(dataset.class_names))
    if found != expected:
        warnings.warn(
            f"dataset {dataset.name!r}, split {dataset.split!r}, has {found[0]} images of "
            f"{found[1]} classes, the papers' has {expected[0]} images of {expected[1]} classes: "
            "numbers computed from it do not compare with theirs",
            UserWarning,
            stacklevel=3,
        )

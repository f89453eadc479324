"""What a dataset is: images made on access, labels, class names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


class ArrayImages(Sequence):
    """PIL images made on access from (n, H, W) or (n, H, W, 3) uint8 pixels."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int):
        from PIL import Image

        return Image.fromarray(self.pixels[index])


class FileImages(Sequence):
    """PIL images read from files on access, grey or RGB.

    Palettes, transparency and other modes become RGB before anything is resized, as torchvision's
    datasets have it.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        # One array of bytes, not a million objects: reading an object writes its reference count,
        # so every forked loader worker would come to hold a copy of all of them.
        self._paths = np.array([os.fsencode(path) for path in paths], bytes)

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def paths(self) -> list[Path]:
        """Of the files, in order."""
        return [Path(self.source(index)) for index in range(len(self))]

    def __getitem__(self, index: int):
        from PIL import Image

        with Image.open(self.source(index)) as image:
            image.load()
            return image if image.mode in ("L", "RGB") else image.convert("RGB")

    def source(self, index: int) -> str:
        """Where an image comes from, for messages."""
        return os.fsdecode(self._paths[index])


class JoinedImages(Sequence):
    """Images of several sequences, one after the other."""

    def __init__(self, *parts: Sequence) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def _find(self, index: int) -> tuple[Sequence, int]:
        part = int(np.searchsorted(self.ends, index, side="right"))
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.parts[part], index - (int(self.ends[part - 1]) if part else 0)

    def __getitem__(self, index: int):
        part, row = self._find(index)
        return part[row]

    def source(self, index: int) -> str:
        part, row = self._find(index)
        return source_of(part, row)


def source_of(images: Sequence, index: int) -> str:
    """Where an image comes from, for messages: its file, or its number."""
    return images.source(index) if hasattr(images, "source") else f"image {index}"


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """The images of one split of one dataset, and the labels that only metrics may see.

    Attributes:
        images: a sequence of PIL images, made on access.
        labels: (n,) int64, indices into `class_names`; None where none are known: then there are
            no class names either.
        attributes: further labelings of the same images by name, (n,) int64 each: for
            `coloured-digits`, "background" holds indices into the keys of `digits.BACKGROUNDS`.
    """

    name: str
    split: str
    images: Sequence
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    attributes: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        return self.images[index]

    def source(self, index: int) -> str:
        """Where an image comes from, for messages: its file, or its number."""
        return source_of(self.images, index)


def of_files(name: str, split: str, paths, labels, class_names) -> ImageDataset:
    """The dataset of image files with their labels, in order."""
    labels = np.asarray(labels, np.int64)
    return ImageDataset(name, split, FileImages(paths), labels, tuple(class_names))


# (split "train" or "test", root or None, whether to download what is missing) to the dataset
Builder = Callable[[str, Path | None, bool], ImageDataset]

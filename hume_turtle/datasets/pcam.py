"""PatchCamelyon, whose images are the rows of HDF5 files too large to hold in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hume_turtle.datasets.images import Builder, ImageDataset, JoinedImages
from hume_turtle.datasets.torchvision_sets import PARTS, fetch


def pcam(split: str, root: Path | None, download: bool) -> ImageDataset:
    """PatchCamelyon; the archive's splits train and valid, and test.

    Raises ImportError without h5py. The download is from Google Drive and needs gdown as well.
    """
    try:
        import h5py
    except ImportError:
        raise ImportError("dataset 'pcam' is read with h5py: pip install h5py") from None
    images, labels = [], []
    for name in PARTS[split]:
        part = fetch("pcam", root, download, split=name)
        files = {what: Path(root, "pcam", file) for what, (file, *_) in part._FILES[name].items()}
        images.append(H5Images(files["images"], "x"))
        with h5py.File(files["targets"]) as targets:
            labels.append(targets["y"][:].reshape(-1))  # (n, 1, 1, 1)
    labels = np.concatenate(labels).astype(np.int64)
    names = ("no tumour tissue", "tumour tissue")
    return ImageDataset("pcam", split, JoinedImages(*images), labels, names)


class H5Images(Sequence):
    """PIL images read on access from (n, H, W, 3) uint8 pixels in an HDF5 file.

    Each process opens the file for itself, as an open one survives neither pickling nor a fork.
    """

    def __init__(self, path: str | Path, key: str) -> None:
        import h5py

        self.path, self.key = path, key
        with h5py.File(path) as file:
            self.n = len(file[key])
        self._opened = (None, None)  # process, its pixels

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int):
        from PIL import Image

        return Image.fromarray(self._pixels()[index])

    def _pixels(self):
        import h5py

        if self._opened[0] != os.getpid():
            self._opened = (None, None)  # let go of an inherited file, or HDF5 shares it
            self._opened = (os.getpid(), h5py.File(self.path)[self.key])
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": (None, None)}

    def source(self, index: int) -> str:
        """Where an image comes from, for messages."""
        return f"{self.path}, image {index}"


BUILDERS: dict[str, Builder] = {"pcam": pcam}

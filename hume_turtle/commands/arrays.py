"""The .npy files that commands read and write: rows of spaces, and labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hume_turtle.storage.files import atomic_write


def open_arrays(paths: Sequence[str], ndim: int) -> list[np.ndarray]:
    """Memory maps of the same rows: spaces (n, d_k) for ndim 2, labelings (n,) for 1.

    Raises FileNotFoundError and ValueError that name the file.
    """
    arrays = [_open(path, ndim) for path in paths]
    for path, array in zip(paths, arrays):
        if len(array) != len(arrays[0]):
            raise ValueError(
                f"{path} has {len(array)} rows, but {paths[0]} has {len(arrays[0])}: "
                "give files of the same images in the same order"
            )
    return arrays


def _open(path: str, ndim: int) -> np.ndarray:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise ValueError(f"{path} is not an .npy file of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path} holds {array.dtype}, not numbers")
    if array.ndim != ndim:
        wanted = {1: "one, (n,)", 2: "two, (n, d)"}[ndim]
        raise ValueError(f"{path} has {array.ndim} dimensions, {array.shape}, not {wanted}")
    return array


def write_labels(path: str, labels: np.ndarray, classes: Iterable[int]) -> None:
    """Write labels (n,) as int64, whole or not at all, and print the rows of each class."""
    with atomic_write(path) as file:
        np.save(file, labels.astype(np.int64))
    print(f"{path}: {rows_of_each(labels, classes)}")


def rows_of_each(labels: np.ndarray, classes: Iterable[int]) -> str:
    counts = " ".join(str(np.count_nonzero(labels == c)) for c in classes)
    return f"{len(labels)} rows labelled; rows of each class: {counts}"

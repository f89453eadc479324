"""An unfinished embedding on disk: one file per block of rows, and what they are rows of.

    <split>.blocks/identity.json    what determines the rows, the batch size and the dimensions
    <split>.blocks/<block>.npz      rows (b, d), and the images that were skipped

Every file appears whole or not at all, so a block that exists is finished. A block is `BATCHES`
batches: what a kill can cost, and the smallest share of a process.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hume_turtle.datasets.images import ImageDataset
from hume_turtle.storage.embeddings import file_statistics, write_sidecar
from hume_turtle.storage.files import atomic_write

BATCHES = 4


def block_count(plan: dict[str, Any]) -> int:
    return -(-plan["images"] // (BATCHES * plan["batch_size"]))


def batches_of(number: int, plan: dict[str, Any]) -> list[range]:
    """The images of each batch of a block."""
    size, images = plan["batch_size"], range(plan["images"])
    starts = images[number * BATCHES * size : (number + 1) * BATCHES * size : size]
    return [images[start : start + size] for start in starts]


def read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


class Blocks:
    """The blocks of the embedding that is to be at `path`.

    A plan is an identity (identity.py) and how it is computed: "batch_size", "dimensions", device
    and versions.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.with_suffix(".blocks")
        self.plan_path = self.folder / "identity.json"

    def begin(self, plan: dict[str, Any]) -> None:
        """Discard what was here and write the plan. Raises OSError where the disk is too full."""
        self.remove()
        self.folder.mkdir(parents=True)
        needed = 2 * plan["images"] * plan["dimensions"] * np.dtype(plan["dtype"]).itemsize
        if shutil.disk_usage(self.folder).free < needed:  # the blocks, and then the whole
            raise OSError(errno.ENOSPC, f"no room for {needed} bytes", str(self.folder))
        with atomic_write(self.plan_path, "w", encoding="utf-8") as file:
            file.write(json.dumps(plan, indent=2) + "\n")

    def remove(self) -> None:
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def write(self, number: int, rows: np.ndarray, skipped: list[tuple[int, str]]) -> None:
        """Rows (b, d) of the images that could be read, (image, error) of the others."""
        images = np.array([image for image, _ in skipped], np.int64)
        errors = np.array([error for _, error in skipped], np.str_)
        with atomic_write(self._file(number)) as file:
            np.savez(file, rows=rows, skipped=images, errors=errors)

    def finished(self) -> list[int]:
        """The numbers of the blocks that exist, in order."""
        return sorted(int(path.stem) for path in self.folder.glob("*.npz"))

    def skipped(self, numbers: Iterable[int], dataset: ImageDataset) -> list[dict[str, Any]]:
        """Row, path and error of the images of these blocks that could not be read."""
        return [
            {"row": int(row), "path": dataset.source(int(row)), "error": str(error)}
            for block in self._read(numbers)
            for row, error in zip(block["skipped"], block["errors"])
        ]

    def join(self, plan: dict[str, Any], dataset: ImageDataset) -> None:
        """Write all blocks to `path`, one after the other, and its sidecar; remove the blocks.

        An older embedding stays until the new one is whole. Raises FileNotFoundError where a
        block is missing, ValueError where no image could be read.
        """
        numbers = range(block_count(plan))
        skipped = self.skipped(numbers, dataset)
        shape = (plan["images"] - len(skipped), plan["dimensions"])
        if shape[0] == 0:
            raise ValueError(f"no image of {dataset.name!r} can be read; {skipped[0]['error']}")
        descr = np.dtype(plan["dtype"]).str
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        with atomic_write(self.path) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for block in self._read(numbers):
                file.write(np.ascontiguousarray(block["rows"]))
            self.path.with_suffix(".json").unlink(missing_ok=True)  # of an older embedding
        stated = {"rows": shape[0], "skipped": skipped, **file_statistics(self.path)}
        write_sidecar(self.path, {**plan, **stated})
        self.remove()

    def _read(self, numbers: Iterable[int]) -> Iterator[Any]:
        for number in numbers:
            with np.load(self._file(number), allow_pickle=False) as block:
                yield block

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.npz"

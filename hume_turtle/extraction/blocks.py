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
from collections.abc import Iterator
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
    size = plan["batch_size"]
    start = number * BATCHES * size
    end = min(start + BATCHES * size, plan["images"])
    return [range(at, min(at + size, end)) for at in range(start, end, size)]


class Blocks:
    """The blocks of the embedding that is to be at `path`.

    A plan is an identity (identity.py) and how it is computed: "batch_size", "dimensions", device
    and versions.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.with_suffix(".blocks")

    def plan(self) -> dict[str, Any] | None:
        """What was begun here, if anything."""
        path = self.folder / "identity.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def begin(self, plan: dict[str, Any]) -> None:
        """Discard what was here and write the plan. Raises OSError where the disk is too full."""
        self.remove()
        self.folder.mkdir(parents=True)
        needed = 2 * plan["images"] * plan["dimensions"] * np.dtype(plan["dtype"]).itemsize
        if shutil.disk_usage(self.folder).free < needed:  # the blocks, and then the whole
            raise OSError(errno.ENOSPC, f"no room for {needed} bytes", str(self.folder))
        with atomic_write(self.folder / "identity.json", "w", encoding="utf-8") as file:
            file.write(json.dumps(plan, indent=2) + "\n")

    def remove(self) -> None:
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def write(self, number: int, rows: np.ndarray, skipped: list[tuple[int, str]], size: int):
        """Rows (b, d) of the images that could be read, [image, error] of the others.

        size: images that were computed at once at the end of the block.
        """
        images, errors = [image for image, _ in skipped], [error for _, error in skipped]
        with atomic_write(self._file(number)) as file:
            np.savez(
                file,
                rows=rows,
                skipped=np.array(images, np.int64),
                errors=np.array(errors, np.str_),
                size=size,
            )

    def finished(self) -> list[int]:
        """The numbers of the blocks that exist, in order."""
        return sorted(int(path.stem) for path in self.folder.glob("*.npz"))

    def skipped(self, dataset: ImageDataset) -> list[dict[str, Any]]:
        """Row, path and error of the images of finished blocks that could not be read."""
        return [
            {"row": int(row), "path": dataset.source(int(row)), "error": str(error)}
            for block in self._read(self.finished())
            for row, error in zip(block["skipped"], block["errors"])
        ]

    def join(self, plan: dict[str, Any], dataset: ImageDataset) -> None:
        """Write all blocks to `path`, block by block, and its sidecar; remove the blocks.

        An older embedding stays until the new one is whole. Raises FileNotFoundError where a
        block is missing, ValueError where no image could be read.
        """
        numbers = range(block_count(plan))
        halved = self._halved(plan)  # reads every block: a missing one is noticed here
        skipped = self.skipped(dataset)
        rows = plan["images"] - len(skipped)
        if rows == 0:
            raise ValueError(f"no image of {dataset.name!r} can be read; {skipped[0]['error']}")
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(plan["dtype"])),
            "fortran_order": False,
            "shape": (rows, plan["dimensions"]),
        }
        with atomic_write(self.path) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for block in self._read(numbers):
                file.write(np.ascontiguousarray(block["rows"], plan["dtype"]))
            self.path.with_suffix(".json").unlink(missing_ok=True)  # of an older embedding
        stated = {"rows": rows, "skipped": skipped, **file_statistics(self.path)}
        write_sidecar(self.path, {**plan, **({"halved": halved} if halved else {}), **stated})
        self.remove()

    def _halved(self, plan: dict[str, Any]) -> list[list[int]]:
        """[image, images computed at once] of each block where that number changes."""
        halved, size = [], plan["batch_size"]
        for number, block in enumerate(self._read(range(block_count(plan)))):
            if block["size"] != size:
                size = int(block["size"])
                halved.append([batches_of(number, plan)[0].start, size])
        return halved

    def _read(self, numbers) -> Iterator[Any]:
        for number in numbers:
            with np.load(self._file(number), allow_pickle=False) as block:
                yield block

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.npz"

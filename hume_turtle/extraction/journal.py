"""An unfinished embedding on disk: its rows, and which of them are there.

    <split>.npy.partial              all rows; those of unfinished blocks are zeros
    <split>.npy.journal/plan.json    what is extracted and how; written last when work begins
    <split>.npy.journal/blocks-<rank>.jsonl    a line for each block that a process has finished
    <split>.npy.journal/failed-<rank>          why a process stopped
    <split>.npy.journal/sidecar.json           the finished sidecar: only renaming is left

A block's line is written after its rows have reached the disk, so a line never promises too much;
a line that was cut off is no line. Rows are written to their place in the file by plain writes,
not through a memory map: a full disk is then an error instead of a dead process, and machines
that share a file system never write each other's pages.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hume_turtle.storage.files import atomic_write

ROWS = 1024  # read at once when the finished file is gone through


class Journal:
    """The unfinished state of the embedding that is to be at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self.kept = path.with_name(path.name + ".kept.partial")
        self.folder = path.with_name(path.name + ".journal")

    def plan(self) -> dict[str, Any] | None:
        """What was begun here, if its rows are still there."""
        plan = self._read("plan.json")
        if plan is None or self.sidecar() is not None:
            return plan
        expected = len(header(plan["dtype"], plan["images"], plan["dimensions"]))
        expected += plan["images"] * row_bytes(plan)
        whole = self.partial.exists() and self.partial.stat().st_size == expected
        return plan if whole else None

    def begin(self, plan: dict[str, Any]) -> None:
        """Forget what was here; make a file of zeros. In this order, whenever we are killed."""
        self.remove()
        self.folder.mkdir(parents=True)
        create(self.partial, plan["dtype"], plan["images"], plan["dimensions"])
        self._write("plan.json", plan)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            raise OSError(f"cannot remove {self.folder}")
        for file in (self.partial, self.kept):
            file.unlink(missing_ok=True)

    def write(self, plan: dict[str, Any], start: int, rows: np.ndarray) -> None:
        """Rows (B, d) from row `start` on, to the disk."""
        offset = len(header(plan["dtype"], plan["images"], plan["dimensions"]))
        with self.partial.open("r+b") as file:
            file.seek(offset + start * row_bytes(plan))
            file.write(np.ascontiguousarray(rows, plan["dtype"]))
            to_disk(file)

    def record(self, rank: int, block: int, sizes: list[int], skipped: list) -> None:
        """A block is finished: images at once in each of its batches, and [row, error] of those
        that could not be read."""
        line = json.dumps({"block": block, "sizes": sizes, "skipped": skipped})
        with (self.folder / f"blocks-{rank}.jsonl").open("a", encoding="utf-8") as file:
            file.write("\n" + line)  # first the end of a line that may have been cut off
            to_disk(file)

    def finished(self) -> dict[int, dict[str, Any]]:
        """The lines of all processes by block."""
        blocks = {}
        for part in sorted(self.folder.glob("blocks-*.jsonl")):
            for line in part.read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:  # cut off, or empty
                    continue
                blocks[record["block"]] = record
        return blocks

    def fail(self, rank: int, error: BaseException) -> None:
        """Tell the other processes that this one stops."""
        if self.folder.exists():
            text = f"process {rank} stopped: {type(error).__name__}: {error}"
            (self.folder / f"failed-{rank}").write_text(text, encoding="utf-8")

    def failures(self) -> list[Path]:
        return sorted(self.folder.glob("failed-*"))

    def sidecar(self) -> dict[str, Any] | None:
        """The sidecar of rows that are complete and only lack their name."""
        return self._read("sidecar.json")

    def keep(self, plan: dict[str, Any], skipped: Sequence[int]) -> Path:
        """The file of all rows but the skipped ones: the partial file, or a smaller copy of it."""
        if not skipped:
            return self.partial
        count = plan["images"] - len(skipped)
        create(self.kept, plan["dtype"], count, plan["dimensions"])
        drop = np.asarray(skipped)
        with self.kept.open("r+b") as file:
            file.seek(len(header(plan["dtype"], count, plan["dimensions"])))
            start = 0
            for rows in pieces(self.partial):
                here = drop[(drop >= start) & (drop < start + len(rows))] - start
                file.write(np.ascontiguousarray(np.delete(rows, here, axis=0)))
                start += len(rows)
            to_disk(file)
        return self.kept

    def finish(self, sidecar: dict[str, Any]) -> None:
        """Give the rows and their sidecar their names. Repeats safely, wherever it was killed."""
        self._write("sidecar.json", sidecar)
        self.path.with_suffix(".json").unlink(missing_ok=True)  # of an older embedding
        source = self.kept if sidecar["skipped"] else self.partial
        if source.exists():
            os.replace(source, self.path)
        with atomic_write(self.path.with_suffix(".json"), "w", encoding="utf-8") as file:
            file.write(json.dumps(sidecar, indent=2) + "\n")
            to_disk(file)
        self.remove()

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def _write(self, name: str, content: dict[str, Any]) -> None:
        with atomic_write(self.folder / name, "w", encoding="utf-8") as file:
            file.write(json.dumps(content))
            to_disk(file)


def header(dtype: str, rows: int, dimensions: int) -> bytes:
    """How the .npy file of (rows, dimensions) begins."""
    buffer = io.BytesIO()
    description = np.lib.format.dtype_to_descr(np.dtype(dtype))
    content = {"descr": description, "fortran_order": False, "shape": (rows, dimensions)}
    np.lib.format.write_array_header_1_0(buffer, content)
    return buffer.getvalue()


def row_bytes(plan: dict[str, Any]) -> int:
    return plan["dimensions"] * np.dtype(plan["dtype"]).itemsize


def create(path: Path, dtype: str, rows: int, dimensions: int) -> None:
    """A .npy file of zeros. Its space is taken now, so that a full disk shows at once."""
    start = header(dtype, rows, dimensions)
    size = len(start) + rows * dimensions * np.dtype(dtype).itemsize
    with path.open("wb") as file:
        file.write(start)
        file.flush()
        file.truncate(size)
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except AttributeError:  # not on this system
            pass
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise OSError(error.errno, f"no room for {size} bytes", str(path)) from None
        to_disk(file)


def pieces(path: Path) -> Iterator[np.ndarray]:
    """The rows of a .npy file in order, a thousand at a time, without mapping it."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        (rows, dimensions), _, dtype = np.lib.format.read_array_header_1_0(file)
        for start in range(0, rows, ROWS):
            count = min(ROWS, rows - start)
            content = file.read(count * dimensions * dtype.itemsize)
            yield np.frombuffer(content, dtype).reshape(count, dimensions)


def to_disk(file) -> None:
    file.flush()
    os.fsync(file.fileno())

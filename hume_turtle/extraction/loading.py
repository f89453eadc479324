"""From images to rows: loader processes, batches on the device, rows back on the host.

Images are read and preprocessed in loader processes while the device computes. On a GPU the
images of the next batch are copied on a stream of their own, and rows come back while later
batches are under way: the device waits for nothing but slow loaders.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hume_turtle.datasets.images import JoinedImages
from hume_turtle.encoders.encoder import Encoder

PREFETCH = 2  # batches that each loader process has ready
IN_FLIGHT = 2  # batches that a GPU has been given and whose rows are not yet back
CPU_BATCH = 64  # larger batches gain a CPU nothing
LARGEST_BATCH = 1024  # of the automatic choice: no encoder gains from more
BUDGET = 0.8  # of the free device memory


class Batch(NamedTuple):
    """Neighbouring images of a dataset, those that could be read and those that could not."""

    rows: list[int]  # (B,) which images of the dataset
    images: Tensor | None  # (B, ...) preprocessed; None where no image could be read
    unreadable: list[tuple[int, str]]  # image and error


class Images(torch.utils.data.Dataset):
    """Preprocessed images, or what is wrong with one that cannot be read: (row, tensor or text)."""

    def __init__(self, images: Sequence, preprocess: Callable[[Any], Tensor]) -> None:
        self.images, self.preprocess = images, preprocess

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[int, Tensor | str]:
        try:
            image = self.images[row]
        except (MemoryError, ImportError):  # the machine's fault, not the image's
            raise
        except Exception as error:  # decoders raise nearly anything on corrupt files
            return row, f"{type(error).__name__}: {error}"
        try:
            return row, self.preprocess(image)
        except OSError as error:  # of an image that is decoded only when it is used
            return row, f"{type(error).__name__}: {error}"


def collate(items: list[tuple[int, Tensor | str]], dtype: torch.dtype) -> Batch:
    """One batch of (row, tensor or error); floating images in `dtype`, half the bytes to move."""
    read = [(row, image) for row, image in items if not isinstance(image, str)]
    unreadable = [(row, image) for row, image in items if isinstance(image, str)]
    for row, image in read:
        if image.shape != read[0][1].shape:
            shapes = f"{tuple(image.shape)}, image {read[0][0]} {tuple(read[0][1].shape)}"
            raise ValueError(f"one dataset's images need one shape; image {row} has {shapes}")
    images = torch.stack([image for _, image in read]) if read else None
    if images is not None and images.is_floating_point():
        images = images.to(dtype)
    return Batch([row for row, _ in read], images, unreadable)


def load_batches(
    images: Sequence,
    preprocess: Callable[[Any], Tensor],
    batches: Sequence[range],
    workers: int = 0,
    dtype: torch.dtype = torch.float32,
    pin: bool = False,
) -> Iterable[Batch]:
    """The named batches of images in order, read by `workers` processes, or here for 0.

    The processes come from a fork server, which has never seen a GPU; so a script that asks for
    them needs the usual `if __name__ == "__main__":`.
    """
    options: dict[str, Any] = {}
    if workers:
        images = shared(images)
        options = {"multiprocessing_context": _context(), "prefetch_factor": PREFETCH}
        if os.name == "posix":
            options["worker_init_fn"] = partial(end_with, os.getpid())
    return torch.utils.data.DataLoader(
        Images(images, preprocess),
        batch_sampler=batches,
        collate_fn=partial(collate, dtype=dtype),
        num_workers=workers,
        pin_memory=pin,
        generator=torch.Generator(),  # else it draws from the global one
        **options,
    )


def end_with(reader: int, worker: int) -> None:
    """Let a loader process end soon after the process that reads from it, even one killed.

    PyTorch watches the loader's own parent, and that is the fork server.
    """

    def watch() -> None:
        while True:
            try:
                os.kill(reader, 0)  # asks whether it is there
            except ProcessLookupError:
                os._exit(1)
            time.sleep(1)

    threading.Thread(target=watch, daemon=True).start()


def _context():
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])  # torch is imported once, not W times
    return context


def shared(images: Sequence) -> Sequence:
    """The same images, their pixels or paths in memory that all processes share.

    Otherwise every loader process would be sent a copy: of ImageNet's paths, some 500 MB each.
    """
    images = copy.copy(images)
    if isinstance(images, JoinedImages):
        images.parts = tuple(shared(part) for part in images.parts)
    elif isinstance(getattr(images, "pixels", None), np.ndarray):
        images.pixels = SharedArray(images.pixels)
    elif isinstance(getattr(images, "paths", None), tuple):
        images.paths = SharedPaths(images.paths)
    return images


class SharedArray(Sequence):
    """A numpy array in shared memory, by its first axis."""

    def __init__(self, array: np.ndarray) -> None:
        with torch.no_grad():
            self.tensor = torch.from_numpy(np.array(array)).share_memory_()

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, index):
        return self.tensor[index].numpy()


class SharedPaths(Sequence):
    """Paths as one string of bytes in shared memory, and where each ends."""

    def __init__(self, paths: Sequence[str | Path]) -> None:
        names = [os.fsencode(path) for path in paths]
        self.text = SharedArray(np.frombuffer(b"".join(names), np.uint8))
        self.ends = SharedArray(np.cumsum([0, *map(len, names)]))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> Path:
        index = range(len(self))[index]
        start, end = self.ends[slice(index, index + 2)]
        return Path(os.fsdecode(self.text[slice(start, end)].tobytes()))


class Encoding:
    """Batches of images through an encoder, and how many images fit at once.

    Attributes:
        size: images that are computed at once; halved whenever they do not fit.
    """

    def __init__(
        self, encoder: Encoder, device: torch.device, size: int, dtype: torch.dtype = torch.float32
    ) -> None:
        """dtype: of the rows that come back. The encoder is on the device already."""
        self.encoder, self.device, self.size, self.dtype = encoder, device, size, dtype
        self.copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, np.ndarray, int]]:
        """Each batch without its images, its rows (B, d), and how many were computed at once."""
        waiting: deque = deque()
        for batch in batches:
            waiting.append(self._start(batch))
            if self.copies is None or len(waiting) > IN_FLIGHT:
                yield self._finish(*waiting.popleft())
        while waiting:
            yield self._finish(*waiting.popleft())

    def _start(self, batch: Batch) -> tuple:
        bare = batch._replace(images=None)
        if batch.images is None:
            return bare, torch.empty(0, 0, dtype=self.dtype), None, self.size
        while True:
            try:
                rows, ready = self._compute(batch.images)
                return bare, rows, ready, self.size
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise
            self.size //= 2  # not in the handler, whose traceback holds what did not fit
            if self.copies is not None:
                torch.cuda.empty_cache()

    def _compute(self, images: Tensor) -> tuple[Tensor, Any]:
        """Rows (B, d) on the host, and the event after which they are there."""
        if self.copies is None:
            return self._encode(images.to(self.device)).cpu(), None
        compute = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self.copies):
            images = images.to(self.device, non_blocking=True)
        compute.wait_stream(self.copies)
        images.record_stream(compute)  # its memory is not given away while `compute` reads it
        rows = self._encode(images)
        host = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
        host.copy_(rows, non_blocking=True)
        ready = torch.cuda.Event()
        ready.record(compute)
        return host, ready

    def _encode(self, images: Tensor) -> Tensor:
        parts = [self.encoder.encode(part) for part in images.split(self.size)]
        return torch.cat(parts).to(self.dtype)

    def _finish(self, batch: Batch, rows: Tensor, ready, size: int):
        if ready is not None:
            ready.synchronize()
        return batch, rows.numpy(), size


def pick_batch_size(encoder: Encoder, example: Tensor, device: torch.device) -> int:
    """The largest power of two up to 1024 whose computation fits into the free GPU memory.

    example: one preprocessed image. Without a GPU it is always 64.
    """
    if device.type != "cuda":
        return CPU_BATCH
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + unused

    def peak(size: int) -> int:
        """Bytes of computing one batch while others wait on the device."""
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        images = example.to(device).expand(size, *example.shape).contiguous()
        encoder.encode(images)
        waiting = IN_FLIGHT * images.numel() * images.element_size()
        return torch.cuda.max_memory_allocated(device) - before + waiting

    size = grow(peak, BUDGET * free)
    torch.cuda.empty_cache()
    return size


def grow(peak: Callable[[int], int], budget: float) -> int:
    """The largest power of two up to 1024 of which `peak(size)` stays within the budget.

    A size is tried only where twice the need of half of it would fit.
    """
    size = 1
    while size < LARGEST_BATCH:
        try:
            if 2 * peak(size) > budget:
                return size
            size *= 2
        except torch.OutOfMemoryError:
            return max(1, size // 2)
    return size

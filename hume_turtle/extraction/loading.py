"""From images to rows: DataLoader workers, batches on the device, rows back on the host.

Images are read and preprocessed by workers while the device computes. On a GPU the
images of the next batch are copied on a stream of their own, and rows come back while later
batches are under way: the device waits for nothing but slow loaders.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hume_turtle.datasets.images import ImageDataset
from hume_turtle.encoders.encoder import Encoder

IN_FLIGHT = 2  # batches that a GPU has been given and whose rows are not yet back


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
    """The named batches of images in order, read by `workers` DataLoader workers, or here for 0."""
    return torch.utils.data.DataLoader(
        Images(images, preprocess),
        batch_sampler=batches,
        collate_fn=partial(collate, dtype=dtype),
        num_workers=workers,
        pin_memory=pin,
        generator=torch.Generator(),  # else it draws from the global one
    )


def first_image(dataset: ImageDataset, encoder: Encoder, precision: torch.dtype) -> Tensor:
    """The first preprocessed image that can be read. Raises ValueError where there is none."""
    images = Images(dataset.images, encoder.preprocess)
    for row in range(len(images)):
        _, image = images[row]
        if not isinstance(image, str):
            return image.to(precision) if image.is_floating_point() else image
    raise ValueError(f"no image of {dataset.name!r} can be read; {dataset.source(0)}: {image}")


def check_rows(
    batch: Batch,
    rows: np.ndarray,
    encoder: Encoder,
    dim: int,
    dataset: ImageDataset,
    skip: bool = False,
) -> None:
    """Raise ValueError for images that could not be read unless they are skipped, and bad rows."""
    if batch.unreadable and not skip:
        row, error = batch.unreadable[0]
        raise ValueError(f"cannot read {dataset.source(row)}: {error}")
    if not batch.rows:
        return
    if rows.shape[1] != dim:
        raise ValueError(f"encoder {encoder.name!r} gives {rows.shape[1]}, not {dim}, dimensions")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        where = dataset.source(batch.rows[int(np.argmin(finite))])
        given = f"gave NaN or infinite values, as {rows.dtype}, for {where}"
        raise ValueError(f"encoder {encoder.name!r} {given}")


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

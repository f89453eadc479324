"""From images to rows: DataLoader workers, batches on the device, rows back on the host.

Workers read and preprocess images while the device computes. On a GPU the images of the next
batch are copied on a stream of their own, and rows come back while later batches are under way:
the device waits for nothing but slow workers.
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
        return row, self.preprocess(image)


def collate(items: list[tuple[int, Tensor | str]], dtype: torch.dtype) -> Batch:
    """One batch of (row, tensor or error); floating images in `dtype`, half the bytes to move."""
    read = [(row, image) for row, image in items if not isinstance(image, str)]
    unreadable = [(row, image) for row, image in items if isinstance(image, str)]
    for row, image in read:
        if image.shape != read[0][1].shape:
            shapes = f"{tuple(image.shape)}, image {read[0][0]} {tuple(read[0][1].shape)}"
            raise ValueError(f"one dataset's images need one shape; image {row} has {shapes}")
    images = None
    if read:  # in a worker straight into memory that it shares: a copy less than torch.stack
        images = torch.utils.data.default_collate([image for _, image in read])
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


def encode_batches(
    batches: Iterable[Batch], encoder: Encoder, device: torch.device, size: int, dtype: torch.dtype
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Each batch without its images, and its rows (B, d).

    size: images to compute at once; halved for good whenever they do not fit into memory.
    """
    copies = torch.cuda.Stream(device) if device.type == "cuda" else None
    waiting: deque = deque()
    for batch in batches:
        rows, ready = torch.empty(0, 0, dtype=dtype), None
        if batch.images is not None:
            rows, size = encode_halving(encoder, batch.images, device, copies, size)
            rows = rows.to(dtype).to("cpu", non_blocking=True)  # from a GPU into pinned memory
            if copies is not None:
                ready = torch.cuda.Event()
                ready.record()
        waiting.append((batch._replace(images=None), rows, ready))
        if copies is None or len(waiting) > IN_FLIGHT:
            yield on_host(*waiting.popleft())
    while waiting:
        yield on_host(*waiting.popleft())


def encode_halving(
    encoder: Encoder, images: Tensor, device, copies, size: int
) -> tuple[Tensor, int]:
    """Rows (B, d) on the device, and how many images fitted at once, at most `size`."""
    while True:
        try:
            parts = to_device(images, device, copies).split(size)
            return torch.cat([encoder.encode(part) for part in parts]), size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
        size //= 2  # not in the handler, whose traceback holds what did not fit
        torch.cuda.empty_cache()


def to_device(images: Tensor, device: torch.device, copies) -> Tensor:
    """The images on the device; on a GPU copied while it computes earlier batches."""
    if copies is None:
        return images.to(device)
    current = torch.cuda.current_stream(device)
    with torch.cuda.stream(copies):
        images = images.to(device, non_blocking=True)
    current.wait_stream(copies)
    images.record_stream(current)  # its memory is not given away while `current` reads it
    return images


def on_host(batch: Batch, rows: Tensor, ready) -> tuple[Batch, np.ndarray]:
    if ready is not None:
        ready.synchronize()
    return batch, rows.numpy()

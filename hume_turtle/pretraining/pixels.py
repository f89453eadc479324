"""All images of a dataset as squares of one size, held as one tensor or read batch by batch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hume_turtle.datasets.images import source_of

HELD = 4 << 30  # bytes of pixels that are held on the device; more are read anew in every epoch
READ = 512  # images read at a time before training


def square(image: Any, size: int) -> Tensor:
    """A PIL image in colour, its shorter side brought to `size`, the middle: (3, size, size) uint8.

    An image of that size keeps its pixels.
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as transforms

    image = transforms.resize(image.convert("RGB"), size, InterpolationMode.BICUBIC)
    image = transforms.center_crop(image, size)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


class Pixels(Dataset):
    """Images as (3, size, size) uint8 tensors, read on access."""

    def __init__(self, images: Sequence, size: int) -> None:
        self.images, self.size = images, size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        try:
            return square(self.images[row], self.size)
        except (OSError, SyntaxError) as error:  # the latter for a broken PNG
            raise ValueError(f"{source_of(self.images, row)} cannot be read: {error}") from None


class Order:
    """The rows of every batch that a loader reads in its next pass."""

    def __init__(self) -> None:
        self.batches: Sequence[Tensor] = ()

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return (rows.tolist() for rows in self.batches)


class Store:
    """All images, held as one uint8 tensor on the device, or read anew where they are too many.

    Attributes:
        fingerprint: SHA-256 of all pixels in order, hexadecimal.
        mean, deviation: of each channel over all pixels, from 0 to 1.
    """

    def __init__(self, images: Sequence, size: int, device: torch.device, workers: int) -> None:
        self.pixels, self.device, self.order = Pixels(images, size), device, Order()
        self.loader = DataLoader(
            self.pixels,
            batch_sampler=self.order,
            num_workers=workers,
            persistent_workers=workers > 0,  # starting them takes seconds
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # nothing is drawn from torch's own
        )
        n, shape = len(images), (3, size, size)
        digest, sums = hashlib.sha256(str((n, *shape)).encode()), torch.zeros(2, 3).long()
        held = torch.empty(n, *shape, dtype=torch.uint8) if n * math.prod(shape) <= HELD else None
        rows = torch.arange(n).split(READ)
        for batch, where in zip(self._read(rows), rows):
            digest.update(batch.numpy())
            values = batch.long()
            sums += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
            if held is not None:
                held[where] = batch
        self.held = None if held is None else held.to(device)
        if held is not None:
            self.loader = None  # its processes end
        self.fingerprint = digest.hexdigest()
        mean, square_mean = sums.double() / (n * size**2)
        self.mean = tuple((mean / 255).tolist())
        self.deviation = tuple(((square_mean - mean**2).clamp(min=1).sqrt() / 255).tolist())

    def batches(self, rows: Sequence[Tensor]) -> Iterator[Tensor]:
        """For each tensor of row numbers their pixels (B, 3, S, S), on the device.

        One pass at a time.
        """
        if self.held is not None:
            return (self.held[batch.to(self.device)] for batch in rows)
        return (batch.to(self.device, non_blocking=True) for batch in self._read(rows))

    def _read(self, rows: Sequence[Tensor]) -> Iterator[Tensor]:
        self.order.batches = rows
        return iter(self.loader)

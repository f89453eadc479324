"""Pairs of random views of a dataset's images, batch by batch.

Attributes of both kinds: their `settings`, completed from the images, and a `fingerprint`, the
SHA-256 of all pixels in order.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from joblib import cpu_count
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hume_turtle.datasets.images import source_of
from hume_turtle.pretraining.augmentations import distort, image_tensor, random_view, square
from hume_turtle.pretraining.networks import SIZE
from hume_turtle.pretraining.settings import MocoRecipe, MocoSettings
from hume_turtle.pretraining.training import seeded

HELD = 4 << 30  # bytes of pixels that are held in memory; more are read again in every epoch
READ = 512  # images read at a time before training

Pairs = Iterator[Sequence[Tensor]]  # for each batch two tensors of views, (B, C, S, S) each


class SmallViews:
    """Two views of each 8×8 image, drawn from the generator that also draws the batches.

    images: at least two 8×8 PIL images of one mode; ValueError otherwise.
    """

    def __init__(self, images: Sequence, settings: MocoSettings) -> None:
        if len(images) < 2:
            raise ValueError(f"pretraining needs at least two images, got {len(images)}")
        tensors = [image_tensor(image) for image in images]
        for row, tensor in enumerate(tensors):
            if tensor.shape != tensors[0].shape or tensor.shape[1:] != (SIZE, SIZE):
                raise ValueError(f"image {row} is {tuple(tensor.shape)}, not (C, {SIZE}, {SIZE})")
        self.pixels, self.settings = torch.stack(tensors), settings  # (n, C, 8, 8)
        self.channels = self.pixels.shape[1]
        self.fingerprint = hashlib.sha256(self.pixels.numpy().tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, order: Sequence[Tensor], generator: torch.Generator) -> Pairs:
        """For each tensor of rows (B,) two views of these images."""
        for rows in order:
            images = self.pixels[rows]
            yield [distort(images, self.settings, generator) for _ in range(2)]


class Pixels(Dataset):
    """Images as (3, size, size) uint8 tensors, held in memory where they fit, else read on access.

    Attributes:
        mean, std: of each channel over all pixels, from 0 to 1.
    """

    def __init__(self, images: Sequence, size: int, workers: int = 0) -> None:
        self.images, self.size, self.held = images, size, None
        n, shape = len(images), (3, size, size)
        digest, sums = hashlib.sha256(str((n, *shape)).encode()), torch.zeros(2, 3).long()
        held = torch.empty(n, *shape, dtype=torch.uint8) if n * math.prod(shape) <= HELD else None
        loader = DataLoader(self, READ, num_workers=workers, generator=torch.Generator())
        for i, batch in enumerate(loader):
            digest.update(batch.numpy())
            values = batch.long()
            sums += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
            if held is not None:
                held[i * READ : (i + 1) * READ] = batch
        self.held, self.fingerprint = held, digest.hexdigest()
        mean, square_mean = sums.double() / (n * size**2)
        self.mean = tuple((mean / 255).tolist())
        self.std = tuple(((square_mean - mean**2).clamp(min=1).sqrt() / 255).tolist())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        if self.held is not None:
            return self.held[row]
        try:
            return square(self.images[row], self.size)
        except (OSError, SyntaxError) as error:  # the latter for a broken PNG
            raise ValueError(f"{source_of(self.images, row)} cannot be read: {error}") from None


@dataclass
class Batches(Dataset):
    """Two views of each image of a batch, given its rows and a seed.

    They depend on nothing else, so neither on the number of workers nor on earlier epochs.
    """

    pixels: Pixels
    view: Callable[[Tensor], Tensor]

    def __getitem__(self, item: tuple[Tensor, int]) -> list[Tensor]:
        rows, seed = item
        images = [self.pixels[row] for row in rows.tolist()]
        return seeded(seed, lambda: [torch.stack([*map(self.view, images)]) for _ in range(2)])


class PhotoViews:
    """Two views of each image at real size, made by DataLoader workers.

    workers: "auto" is one per core for a GPU, else none.
    """

    def __init__(self, images: Sequence, settings: MocoRecipe, device, workers="auto") -> None:
        gpu = device.type == "cuda"
        if workers == "auto":
            workers = cpu_count() if gpu else 0
        self.pixels = pixels = Pixels(images, settings.size, workers)
        found = {"mean": settings.mean or pixels.mean, "std": settings.std or pixels.std}
        self.settings, self.fingerprint = replace(settings, **found), pixels.fingerprint
        self.order: list[tuple[Tensor, int]] = []  # the epoch's items
        self.loader = DataLoader(
            Batches(pixels, random_view(self.settings)),
            batch_size=None,
            sampler=self.order,
            num_workers=workers,
            persistent_workers=workers > 0,  # starting them takes seconds
            pin_memory=gpu,
            generator=torch.Generator(),  # nothing is drawn from torch's own
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, order: Sequence[Tensor], generator: torch.Generator) -> Pairs:
        """For each tensor of rows (B,) two views of these images."""
        seeds = torch.randint(2**62, (len(order),), generator=generator).tolist()
        self.order[:] = zip(order, seeds)
        return iter(self.loader)

"""Pairs of random views of a dataset's images, batch by batch.

Attributes of both kinds: their `settings`, completed from the images, and a `fingerprint`, the
SHA-256 of all pixels in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hume_turtle.datasets.images import source_of
from hume_turtle.pretraining.augmentations import distort, image_tensor, random_view, square
from hume_turtle.pretraining.networks import SIZE
from hume_turtle.pretraining.settings import MocoRecipe, MocoSettings
from hume_turtle.pretraining.training import seeded

READ = 512  # images read at a time before training

Pairs = Iterator[Sequence[Tensor]]  # for each batch two tensors of views, (B, C, S, S) each


class SmallViews:
    """Two views of each 8×8 image, drawn from the generator that also draws the batches.

    Raises ValueError for fewer than two images, images of another size, and of several modes.
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
        self.fingerprint = hashlib.sha256(self.pixels.numpy()).hexdigest()

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, order: Sequence[Tensor], generator: torch.Generator) -> Pairs:
        """For each tensor of rows (B,) two views of these images."""
        for rows in order:
            images = self.pixels[rows]
            yield [distort(images, self.settings, generator) for _ in range(2)]


@dataclass
class Squares(Dataset):
    """Images as (3, size, size) uint8 tensors; ValueError where one cannot be read."""

    images: Sequence
    size: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        try:
            return square(self.images[row], self.size)
        except (OSError, SyntaxError) as error:  # the latter for a broken PNG
            raise ValueError(f"{source_of(self.images, row)} cannot be read: {error}") from None


@dataclass
class Batches(Dataset):
    """Two views of each image of a batch, given its rows and a seed.

    They depend on nothing else, so neither on the number of workers nor on earlier epochs.
    """

    pixels: Tensor  # (n, 3, S, S) uint8
    view: Callable[[Tensor], Tensor]

    def __getitem__(self, item: tuple[Tensor, int]) -> list[Tensor]:
        rows, seed = item
        images = self.pixels[rows]
        return seeded(seed, lambda: [torch.stack([*map(self.view, images)]) for _ in range(2)])


class PhotoViews:
    """Two views of each image at real size, made by DataLoader workers from pixels in memory."""

    def __init__(self, images: Sequence, settings: MocoRecipe, workers: int = 0) -> None:
        n, size = len(images), settings.size
        pixels = torch.empty(n, 3, size, size, dtype=torch.uint8)
        sums = torch.zeros(2, 3).long()
        options = {"num_workers": workers, "generator": torch.Generator()}  # not torch's own
        for i, batch in enumerate(DataLoader(Squares(images, size), READ, **options)):
            pixels[i * READ : (i + 1) * READ] = batch
            values = batch.long()
            sums += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
        mean, square_mean = sums.double() / (n * size**2)
        std = (square_mean - mean**2).clamp(min=1).sqrt()
        self.settings = replace(
            settings,
            mean=settings.mean or tuple((mean / 255).tolist()),
            std=settings.std or tuple((std / 255).tolist()),
        )
        self.pixels, self.fingerprint = pixels, hashlib.sha256(pixels.numpy()).hexdigest()
        self.order: list[tuple[Tensor, int]] = []  # the epoch's items
        self.loader = DataLoader(
            Batches(pixels, random_view(self.settings)),
            batch_size=None,
            sampler=self.order,
            persistent_workers=workers > 0,  # starting them takes seconds
            pin_memory=torch.cuda.is_available(),
            **options,
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, order: Sequence[Tensor], generator: torch.Generator) -> Pairs:
        """For each tensor of rows (B,) two views of these images."""
        seeds = torch.randint(2**62, (len(order),), generator=generator).tolist()
        self.order[:] = zip(order, seeds)
        return iter(self.loader)

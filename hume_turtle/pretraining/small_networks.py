"""The small networks of the default suite, their training, and MoCo on a dataset's own images.

`moco` stands for HUME's φ1: self-supervised on the target dataset itself; moco.py trains it at
real size. The letters network (letters.py) is made of the same convolutional network for 8×8
images. All are stored as plain tensors and settings that load without running any pickled code.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hume_turtle.storage.files import atomic_write

SIZE = 8  # pixels a side, of the images that the networks see


@dataclass(frozen=True)
class MocoSettings:
    """How MoCo (He et al., 2020; the head of MoCo v2) is trained on the target's images.

    The memory bank is smaller than the dataset: were it not, it would hold an earlier view of
    every image in the batch, and push the image away from itself.
    """

    dim: int = 64
    width: int = 16
    steps: int = 400
    batch_size: int = 128
    lr: float = 3e-3
    weight_decay: float = 1e-3
    momentum: float = 0.99  # of the key network
    temperature: float = 0.2
    memory: int = 512  # keys in the bank, at most half the dataset's images
    projection: int = 64  # dimensions in which views are compared
    rotation: float = 0.15  # radians, deviation
    shear: float = 0.15  # deviation of the slant
    zoom: float = 0.1  # deviation of the log size, each axis on its own
    shift: float = 0.1  # deviation of the translation, in half images
    elastic: float = 0.06  # deviation of the displacement, in half images
    gain: float = 0.2  # deviation of the log brightness
    hue: float = 0.1  # deviation of the log gain of each colour channel
    noise: float = 0.03  # deviation of each pixel


Settings = TypeVar("Settings")  # LetterSettings or MocoSettings


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A pretrained network, and what made it.

    Attributes:
        name: of the encoder, "letters" or "moco".
        settings: the fields of its settings.
        state: the network's tensors by name, on the CPU.
        losses: the training loss at every step.
        held_out_accuracy: of `letters`, on letters of the fonts left out; None without any.
    """

    name: str
    settings: dict[str, Any]
    seed: int
    in_channels: int
    state: dict[str, Tensor]
    losses: list[float]
    held_out_accuracy: float | None = None

    def network(self) -> nn.Module:
        """The network with its weights. Raises ValueError if they are of another shape."""
        network = self._unfilled()
        try:
            network.load_state_dict(self.state)
        except RuntimeError as error:
            raise ValueError(f"the weights do not fit the settings: {error}") from None
        return network

    def _unfilled(self) -> nn.Module:
        """The network that the settings describe, its weights at random."""
        dim = self.settings["dim"]
        if "architecture" in self.settings:
            from hume_turtle.pretraining.resnets import resnet18

            return resnet18(self.settings["architecture"], dim)
        width, parts = self.settings["width"], self.settings.get("networks")
        if parts is None:
            return SmallConvNet(self.in_channels, dim, width)
        return SideBySide(SmallConvNet(self.in_channels, dim // parts, width) for _ in range(parts))


class SmallConvNet(nn.Module):
    """Four 3×3 convolutions and a linear layer: (B, in_channels, 8, 8) to (B, dim)."""

    def __init__(self, in_channels: int, dim: int, width: int = 16) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> list[nn.Module]:
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

        self.body = nn.Sequential(
            *block(in_channels, width),
            *block(width, 2 * width),
            nn.MaxPool2d(2),
            *block(2 * width, 4 * width),
            *block(4 * width, 4 * width),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * width * (SIZE // 4) ** 2, dim)
        self.to(memory_format=torch.channels_last)  # a third faster on a CPU

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class SideBySide(nn.ModuleList):
    """Networks that see the same images, their outputs joined: (B, ...) to (B, sum of dims)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self], 1)


def image_tensor(image: Any) -> Tensor:
    """A PIL image as (C, H, W) pixels from 0 to 1, all its channels kept."""
    pixels = np.asarray(image, dtype=np.float32) / 255
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)


def pretrain_moco(
    images: Sequence, settings: MocoSettings | Mapping[str, Any] | None = None, seed: int = 0
) -> Checkpoint:
    """MoCo on a dataset's own images, without labels.

    Two augmented views of an image are a query and a key; the query network learns to tell its
    key from the keys of earlier batches, and the key network follows it slowly.

    images: at least two 8×8 PIL images of one mode. Raises ValueError otherwise, and for unknown
    settings.
    """
    from lightly.loss import NTXentLoss
    from lightly.models.modules import MoCoProjectionHead
    from lightly.models.utils import update_momentum

    settings = resolve(MocoSettings, settings)
    pixels = stack_images(images)  # (n, C, 8, 8)
    n, channels = pixels.shape[:2]
    memory = min(settings.memory, n // 2)
    query, criterion = seeded(
        seed,
        lambda: (
            nn.Sequential(
                SmallConvNet(channels, settings.dim, settings.width),
                MoCoProjectionHead(settings.dim, 2 * settings.dim, settings.projection),
            ),
            NTXentLoss(settings.temperature, memory_bank_size=(memory, settings.projection)),
        ),
    )
    key = copy.deepcopy(query).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)

    def loss(rows: Tensor) -> Tensor:
        update_momentum(query, key, settings.momentum)
        views = [augment(pixels[rows], settings, generator) for _ in range(2)]
        return criterion(query(views[0]), key(views[1]))

    batches = shuffled_batches(n, min(settings.batch_size, memory), settings.steps, generator)
    losses = train([query], loss, batches, settings, "moco")
    return checkpoint_of("moco", query[0], settings, seed, losses)


def stack_images(images: Sequence) -> Tensor:
    """PIL images as (n, C, 8, 8), or a ValueError that says which image does not belong."""
    if len(images) < 2:
        raise ValueError(f"pretraining needs at least two images, got {len(images)}")
    tensors = [image_tensor(image) for image in images]
    for row, tensor in enumerate(tensors):
        if tensor.shape != tensors[0].shape or tensor.shape[1:] != (SIZE, SIZE):
            raise ValueError(f"image {row} is {tuple(tensor.shape)}, not (C, {SIZE}, {SIZE})")
    return torch.stack(tensors)


def augment(images: Tensor, settings: MocoSettings, generator: torch.Generator) -> Tensor:
    """Another view of each small image of (B, C, H, W): moved, bent, relit. Never mirrored."""
    size, channels, height, width = images.shape

    def normal(deviation: float, *shape: int) -> Tensor:
        return deviation * torch.randn(size, *shape, generator=generator)

    angle, zoom = normal(settings.rotation), normal(settings.zoom, 2).exp()
    cos, sin, slant = angle.cos(), angle.sin(), normal(settings.shear)
    matrix = torch.stack([cos, slant - sin, sin, cos], 1).view(size, 2, 2) * zoom[:, None]
    affine = torch.cat([matrix, normal(settings.shift, 2, 1)], 2)  # (B, 2, 3)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    waves = F.interpolate(normal(settings.elastic, 2, 3, 3), (height, width), mode="bicubic")
    grid = grid + waves.permute(0, 2, 3, 1)
    views = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    light = normal(settings.gain, 1, 1, 1)
    if channels > 1:
        light = light + normal(settings.hue, channels, 1, 1)
    return views * light.exp() + normal(settings.noise, *views.shape[1:])


def seeded(seed: int, build):
    """What `build()` makes with torch's global generator seeded, which is then put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def shuffled_batches(
    n: int, batch_size: int, steps: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Rows of `steps` batches: pass after pass over a fresh permutation, remainders dropped."""
    size = min(batch_size, n)
    while True:
        for rows in torch.randperm(n, generator=generator)[: n - n % size].split(size):
            if steps == 0:
                return
            steps -= 1
            yield rows


def train(modules, loss, batches, settings, label: str) -> list[float]:
    """Minimise `loss(rows)` over the batches by AdamW on a one-cycle schedule; every loss."""
    from tqdm import tqdm

    parameters = [p for module in modules for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=settings.steps + 1
    )
    losses = []
    for rows in tqdm(batches, label, settings.steps, disable=None):  # None: off when not watched
        value = loss(rows)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        losses.append(value.item())
    return losses


def resolve(kind: type[Settings], settings: Settings | Mapping[str, Any] | None) -> Settings:
    """Settings from a dict of some of their fields; the defaults for the rest."""
    if isinstance(settings, kind):
        return settings
    given = dict(settings or {})
    known = {field.name for field in fields(kind)}
    if given.keys() - known:
        unknown = ", ".join(sorted(given.keys() - known))
        raise ValueError(f"unknown settings {unknown}; there are {', '.join(sorted(known))}")
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return kind(**{**given, **lists})


def checkpoint_of(name, network, settings, seed, losses, accuracy=None) -> Checkpoint:
    """The trained network as a checkpoint, its tensors contiguous copies."""
    state = {key: value.detach().clone() for key, value in network.state_dict().items()}
    channels = next(network.parameters()).shape[1]
    return Checkpoint(name, asdict(settings), seed, channels, state, losses, accuracy)


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write a checkpoint whole or not at all; the same checkpoint gives the same bytes."""
    content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    with atomic_write(path) as file:  # given a path, torch.save would write its name into the file
        torch.save(content, file)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint without running any code in it. Raises ValueError if it is not one."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(**content)
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError) as error:
        raise ValueError(f"{path} is not a checkpoint of this project: {error}") from None

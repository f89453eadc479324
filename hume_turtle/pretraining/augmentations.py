"""Images as a contrastive network sees them: whole at embedding, in random views while it learns.

Random numbers are drawn on the CPU, so that every device learns from the same views.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from hume_turtle.pretraining.settings import MocoRecipe, MocoSettings


def image_tensor(image: Any) -> Tensor:
    """A PIL image as (C, H, W) pixels from 0 to 1, all its channels kept."""
    pixels = np.asarray(image, dtype=np.float32) / 255
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)


def square(image: Any, size: int) -> Tensor:
    """A PIL image in colour, its shorter side resized to `size`, the middle: (3, size, size) uint8.

    An image of that size keeps its pixels.
    """
    image = v2.functional.resize(image.convert("RGB"), [size], InterpolationMode.BICUBIC)
    return v2.functional.pil_to_tensor(v2.functional.center_crop(image, [size]))


def preprocess(settings: Mapping[str, Any]) -> Callable[[Any], Tensor]:
    """From a PIL image to the input of a `moco` checkpoint with these settings; picklable."""
    if "architecture" not in settings:
        return image_tensor
    scale = normalise(settings["mean"], settings["std"])
    return v2.Compose([partial(square, size=settings["size"]), *scale])


def normalise(mean, std) -> list[v2.Transform]:
    """From uint8 pixels to mean 0 and std 1 in each channel, given both on a scale from 0 to 1."""
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))]


def random_view(settings: MocoRecipe) -> Callable[[Tensor], Tensor]:
    """One random view of an image: (3, S, S) uint8 to (3, S, S) float32, normalised.

    The order of SimCLR (Chen et al., 2020, App. A): crop and mirror, colours, grey, blur. Draws
    from torch's global generator.
    """
    colours = (settings.brightness, settings.contrast, settings.saturation, settings.hue)
    kernel = 2 * min(6, settings.size - 1) + 1  # a radius of three times the largest sigma
    changes = [
        v2.ToPILImage(),  # on whose images small changes are a fifth faster
        v2.RandomResizedCrop(
            settings.size, (settings.crop, 1.0), interpolation=InterpolationMode.BICUBIC
        ),
        v2.RandomHorizontalFlip(settings.flip),
        v2.RandomApply([v2.ColorJitter(*colours)], settings.jitter),
        v2.RandomGrayscale(settings.grey),
        v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], settings.blur),
        v2.PILToTensor(),
    ]
    return v2.Compose([*changes, *normalise(settings.mean, settings.std)])


def distort(images: Tensor, settings: MocoSettings, generator: torch.Generator) -> Tensor:
    """A random view of each small image of (B, C, H, W): moved, bent, relit. Never mirrored."""
    size, channels, height, width = images.shape

    def normal(std: float, *shape: int) -> Tensor:
        return std * torch.randn(size, *shape, generator=generator)

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

"""Images as a contrastive network sees them: whole at embedding, in random views while it learns.

Views are made for a batch at a time, on the device where it lies. Their random numbers come from
a generator on the CPU, image by image, so that every device draws the same views.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hume_turtle.pretraining.pixels import square

RATIO = 4 / 3  # of a crop's sides, at most
TRIES = 10  # to draw a crop that lies inside the image
SIGMA = (0.1, 2.0)  # of the blur, in pixels
GREY = (0.299, 0.587, 0.114)  # luma of red, green, blue (ITU-R BT.601)


@dataclass(frozen=True)
class ViewSettings:
    """How far two views of an image may differ. Probabilities are per image.

    The defaults are solo-learn's for MoCo v2+ on CIFAR (scripts/pretrain/cifar/mocov2plus.sh).
    """

    size: int = 32  # pixels a side of what the network sees; STL-10: 96
    crop: float = 0.08  # smallest share of the image's area; SCAN, SPICE: 0.2
    flip: float = 0.5  # probability of mirroring
    jitter: float = 0.8  # probability of changing the colours
    brightness: float = 0.4  # factors of 1 ± this
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1  # ± this part of the colour circle
    grey: float = 0.2  # probability of losing the colours
    blur: float = 0.0  # probability; 0.5 for larger images (MoCo v2; SPICE on STL-10)


@dataclass(frozen=True)
class Preprocess:
    """A PIL image as the trained network's input: (3, size, size), normalised by channel.

    Attributes:
        mean, deviation: of red, green and blue from 0 to 1.
    """

    size: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def __call__(self, image: Any) -> Tensor:
        return normalised(square(image, self.size)[None], self.mean, self.deviation)[0]


def normalised(images: Tensor, mean, deviation) -> Tensor:
    """Pixels (B, 3, H, W), uint8 or from 0 to 1, at mean 0 and deviation 1 in each channel."""
    if images.dtype == torch.uint8:
        images = images.float() / 255
    shift, scale = (images.new_tensor(value)[:, None, None] for value in (mean, deviation))
    return (images - shift) / scale


def augment(images: Tensor, settings: ViewSettings, generator: torch.Generator) -> Tensor:
    """One random view of each image: (B, 3, S, S) uint8 to (B, 3, S, S) from 0 to 1.

    The order of SimCLR (Chen et al., 2020, App. A): crop and mirror, colours, grey, blur.
    """

    def uniform(low: float, high: float) -> Tensor:
        draw = torch.rand(len(images), 1, 1, 1, generator=generator)
        return (low + (high - low) * draw).to(images.device)

    def happens(probability: float) -> Tensor:
        return uniform(0, 1) < probability

    x = crop(images.float() / 255, draw_crops(len(images), settings, generator))
    x = jitter(x, settings, uniform, happens(settings.jitter), generator)
    x = torch.where(happens(settings.grey), luma(x), x)
    if settings.blur:
        x = torch.where(happens(settings.blur), blurred(x, uniform(*SIGMA)), x)
    return x


def draw_crops(n: int, settings: ViewSettings, generator: torch.Generator) -> Tensor:
    """Where each crop lies, in pixels: (n, 5) of left, top, width, height, and -1 if mirrored.

    As torchvision's RandomResizedCrop: uniform area, log-uniform ratio of the sides, up to ten
    tries to lie inside; the whole image where none does.
    """
    size = settings.size
    tries = torch.rand(n, TRIES, 2, generator=generator)
    place = torch.rand(n, 3, generator=generator)
    area = (settings.crop + (1 - settings.crop) * tries[..., 0]) * size**2  # (n, TRIES)
    ratio = torch.exp((2 * tries[..., 1] - 1) * math.log(RATIO))
    sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], -1).round().clamp(min=1)
    inside = (sides <= size).all(-1)
    first = inside.int().argmax(1)  # 0 where none is inside: taken over by the next line
    sides = torch.where(
        inside.any(1)[:, None], sides[torch.arange(n), first], float(size)
    )  # (n, 2)
    corner = (place[:, :2] * (size - sides + 1)).floor()
    mirrored = torch.where(place[:, 2:] < settings.flip, -1.0, 1.0)
    return torch.cat([corner, sides, mirrored], 1)


def crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Each image's crop (`draw_crops`) at the size of the whole: (B, 3, S, S), bicubic."""
    size = images.shape[-1]
    left, top, width, height, mirrored = boxes.unbind(1)
    zero = torch.zeros_like(left)
    # Coordinates run from -1 to 1 over the image: x_in = (width / S) x_out + the crop's centre.
    across = torch.stack([mirrored * width / size, zero, (2 * left + width) / size - 1], 1)
    down = torch.stack([zero, height / size, (2 * top + height) / size - 1], 1)
    affine = torch.stack([across, down], 1).to(images.device)  # (B, 2, 3)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    options = {"mode": "bicubic", "padding_mode": "border", "align_corners": False}
    return F.grid_sample(images, grid, **options).clamp(0, 1)


def jitter(x: Tensor, settings: ViewSettings, uniform, applies, generator) -> Tensor:
    """Other brightness, contrast, saturation and hue, in an order drawn for the batch."""

    def factor(spread: float) -> Tensor:
        return uniform(max(0.0, 1 - spread), 1 + spread)

    changes = (
        lambda x: x * factor(settings.brightness),
        lambda x: mixed(x, luma(x).mean((1, 2, 3), keepdim=True), factor(settings.contrast)),
        lambda x: mixed(x, luma(x), factor(settings.saturation)),
        lambda x: turned(x, uniform(-settings.hue, settings.hue)),
    )
    changed = x
    for i in torch.randperm(len(changes), generator=generator).tolist():
        changed = changes[i](changed).clamp(0, 1)
    return torch.where(applies, changed, x)


def luma(x: Tensor) -> Tensor:
    """Brightness of each pixel as the eye weighs colours: (B, 3, H, W) to (B, 1, H, W)."""
    return (x * x.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)


def mixed(x: Tensor, base: Tensor, factor: Tensor) -> Tensor:
    return factor * x + (1 - factor) * base


def turned(x: Tensor, shift: Tensor) -> Tensor:
    """Every colour moved along the colour circle by `shift` turns; lightest and darkest stay.

    By the closed form of HSV to RGB: channel = v - c · clamp(min(k, 4 - k), 0, 1) with
    k = (n + hue) mod 6 and n = 5, 3, 1 for red, green, blue; c = max - min, v = max.
    """
    value, chroma = x.amax(1, keepdim=True), x.amax(1, keepdim=True) - x.amin(1, keepdim=True)
    red, green, blue = x.split(1, 1)
    unit = torch.where(chroma > 0, chroma, 1.0)
    hue = torch.where(
        value == red,
        (green - blue) / unit,
        torch.where(value == green, (blue - red) / unit + 2, (red - green) / unit + 4),
    )  # sixths of a turn
    k = (x.new_tensor([5.0, 3.0, 1.0])[:, None, None] + hue + 6 * shift) % 6
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """Each image under a Gaussian of its own deviation: x (B, 3, H, W), sigma (B, 1, 1, 1)."""
    radius = min(math.ceil(3 * SIGMA[1]), x.shape[-1] - 1)
    offsets = torch.arange(-radius, radius + 1, device=x.device)
    kernel = torch.softmax(-(offsets**2) / (2 * sigma.flatten()[:, None] ** 2), 1)  # (B, 2r + 1)
    kernel = kernel.repeat_interleave(3, 0)[:, None]  # (3 B, 1, 2r + 1): one for each channel
    flat = F.pad(x.flatten(0, 1)[None], [radius] * 4, mode="reflect")  # (1, 3 B, H + 2r, W + 2r)
    flat = F.conv2d(flat, kernel[:, :, None], groups=len(kernel))
    return F.conv2d(flat, kernel[..., None], groups=len(kernel)).view_as(x)

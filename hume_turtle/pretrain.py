"""Pretraining of the two small networks that make the default suite's spaces.

`letters` stands for the large pretrained model: supervised, on letters rendered from fonts, never
on the target images. `moco` stands for HUME's φ1: self-supervised on the target dataset itself.
Both are the same convolutional network for 8×8 images, and both are stored as plain tensors and
settings that load without running any pickled code.
"""
from __future__ import annotations

import copy
import pickle
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hume_turtle.files import atomic_write

LETTERS = string.ascii_letters  # a-z then A-Z
SAME_SHAPE = "cosvwxz"  # size normalisation erases what tells these from their capitals
CLASSES = [LETTERS.index(c.lower() if c.lower() in SAME_SHAPE else c) for c in LETTERS]
SIZE = 8  # pixels a side, of the images that both networks see
BOX = 16  # pixels a side of the box a character is fitted to, before 2×2 blocks are averaged
CHARACTER = (10, 16)  # its width and height there: NIST form reader's 20×32 in 32×32, halved
GLYPH = 32  # pixels a side of a rendered glyph's canvas


@dataclass(frozen=True)
class LetterSettings:
    """How the letters network is trained; chosen on letters of held-out fonts."""

    dim: int = 128
    width: int = 16
    steps: int = 1000
    batch_size: int = 128
    lr: float = 1e-2
    weight_decay: float = 1e-3
    rotation: float = 0.12  # radians, deviation
    shear: float = 0.2  # deviation of the slant
    stretch: float = 0.15  # deviation of the log aspect ratio
    elastic: float = 0.1  # deviation of the displacement, in half canvases
    ink: tuple[float, float] = (0.24, 0.38)  # share of the image that is ink: stroke thickness
    held_out: tuple[str, ...] = ()  # font names left out, for `letters_accuracy`


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


Settings = TypeVar("Settings", LetterSettings, MocoSettings)


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

    def network(self) -> SmallConvNet:
        """The network with its weights. Raises ValueError if they are of another shape."""
        network = SmallConvNet(self.in_channels, self.settings["dim"], self.settings["width"])
        try:
            network.load_state_dict(self.state)
        except RuntimeError as error:
            raise ValueError(f"the weights do not fit the settings: {error}") from None
        return network


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


def latin_fonts() -> list[Path]:
    """The TrueType fonts inside matplotlib that draw all 52 latin letters, sorted by name.

    A font qualifies if the glyph it gives a letter bears that letter's name, which leaves out
    symbol fonts (they put symbols there) and the last-resort font (one glyph for all).
    """
    import matplotlib
    from matplotlib.ft2font import FT2Font

    def is_latin(path: Path) -> bool:
        font = FT2Font(str(path))
        charmap = font.get_charmap()
        codes = [charmap.get(ord(letter)) for letter in LETTERS]
        return None not in codes and all(
            font.get_glyph_name(code) == letter for code, letter in zip(codes, LETTERS, strict=True)
        )

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [path for path in sorted(folder.glob("*.ttf")) if is_latin(path)]


@cache
def render_character(path: Path, character: str) -> np.ndarray:
    """Signed distance to the outline in pixels, positive in the ink: (GLYPH, GLYPH) float32.

    A distance lets the stroke be drawn at any thickness later, by where it is cut.
    """
    from PIL import Image, ImageDraw, ImageFont
    from scipy.ndimage import distance_transform_edt

    font = ImageFont.truetype(str(path), 200)
    left, top, right, bottom = font.getbbox(character)
    scale = 0.7 * GLYPH / max(right - left, bottom - top)  # leave room to turn and shear
    font = ImageFont.truetype(str(path), 200 * scale * 2)  # twice as fine than the canvas
    canvas = Image.new("L", (2 * GLYPH, 2 * GLYPH))
    left, top, right, bottom = font.getbbox(character)
    at = (GLYPH - (left + right) / 2, GLYPH - (top + bottom) / 2)
    ImageDraw.Draw(canvas).text(at, character, fill=255, font=font)
    ink = np.asarray(canvas) > 127
    distance = (distance_transform_edt(ink) - distance_transform_edt(~ink)) / 2
    return distance.reshape(GLYPH, 2, GLYPH, 2).mean((1, 3)).astype(np.float32)


def render_letters(fonts: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """Every letter in every font: distances (52 F, 1, GLYPH, GLYPH) and classes (52 F,)."""
    glyphs = np.stack([render_character(path, letter) for path in fonts for letter in LETTERS])
    return torch.from_numpy(glyphs)[:, None], torch.tensor(CLASSES).repeat(len(fonts))


def write_by_hand(glyphs: Tensor, settings: LetterSettings, generator: torch.Generator) -> Tensor:
    """Distort glyphs as a hand would and read them as NIST's form reader does.

    Slant, turn, stretch and an elastic deformation; then the character is cropped to its bounding
    box, fitted to CHARACTER in a square box, its stroke brought to a thickness, and 2×2 blocks are
    averaged: how the 8×8 digit bitmaps came about.

    glyphs: (B, 1, GLYPH, GLYPH) signed distances. Returns (B, 1, 8, 8), ink 1 on ground 0.
    """
    size = len(glyphs)

    def normal(*shape: int) -> Tensor:
        return torch.randn(size, *shape, generator=generator)

    angle, aspect = settings.rotation * normal(), (settings.stretch * normal()).exp()
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(size)
    turn = torch.stack([cos, -sin, sin, cos], 1).view(size, 2, 2)
    slant = torch.stack([aspect, settings.shear * normal(), zero, 1 / aspect], 1).view(size, 2, 2)
    affine = F.pad(turn @ slant, (0, 1))  # (B, 2, 3), no translation: the crop undoes it
    grid = F.affine_grid(affine, [size, 1, GLYPH, GLYPH], align_corners=False)
    waves = settings.elastic * normal(2, 4, 4)  # a coarse field, so strokes bend and do not break
    grid = grid + F.interpolate(waves, (GLYPH, GLYPH), mode="bicubic").permute(0, 2, 3, 1)
    distance = F.grid_sample(glyphs, grid, padding_mode="border", align_corners=False)

    low, high = settings.ink
    share = low + (high - low) * torch.rand(size, 1, generator=generator)
    cut = torch.zeros(size, 1, 1, 1)
    for _ in range(2):  # the box is that of the stroke at its final thickness, which the box sets
        grid = character_grid((distance > cut)[:, 0])
        fitted = F.grid_sample(distance, grid, padding_mode="border", align_corners=False)
        ranked = fitted.flatten(1).sort(1, descending=True).values  # (B, BOX²)
        cut = ranked.gather(1, (share * ranked.shape[1]).long()).view(size, 1, 1, 1)
    return F.avg_pool2d(torch.sigmoid(2.5 * (fitted - cut)), BOX // SIZE)


def character_grid(ink: Tensor) -> Tensor:
    """Sampling grid that stretches each character's bounding box to CHARACTER in the box.

    ink: (B, H, W) bool. Returns (B, BOX, BOX, 2) in grid_sample's coordinates.
    """
    axes = []
    for across, pixels in zip((1, 2), CHARACTER, strict=True):  # x, then y
        line = ink.any(across).float()  # (B, W) or (B, H)
        length = line.shape[1]
        first, last = line.argmax(1), length - line.flip(1).argmax(1)
        centre, half = (first + last) / length - 1, (last - first) / length
        steps = torch.linspace(-1, 1, 2 * BOX + 1)[1::2]  # pixel centres
        axes.append((centre, half * BOX / pixels, steps))
    (cx, hx, steps), (cy, hy, _) = axes
    hx = torch.maximum(hx, 0.25 * hy)  # a bare vertical bar must not become a block
    x = (cx[:, None] + hx[:, None] * steps)[:, None, :].expand(-1, BOX, -1)
    y = (cy[:, None] + hy[:, None] * steps)[:, :, None].expand(-1, -1, BOX)
    return torch.stack([x, y], 3)


def standardise(images: Tensor) -> Tensor:
    """Each image of (B, C, H, W) to mean 0 and deviation 1; a blank one to zeros."""
    images = images - images.mean((1, 2, 3), keepdim=True)
    return images / images.std((1, 2, 3), keepdim=True, correction=0).clamp_min(1e-3)


def image_tensor(image: Any) -> Tensor:
    """A PIL image as (C, H, W) pixels from 0 to 1, all its channels kept."""
    pixels = np.asarray(image, dtype=np.float32) / 255
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)


def ink_tensor(image: Any) -> Tensor:
    """A PIL image as the letters network sees it: (1, H, W), luminance, ink positive, standardised.

    The ground is what the left and right edges show, which characters seldom reach; whatever its
    colour, and whether ink is lighter or darker, the same strokes give the same tensor.
    """
    pixels = image_tensor(image)
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None] if len(pixels) == 3 else 1.0
    grey = (pixels * weights).sum(0, keepdim=True)  # (1, H, W)
    contrast = grey - grey[..., [0, -1]].median()
    polarity = -1.0 if contrast.mean() < 0 else 1.0
    return standardise(polarity * contrast[None])[0]


def pretrain_letters(
    settings: LetterSettings | Mapping[str, Any] | None = None, seed: int = 0
) -> Checkpoint:
    """Train the network to name letters written by hand from fonts; (B, 1, 8, 8) standardised ink.

    Raises ValueError for unknown settings, and for held-out fonts that do not exist.
    """
    settings = resolve(LetterSettings, settings)
    fonts = latin_fonts()
    unknown = set(settings.held_out) - {font.stem for font in fonts}
    if unknown:
        raise ValueError(f"no such fonts to hold out: {', '.join(sorted(unknown))}")
    glyphs, classes = render_letters([f for f in fonts if f.stem not in settings.held_out])
    network, classifier = seeded(seed, lambda: (
        SmallConvNet(1, settings.dim, settings.width),
        nn.Sequential(
            nn.BatchNorm1d(settings.dim), nn.ReLU(), nn.Linear(settings.dim, len(LETTERS))
        ),
    ))
    generator = torch.Generator().manual_seed(seed)

    def loss(rows: Tensor) -> Tensor:
        images = standardise(write_by_hand(glyphs[rows], settings, generator))
        return F.cross_entropy(classifier(network(images)), classes[rows])

    batches = shuffled_batches(len(glyphs), settings.batch_size, settings.steps, generator)
    losses = train([network, classifier], loss, batches, settings, "letters")
    accuracy = None
    if settings.held_out:
        unseen = render_letters([f for f in fonts if f.stem in settings.held_out])
        accuracy = letters_accuracy(nn.Sequential(network, classifier), *unseen, settings, seed)
    return checkpoint_of("letters", network, settings, seed, losses, accuracy)


@torch.no_grad()
def letters_accuracy(
    model: nn.Module, glyphs: Tensor, classes: Tensor, settings: LetterSettings, seed: int
) -> float:
    """Share of letters named rightly over five writings of each glyph."""
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    hits = [
        model(standardise(write_by_hand(glyphs, settings, generator))).argmax(1) == classes
        for _ in range(5)
    ]
    return torch.cat(hits).float().mean().item()


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
    query, criterion = seeded(seed, lambda: (
        nn.Sequential(
            SmallConvNet(channels, settings.dim, settings.width),
            MoCoProjectionHead(settings.dim, 2 * settings.dim, settings.projection),
        ),
        NTXentLoss(settings.temperature, memory_bank_size=(memory, settings.projection)),
    ))
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

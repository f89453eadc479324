"""The letters network: it stands for the large pretrained model of the default suite.

It is trained to classify letters that are rendered from fonts and distorted to resemble
handwriting; it never sees a digit. Two small networks are trained from different random weights,
and their outputs are concatenated: a shape that one of them misses, the other rarely misses too.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hume_turtle.pretraining.augmentations import image_tensor
from hume_turtle.pretraining.checkpoints import Checkpoint, checkpoint_of
from hume_turtle.pretraining.networks import SIZE, SideBySide, SmallConvNet
from hume_turtle.pretraining.training import one_cycle, resolve, seeded, shuffled_batches
from hume_turtle.progress import progress

LETTERS = string.ascii_letters  # a-z then A-Z
SAME_SHAPE = "cosvwxz"  # size normalisation erases what tells these from their capitals
CLASSES = [LETTERS.index(c.lower() if c.lower() in SAME_SHAPE else c) for c in LETTERS]
BOX = 16  # pixels a side of the box a character is fitted to, before 2×2 blocks are averaged
CHARACTER = (10, 16)  # its width and height there
GLYPH = 32  # pixels a side of a rendered glyph's canvas


@dataclass(frozen=True)
class LetterSettings:
    """How the letters network is trained.

    The number of networks, their dimensions and steps and the distortions are those with which
    TURTLE best found ten held-out letters in held-out fonts, on two such splits. The share of ink
    and the sharpness of edges are those of the digits' images, by the statistics of their pixels,
    without labels.
    """

    dim: int = 128  # of all networks together
    width: int = 16
    networks: int = 2  # whose outputs are concatenated
    steps: int = 800
    batch_size: int = 128
    lr: float = 1e-2
    weight_decay: float = 1e-3
    rotation: float = 0.18  # std in radians
    shear: float = 0.3  # std of the slant
    stretch: float = 0.2  # std of the log aspect ratio
    elastic: float = 0.15  # std of the displacement, in half canvases
    ink: tuple[float, float] = (0.24, 0.38)  # share of the image that is ink: stroke thickness


def standardise(images: Tensor) -> Tensor:
    """Each image of (B, C, H, W) to mean 0 and std 1; a blank one to zeros."""
    images = images - images.mean((1, 2, 3), keepdim=True)
    return images / images.std((1, 2, 3), keepdim=True, correction=0).clamp_min(1e-3)


def ink_tensor(image: Any) -> Tensor:
    """A PIL image as the letters network sees it: (1, H, W), luminance, ink positive, standardised.

    The background is what the left and right edges show, which characters rarely reach. The same
    strokes give the same tensor, whatever the colours and whether ink is lighter or darker.
    """
    pixels = image_tensor(image)
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None] if len(pixels) == 3 else 1.0
    grey = (pixels * weights).sum(0, keepdim=True)  # (1, H, W)
    contrast = grey - grey[..., [0, -1]].median()
    polarity = -1.0 if contrast.mean() < 0 else 1.0
    return standardise(polarity * contrast[None])[0]


def latin_fonts() -> list[Path]:
    """The TrueType fonts inside matplotlib that draw all 52 latin letters, sorted by name.

    In such a font the glyph of each letter has that letter's name; in symbol fonts and in the
    last-resort font it has not.
    """
    import matplotlib
    from matplotlib.ft2font import FT2Font

    def is_latin(path: Path) -> bool:
        font = FT2Font(str(path))
        codes = [font.get_char_index(ord(letter)) for letter in LETTERS]  # 0: none
        return all(codes) and [font.get_glyph_name(code) for code in codes] == list(LETTERS)

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
    font = ImageFont.truetype(str(path), 200 * scale * 2)  # twice as fine as the canvas
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
    """Distort glyphs to resemble handwriting, and bring them to 8×8 pixels as bitmaps of one size.

    Slant, turn, stretch and an elastic deformation; then the character is cropped to its bounding
    box, fitted to CHARACTER in a square box, its stroke brought to a thickness, and 2×2 blocks are
    averaged. scikit-learn's digits are block counts of normalised bitmaps, too.

    glyphs: (B, 1, GLYPH, GLYPH) signed distances. Returns (B, 1, 8, 8), ink 1 on background 0.
    """
    size = len(glyphs)

    def normal(*shape: int) -> Tensor:
        return torch.randn(size, *shape, generator=generator)

    angle, aspect = settings.rotation * normal(1, 1), (settings.stretch * normal(1, 1)).exp()
    cos, sin, slant = angle.cos(), angle.sin(), settings.shear * normal(1, 1)
    across = centres(GLYPH).view(1, 1, -1)
    down = centres(GLYPH).view(1, -1, 1)
    x, y = aspect * across + slant * down, down / aspect
    bend = bicubic_rows(4, GLYPH)  # (GLYPH, 4): a coarse field, so strokes bend and do not break
    waves = bend @ (settings.elastic * normal(2, 4, 4)) @ bend.T  # (B, 2, GLYPH, GLYPH)
    grid = torch.stack([cos * x - sin * y + waves[:, 0], sin * x + cos * y + waves[:, 1]], 3)
    distance = F.grid_sample(glyphs, grid, padding_mode="border", align_corners=False)

    low, high = settings.ink
    share = low + (high - low) * torch.rand(size, 1, generator=generator)
    cut = torch.zeros(size, 1, 1, 1)
    for _ in range(2):  # the box is that of the stroke at its final thickness, which the box sets
        grid = character_grid((distance > cut)[:, 0])
        fitted = F.grid_sample(distance, grid, padding_mode="border", align_corners=False)
        ranked = fitted.flatten(1).sort(1, descending=True).values  # (B, BOX²)
        cut = ranked.gather(1, (share * ranked.shape[1]).long()).view(size, 1, 1, 1)
    return F.avg_pool2d(torch.sigmoid(10 * (fitted - cut)), BOX // SIZE)


def centres(pixels: int) -> Tensor:
    """Where the centres of pixels lie on a side that reaches from -1 to 1: (pixels,)."""
    return torch.linspace(-1, 1, 2 * pixels + 1)[1::2]


@cache
def bicubic_rows(coarse: int, fine: int) -> Tensor:
    """Bicubic interpolation along one axis as a matrix (fine, coarse)."""
    eye = torch.eye(coarse).view(1, coarse, coarse, 1)  # a channel for each coarse point
    return F.interpolate(eye, (fine, 1), mode="bicubic")[0, :, :, 0].T.contiguous()


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
        axes.append((centre, half * BOX / pixels))
    (cx, hx), (cy, hy), steps = *axes, centres(BOX)
    hx = torch.maximum(hx, 0.25 * hy)  # a bare vertical bar must not become a block
    x = (cx[:, None] + hx[:, None] * steps)[:, None, :].expand(-1, BOX, -1)
    y = (cy[:, None] + hy[:, None] * steps)[:, :, None].expand(-1, -1, BOX)
    return torch.stack([x, y], 3)


def pretrain_letters(settings: Mapping[str, Any], seed: int = 0) -> Checkpoint:
    """Train the networks to classify distorted letters: (B, 1, 8, 8), standardised ink.

    Raises ValueError for unknown settings and dimensions that the networks cannot share equally.
    """
    settings = resolve(LetterSettings, settings)
    if settings.networks < 1 or settings.dim % settings.networks:
        raise ValueError(f"{settings.networks} networks cannot share {settings.dim} dimensions")
    glyphs, classes = render_letters(latin_fonts())
    models = seeded(
        seed, lambda: nn.ModuleList(letter_classifier(settings) for _ in range(settings.networks))
    )
    losses = train(models, glyphs, classes, settings, seed)
    network = SideBySide(model[0] for model in models)
    return checkpoint_of("letters", network, settings, seed, losses)


def train(
    models: nn.ModuleList, glyphs: Tensor, classes: Tensor, settings: LetterSettings, seed: int
) -> list[float]:
    """Minimise the models' mean cross-entropy on freshly distorted letters; every step's loss."""
    generator = torch.Generator().manual_seed(seed)
    optimizer, schedule = one_cycle(models.parameters(), settings)
    epochs = (shuffled_batches(len(glyphs), settings.batch_size, generator) for _ in count())
    batches, losses = islice(chain.from_iterable(epochs), settings.steps), []
    for rows in progress(batches, settings.steps, "letters"):
        images = standardise(write_by_hand(glyphs[rows], settings, generator))
        parts = [F.cross_entropy(model(images), classes[rows]) for model in models]
        loss = sum(parts) / len(parts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def letter_classifier(settings: LetterSettings) -> nn.Sequential:
    """A network and a classifier of letters: (B, 1, 8, 8) to logits (B, 52)."""
    dim = settings.dim // settings.networks
    return nn.Sequential(
        SmallConvNet(1, dim, settings.width),
        nn.BatchNorm1d(dim),
        nn.ReLU(),
        nn.Linear(dim, len(LETTERS)),
    )

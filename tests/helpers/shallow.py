"""Encoders of open_clip and timm in all their width and one block deep, with random weights."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from PIL import Image

from hume_turtle.encoders import clip, timm_models

LIBRARIES = {name: library for library in (clip, timm_models) for name in library.MODELS}


def slow_but(fast, names):
    """Parameters of a test, all but the fast ones marked slow."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


@cache
def shallow_encoder(name):
    return build_shallow(name)


def build_shallow(name, checkpoint=None, weights="random"):
    return LIBRARIES[name].build(name, checkpoint, weights, **shallow_config(name))


def shallow_config(name):
    """What to replace in the library's configuration of a model to be left with one block."""
    if LIBRARIES[name] is timm_models:
        return {"depth": 1} if "vit" in name else {}  # BiT is small
    import open_clip

    config = open_clip.get_model_config(clip.resolve(name)[0])
    resnet = isinstance(config["vision_cfg"]["layers"], list)
    return {
        "vision_cfg": {**config["vision_cfg"], "layers": [1] * 4 if resnet else 1},
        "text_cfg": {**config["text_cfg"], "layers": 1},
    }


def sample_images():
    """Images of odd sizes in every mode that files come in, by mode."""
    stream = np.random.default_rng(0)
    small = Image.fromarray(stream.integers(0, 256, (9, 13, 4), np.uint8), "RGBA")
    image = small.resize((401, 267), Image.Resampling.BICUBIC)
    modes = {mode: image.convert(mode) for mode in ("RGB", "L", "LA", "1", "CMYK")}
    modes |= {"RGBA": image, "P": modes["RGB"].quantize(7)}
    return modes | {"tall": image.convert("RGB").crop((0, 0, 61, 233)), "tiny": small}


def reference_preprocess(image, resize, crop, resample, mean, std, rgb_first=False):
    """The published preprocessing in PIL and NumPy: (3, crop, crop) float32.

    The shorter side becomes `resize`, the longer keeps the proportion and is rounded down.
    """
    if rgb_first:
        image = image.convert("RGB")
    width, height = image.size
    short = min(width, height)
    image = image.resize((resize * width // short, resize * height // short), resample)
    left, top = (round((side - crop) / 2) for side in image.size)
    image = image.crop((left, top, left + crop, top + crop)).convert("RGB")
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1) / np.float32(255)
    mean, std = (np.array(part, np.float32)[:, None, None] for part in (mean, std))
    return (pixels - mean) / std

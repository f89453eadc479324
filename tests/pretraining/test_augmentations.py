"""Random views of one image, and what preprocessing keeps as it is."""

from __future__ import annotations

import pickle

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from hume_turtle.pretraining.augmentations import (
    distort,
    image_tensor,
    preprocess,
    random_view,
    square,
)
from hume_turtle.pretraining.settings import MocoRecipe, MocoSettings
from hume_turtle.pretraining.training import seeded

STILL = {"crop": 1.0, "flip": 0.0, "jitter": 0.0, "grey": 0.0, "blur": 0.0}
SCALE = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}


@pytest.fixture(scope="module")
def image():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=generator)


def view(image, seed=0, **settings):
    make = random_view(MocoRecipe(**SCALE, **settings))
    return seeded(seed, lambda: make(image))


def normalised(image):
    return v2.functional.normalize(image / 255, *map(list, SCALE.values()))


def test_views_repeat_by_seed_and_differ_between_seeds(image):
    first = view(image, blur=0.5)
    assert (first.shape, first.dtype) == (image.shape, torch.float32)
    assert torch.equal(view(image, blur=0.5), first)
    assert not torch.equal(view(image, seed=1, blur=0.5), first)


def test_without_any_change_the_view_is_the_image(image):
    torch.testing.assert_close(view(image, **STILL), normalised(image))


@pytest.mark.parametrize("name", ["crop", "flip", "jitter", "grey", "blur"])
def test_every_setting_has_its_effect(image, name):
    changed = {**STILL, name: 0.2 if name == "crop" else 1.0}
    assert not torch.allclose(view(image, **changed), view(image, **STILL), atol=1e-3)


def test_tiny_images_can_be_blurred(image):
    assert view(image[:, :4, :4], size=4, blur=1.0).shape == (3, 4, 4)


def test_small_views_differ_but_keep_the_image():
    images = torch.rand(4, 3, 8, 8)
    settings, generator = MocoSettings(), torch.Generator().manual_seed(0)
    views = [distort(images, settings, generator) for _ in range(2)]
    assert not torch.equal(*views)
    names = ("rotation", "shear", "zoom", "shift", "elastic", "gain", "hue", "noise")
    still = MocoSettings(**dict.fromkeys(names, 0.0))
    torch.testing.assert_close(distort(images, still, generator), images, atol=1e-4, rtol=0)


def test_preprocessing_keeps_pixels_of_the_right_size(image):
    found = preprocess({"architecture": "resnet18-cifar", "size": 32, **SCALE})
    found = pickle.loads(pickle.dumps(found))
    pixels = Image.fromarray(image.permute(1, 2, 0).numpy())
    assert torch.equal(square(pixels, 32), image)
    torch.testing.assert_close(found(pixels), normalised(image))
    assert preprocess({"dim": 64}) is image_tensor


def test_other_images_are_resized_and_cut_to_the_middle():
    image = Image.new("RGB", (60, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    middle = square(image, 20)
    assert (middle == torch.tensor([0, 0, 255])[:, None, None]).all()
    assert square(image, 32).shape == (3, 32, 32)
    for mode in ("L", "1", "P", "RGBA", "CMYK"):
        assert square(image.convert(mode), 8).shape == (3, 8, 8)

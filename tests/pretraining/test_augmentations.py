"""Views against torchvision's transforms of one image, and what preprocessing leaves as it is."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as reference
from PIL import Image
from torchvision.transforms import RandomResizedCrop, v2

from hume_turtle.pretraining.augmentations import (
    Preprocess,
    ViewSettings,
    augment,
    blurred,
    crop,
    draw_crops,
    luma,
    mixed,
    turned,
)
from hume_turtle.pretraining.pixels import square

STILL = {"crop": 1.0, "flip": 0.0, "jitter": 0.0, "grey": 0.0, "blur": 0.0}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=seeded())


def test_views_repeat_by_seed_and_differ_between_draws(images):
    settings = ViewSettings(blur=0.5)
    first, second = (augment(images, settings, seeded()) for _ in range(2))
    assert torch.equal(first, second)
    generator = seeded()
    assert torch.equal(augment(images, settings, generator), first)
    assert not torch.equal(augment(images, settings, generator), first)
    assert first.shape == images.shape
    assert first.min() >= 0
    assert first.max() <= 1


def test_without_any_change_the_view_is_the_image(images):
    view = augment(images, ViewSettings(**STILL), seeded())
    torch.testing.assert_close(view, images / 255, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["crop", "flip", "jitter", "grey", "blur"])
def test_every_setting_has_its_effect(images, name):
    still = augment(images, ViewSettings(**STILL), seeded())
    changed = {**STILL, name: 0.2 if name == "crop" else 1.0}
    assert not torch.allclose(augment(images, ViewSettings(**changed), seeded()), still, atol=1e-3)


def test_crops_are_drawn_as_torchvision_draws_them():
    n, settings = 1500, ViewSettings(crop=0.08)
    left, top, width, height, mirrored = draw_crops(n, settings, seeded()).unbind(1)
    assert ((left >= 0) & (top >= 0) & (left + width <= 32) & (top + height <= 32)).all()
    torch.manual_seed(0)
    image = torch.empty(3, 32, 32)
    drawn = [RandomResizedCrop.get_params(image, (0.08, 1), (3 / 4, 4 / 3)) for _ in range(n)]
    top_r, left_r, height_r, width_r = torch.tensor(drawn).float().unbind(1)
    for ours, theirs in ((width, width_r), (height, height_r), (left, left_r), (top, top_r)):
        assert abs(ours.mean() - theirs.mean()) < 0.8
        assert abs(ours.std() - theirs.std()) < 0.8
    area, area_r = width * height, width_r * height_r
    assert abs(area.mean() - area_r.mean()) < 30
    assert abs((mirrored < 0).float().mean() - 0.5) < 0.05


def test_a_crop_is_torchvisions_in_its_inside():
    """Smooth images: the kernels differ (a = -0.75 there, -0.5 in PIL), as do pixels at the rim."""
    grid = torch.linspace(0, 3, 32)
    image = torch.stack([grid.sin()[:, None] * grid.cos()] * 3)[None] * 0.4 + 0.5
    box = torch.tensor([[6.0, 4.0, 16.0, 20.0, 1.0]])  # left, top, width, height, not mirrored
    expected = reference.resized_crop(image, 4, 6, 20, 16, [32, 32], v2.InterpolationMode.BICUBIC)
    inside = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(crop(image, box)[inside], expected[inside], atol=2e-3, rtol=0)
    box[:, 4] = -1
    expected = expected.flip(-1)
    torch.testing.assert_close(crop(image, box)[inside], expected[inside], atol=2e-3, rtol=0)


def test_colours_change_as_in_torchvision(images):
    x = images / 255
    for factor in (0.6, 1.4):
        base = luma(x).mean((1, 2, 3), keepdim=True)
        for ours, theirs in (
            (mixed(x, luma(x), factor), reference.adjust_saturation(x, factor)),
            (mixed(x, base, factor), reference.adjust_contrast(x, factor)),
        ):
            torch.testing.assert_close(ours.clamp(0, 1), theirs, atol=1e-4, rtol=0)
    for shift in (-0.1, 0.0, 0.1):
        ours = turned(x, torch.full((5, 1, 1, 1), shift))
        torch.testing.assert_close(ours, reference.adjust_hue(x, shift), atol=1e-5, rtol=0)
    grey = x.mean(1, keepdim=True).expand_as(x)
    torch.testing.assert_close(turned(grey, torch.tensor(0.3)), grey)


def test_each_image_has_its_own_blur(images):
    x, sigmas = images / 255, torch.tensor([0.3, 0.8, 1.0, 1.5, 2.0])
    ours = blurred(x, sigmas[:, None, None, None])
    for image, sigma, blur in zip(x, sigmas.tolist(), ours):
        torch.testing.assert_close(blur, reference.gaussian_blur(image, [13, 13], [sigma] * 2))


def test_preprocessing_keeps_pixels_of_the_right_size():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    preprocess = Preprocess(32, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    preprocess = pickle.loads(pickle.dumps(preprocess))
    expected = v2.functional.normalize(
        torch.from_numpy(pixels).permute(2, 0, 1) / 255, [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
    )
    assert torch.equal(preprocess(Image.fromarray(pixels)), expected)


def test_other_images_are_resized_and_cut_to_the_middle():
    image = Image.new("RGB", (60, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    middle = square(image, 20)
    assert (middle == torch.tensor([0, 0, 255])[:, None, None]).all()
    assert square(image, 32).shape == (3, 32, 32)
    for mode in ("L", "1", "P", "RGBA", "CMYK"):
        assert square(image.convert(mode), 8).shape == (3, 8, 8)

"""Pairs of views: the same batches by any workers; fingerprint and statistics of the pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from hume_turtle.datasets.images import ArrayImages, FileImages
from hume_turtle.pretraining import views
from hume_turtle.pretraining.settings import MocoRecipe
from hume_turtle.pretraining.views import PhotoViews

ROWS = torch.tensor([6, 0, 3, 5]).split(2)
SETTINGS = MocoRecipe(size=8, blur=0.5)


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def files(array, tmp_path):
    paths = [tmp_path / f"{row}.png" for row in range(len(array))]
    for image, path in zip(array, paths):
        Image.fromarray(image).save(path)
    return FileImages(paths)


def passes(source: PhotoViews) -> list[torch.Tensor]:
    """Both views of every batch of two passes."""
    generator = torch.Generator().manual_seed(0)
    orders = (ROWS, ROWS[::-1])
    return [torch.stack(pair) for order in orders for pair in source.batches(order, generator)]


def test_files_read_by_workers_give_the_views_of_an_array(array, files, monkeypatch):
    held = PhotoViews(ArrayImages(array), SETTINGS)
    assert torch.equal(held.pixels, torch.from_numpy(array).permute(0, 3, 1, 2))
    monkeypatch.setattr(views, "READ", 3)
    torch.manual_seed(5)
    read = PhotoViews(files, SETTINGS, workers=2)
    assert read.fingerprint == held.fingerprint
    assert read.settings == held.settings
    expected = passes(held)
    assert [pair.shape for pair in expected] == [(2, 2, 3, 8, 8)] * 4
    assert not torch.equal(*expected[0])  # two views
    assert not torch.equal(expected[0], expected[3])  # of the same images, in another pass
    for found in (passes(read), passes(read)):
        assert all(map(torch.equal, found, expected))
    next(read.batches(ROWS, torch.Generator()))
    assert torch.equal(passes(read)[0], expected[0])  # although a pass was interrupted
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)  # torch's own generator was left alone


def test_statistics_are_those_of_all_pixels(array):
    found = PhotoViews(ArrayImages(array), SETTINGS).settings
    np.testing.assert_allclose(found.mean, array.mean((0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(found.std, array.std((0, 1, 2)) / 255, rtol=1e-9)
    flat = PhotoViews(ArrayImages(np.full_like(array, 9)), SETTINGS).settings
    assert min(flat.std) > 0  # it is divided by


def test_given_statistics_are_kept(array):
    given = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    settings = MocoRecipe(size=8, **given)
    assert PhotoViews(ArrayImages(array), settings).settings == settings


def test_fingerprint_tells_other_pixels_and_another_order(array):
    other = array.copy()
    other[3, 2, 1, 0] ^= 1
    arrays = (array, other, array[::-1], array[:-1])
    assert len({PhotoViews(ArrayImages(a), SETTINGS).fingerprint for a in arrays}) == 4


def test_an_unreadable_image_is_named(files):
    files.paths[4].write_bytes(files.paths[4].read_bytes()[:90])
    for workers in (0, 2):
        with pytest.raises(ValueError, match=r"4\.png cannot be read"):
            PhotoViews(files, SETTINGS, workers)

"""The store of pixels: held or streamed, the same batches; its fingerprint and statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from hume_turtle.datasets.images import ArrayImages, FileImages
from hume_turtle.pretraining import pixels
from hume_turtle.pretraining.pixels import Store

CPU = torch.device("cpu")
ROWS = torch.tensor([6, 0, 3, 5]).split(2)


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def files(array, tmp_path):
    paths = [tmp_path / f"{row}.png" for row in range(len(array))]
    for image, path in zip(array, paths):
        Image.fromarray(image).save(path)
    return FileImages(paths)


def test_files_read_by_other_processes_are_the_array_held(array, files, monkeypatch):
    held = Store(ArrayImages(array), 8, CPU, workers=0)
    monkeypatch.setattr(pixels, "HELD", 0)
    monkeypatch.setattr(pixels, "READ", 3)
    torch.manual_seed(5)
    streamed = Store(files, 8, CPU, workers=2)
    assert streamed.held is None
    assert streamed.fingerprint == held.fingerprint
    assert (streamed.mean, streamed.deviation) == (held.mean, held.deviation)
    for order in (ROWS, ROWS[::-1]):  # pass after pass
        for ours, theirs, rows in zip(held.batches(order), streamed.batches(order), order):
            assert torch.equal(ours, torch.from_numpy(array[rows]).permute(0, 3, 1, 2))
            assert torch.equal(ours, theirs)
    next(streamed.batches(ROWS))  # a pass that is broken off does not disturb the next
    assert torch.equal(next(streamed.batches(ROWS[::-1])), next(held.batches(ROWS[::-1])))
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)  # the loader drew nothing


def test_statistics_are_those_of_all_pixels(array):
    store = Store(ArrayImages(array), 8, CPU, workers=0)
    np.testing.assert_allclose(store.mean, array.mean((0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(store.deviation, array.std((0, 1, 2)) / 255, rtol=1e-9)
    flat = Store(ArrayImages(np.full_like(array, 9)), 8, CPU, workers=0)
    assert min(flat.deviation) > 0  # it is divided by


def test_fingerprint_tells_other_pixels_and_another_order(array):
    def fingerprint(array):
        return Store(ArrayImages(array), 8, CPU, workers=0).fingerprint

    other = array.copy()
    other[3, 2, 1, 0] ^= 1
    assert len({fingerprint(a) for a in (array, other, array[::-1], array[:-1])}) == 4


def test_an_unreadable_image_is_named(files):
    files.paths[4].write_bytes(files.paths[4].read_bytes()[:90])
    with pytest.raises(ValueError, match=r"4\.png cannot be read"):
        Store(files, 8, CPU, workers=0)

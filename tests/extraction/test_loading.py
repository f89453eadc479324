"""From images to rows: what loader processes are sent, and how many images fit."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hume_turtle.datasets.images import ArrayImages, FileImages, JoinedImages
from hume_turtle.encoders.encoder import Encoder
from hume_turtle.extraction.loading import (
    Encoding,
    Images,
    grow,
    load_batches,
    pick_batch_size,
    shared,
)
from hume_turtle.pretraining.augmentations import image_tensor

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 2, 2), dtype=np.uint8)


def test_batches_come_in_order_and_say_what_could_not_be_read():
    images = JoinedImages(ArrayImages(PIXELS), FileImages(["nowhere.png"]))
    batches = list(load_batches(images, image_tensor, [range(8, 11), range(2), range(10, 11)]))
    assert [batch.rows for batch in batches] == [[8, 9], [0, 1], []]
    assert torch.equal(batches[1].images[1], image_tensor(images[1]))
    assert batches[2].images is None
    assert [row for row, _ in batches[0].unreadable] == [10]
    assert "nowhere.png" in batches[0].unreadable[0][1]


def test_only_an_image_is_skipped_never_a_fault_of_the_program():
    def wrong(image):
        raise TypeError("a bug")

    class NoDecoder(list):
        def __getitem__(self, row):
            raise ImportError("no decoder")

    with pytest.raises(TypeError, match="a bug"):
        Images(ArrayImages(PIXELS), wrong)[0]
    with pytest.raises(ImportError, match="no decoder"):
        Images(NoDecoder(), image_tensor)[0]


def test_images_of_two_shapes_are_refused():
    images = JoinedImages(ArrayImages(PIXELS), ArrayImages(np.zeros((1, 3, 3), np.uint8)))
    with pytest.raises(ValueError, match=r"image 10 has \(1, 3, 3\)"):
        list(load_batches(images, image_tensor, [range(11)]))


def test_loading_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    list(load_batches(ArrayImages(PIXELS), image_tensor, [range(4)]))
    assert torch.equal(torch.get_rng_state(), before)


def test_shared_images_are_the_same_images():
    joined = JoinedImages(ArrayImages(PIXELS), ArrayImages(PIXELS[:3]))
    for row in range(13):
        assert shared(joined)[row].tobytes() == joined[row].tobytes()
    assert len(shared(joined)) == 13
    names = [Path("a/b.png"), Path("c"), Path("d/é\udcff.jpg")]
    files = shared(FileImages(names))
    assert list(files.paths) == names
    assert [files.source(row) for row in range(3)] == [str(name) for name in names]
    assert files.paths[-1] == names[-1]
    empty = shared(FileImages([]))
    assert list(empty.paths) == []


def test_a_shared_dataset_is_small_to_send():
    """Loader processes are sent a handle, not a copy of every pixel and path."""
    from multiprocessing.reduction import ForkingPickler

    images = JoinedImages(
        ArrayImages(np.zeros((1000, 8, 8), np.uint8)), FileImages(["a/long/path.png"] * 10_000)
    )
    assert len(pickle.dumps(images)) > 64_000
    assert len(ForkingPickler.dumps(shared(images))) < 4_000


def test_the_largest_batch_that_fits():
    def peak(size: int) -> int:
        if size > 100:
            raise torch.OutOfMemoryError
        return 10 * size

    assert grow(peak, 1000) == 64  # 64 images take 640, and 128 are not tried
    assert grow(peak, 600) == 32
    assert grow(peak, 10**9) == 64
    assert grow(lambda size: 1, 10**9) == 1024
    assert grow(lambda size: 10**6, 1) == 1


def test_without_a_gpu_the_size_is_fixed():
    encoder = Encoder("flat", 4, {}, image_tensor, nn.Flatten())
    assert pick_batch_size(encoder, torch.zeros(1, 2, 2), torch.device("cpu")) == 64


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_rows_from_a_gpu_are_those_of_the_encoder():
    device = torch.device("cuda")
    encoder = Encoder("flat", 4, {}, image_tensor, nn.Flatten()).to(device)
    batches = [range(at, at + 2) for at in range(0, 10, 2)]
    loader = load_batches(ArrayImages(PIXELS), image_tensor, batches, pin=True)
    found = list(Encoding(encoder, device, 2)(loader))
    assert [batch.rows for batch, _, _ in found] == [list(batch) for batch in batches]
    expected = torch.stack([image_tensor(image) for image in ArrayImages(PIXELS)]).flatten(1)
    np.testing.assert_array_equal(np.concatenate([rows for _, rows, _ in found]), expected)
    example = torch.zeros(1, 2, 2)
    assert pick_batch_size(encoder, example, device) == 1024

"""From images to rows: what is read, what is skipped and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hume_turtle.datasets.images import ArrayImages, FileImages, ImageDataset, JoinedImages
from hume_turtle.encoders.encoder import Encoder
from hume_turtle.extraction.loading import (
    Batch,
    Images,
    check_rows,
    encode_batches,
    load_batches,
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


def test_rows_that_the_encoder_should_not_give_are_refused():
    dataset = ImageDataset("noise", "train", ArrayImages(PIXELS), None, ())
    encoder, batch = Encoder("flat", 4, {}, image_tensor, nn.Flatten()), Batch([3, 5], None, [])
    check_rows(batch, np.zeros((2, 4)), encoder, 4, dataset)
    with pytest.raises(ValueError, match="gives 3, not 4, dimensions"):
        check_rows(batch, np.zeros((2, 3)), encoder, 4, dataset)
    with pytest.raises(ValueError, match="NaN or infinite values, as float64, for image 5"):
        check_rows(batch, np.array([[0.0] * 4, [np.inf] * 4]), encoder, 4, dataset)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_rows_from_a_gpu_are_those_of_the_encoder():
    device = torch.device("cuda")
    encoder = Encoder("flat", 4, {}, image_tensor, nn.Flatten()).to(device)
    batches = [range(at, at + 2) for at in range(0, 10, 2)]
    loader = load_batches(ArrayImages(PIXELS), image_tensor, batches, pin=True)
    found = list(encode_batches(loader, encoder, device, 2, torch.float32))
    assert [batch.rows for batch, _ in found] == [list(batch) for batch in batches]
    expected = torch.stack([image_tensor(image) for image in ArrayImages(PIXELS)]).flatten(1)
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in found]), expected)

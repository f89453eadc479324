"""What every encoder does: precision, batches, errors for unknown names."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from hume_turtle.encoders.encoder import Encoder, unknown


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 5))
    return Encoder("small", 5, {"library": "none"}, lambda image: image, network.eval())


@pytest.mark.parametrize(
    ("dtype", "name", "tolerance"),
    [(torch.float16, "fp16", 2e-3), (torch.bfloat16, "bf16", 2e-2), (torch.float32, "fp32", 0)],
)
def test_any_precision_gives_float32_rows_and_says_which_it_was(encoder, dtype, name, tolerance):
    batch = torch.randn(4, 3, 8, 8)
    exact = encoder.encode(batch)
    short = encoder.to("cpu", dtype)
    rows = short.encode(batch)
    assert rows.dtype == torch.float32
    assert short.dtype == encoder.dtype  # moved in place
    assert json.loads(json.dumps(short.settings)) == {"library": "none", "dtype": name}
    assert "dtype" not in encoder.settings
    torch.testing.assert_close(rows, exact, atol=tolerance, rtol=tolerance)
    assert torch.equal(rows, exact) == (tolerance == 0)  # it was computed in that precision


def test_a_move_without_a_precision_changes_nothing(encoder):
    assert encoder.to("cpu") is encoder
    assert encoder.dtype == torch.float32


def test_a_network_without_weights_has_no_precision():
    pixels = Encoder("pixels", None, {}, lambda image: image, nn.Flatten())
    assert pixels.to("cpu", torch.float16).settings == {}
    batch = torch.rand(2, 3, 4, 4)
    assert torch.equal(pixels.encode(batch), batch.flatten(1))


def test_the_shortest_precision_of_the_weights_is_what_is_computed_in():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 8).half(), nn.Flatten()).eval()
    mixed = Encoder("mixed", 2, {}, lambda image: image, network)
    assert mixed.dtype == torch.float16
    assert mixed.encode(torch.randn(2, 3, 8, 8)).dtype == torch.float32


@pytest.mark.parametrize("dtype", ["fp16", torch.float64, 16])
def test_another_precision_is_refused(encoder, dtype):
    with pytest.raises(ValueError, match=r"unknown dtype .* choose from torch.float32, "):
        encoder.to("cpu", dtype)


def test_an_unknown_name_is_told_what_it_may_mean():
    names = ["clip-vit-l-14", "bit"]
    assert str(unknown("clip-vit-l14", names)) == (
        "unknown encoder 'clip-vit-l14'; did you mean clip-vit-l-14? choose from clip-vit-l-14, bit"
    )
    assert str(unknown("zzz", names, "two")) == "unknown encoder 'zzz'; choose from two"


def test_on_a_cpu_images_lie_channels_last_and_rows_are_those_of_any_order(encoder):
    seen = []
    encoder.network[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    batch = torch.randn(4, 3, 8, 8)
    rows = encoder.encode(batch)
    assert torch.equal(rows, encoder.encode(batch.to(memory_format=torch.channels_last)))
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images in seen)
    torch.testing.assert_close(rows, encoder.network(batch), atol=1e-5, rtol=1e-5)
    flat = Encoder("flat", 5, {}, lambda image: image, nn.Linear(12, 5))
    assert flat.encode(torch.randn(4, 12)).shape == (4, 5)  # images of other dimensions stay

"""DINOv2, DINO, BiT, timm's others: positions by the hub's rule, preprocessing to the last bit."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import nn

from hume_turtle.encoders import timm_models
from hume_turtle.encoders.encoder import DTYPES
from hume_turtle.encoders.timm_models import interpolate_positions
from tests.helpers.shallow import (
    build_shallow,
    reference_preprocess,
    sample_images,
    shallow_encoder,
    slow_but,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
# columns of the space; millions of parameters without a classifier, as the models' authors say
SIZES = {
    "dinov2-vit-s-14": (384, 22),
    "dinov2-vit-b-14": (768, 86),
    "dinov2-vit-l-14": (1024, 303),
    "dinov2-vit-g-14": (1536, 1135),
    "dino-vit-s-16": (384, 22),
    "dino-vit-b-16": (768, 86),
    "bit": (2048, 24),
}


@pytest.mark.parametrize("name", SIZES)
def test_full_size(name):
    dim, millions = SIZES[name]
    with torch.device("meta"):  # shapes and no memory
        encoder = timm_models.build(name, None, "random")
        rows = encoder.encode(torch.zeros(2, 3, 224, 224))
    assert rows.shape == (2, dim) == (2, encoder.dim)
    parameters = sum(part.numel() for part in encoder.network.parameters())
    assert round(parameters / 1e6) == millions


def test_there_are_these_seven():
    assert set(timm_models.MODELS) == set(SIZES)


@pytest.mark.parametrize("name", slow_but({"dinov2-vit-s-14", "dino-vit-s-16", "bit"}, SIZES))
def test_features_of_a_batch_are_those_of_each_image_and_repeat(name):
    encoder = shallow_encoder(name)
    images = list(sample_images().values())[:2]
    batch = torch.stack([encoder.preprocess(image) for image in images])
    rows = encoder.encode(batch)
    assert rows.shape == (2, encoder.dim)
    assert rows.isfinite().all()
    single = torch.cat([encoder.encode(image[None]) for image in batch])
    torch.testing.assert_close(rows, single, atol=1e-4, rtol=1e-4)
    torch.manual_seed(7)
    assert torch.equal(rows, build_shallow(name).encode(batch))  # seeded weights
    assert encoder.encode_text is None
    assert json.loads(json.dumps(encoder.settings))["library"] == "timm"


def test_random_weights_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    build_shallow("dino-vit-s-16")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("name", slow_but({"dinov2-vit-s-14"}, ["dinov2-vit-s-14", "bit"]))
def test_short_precisions_work(name, dtype):
    batch = torch.randn(1, 3, 224, 224)
    exact = shallow_encoder(name).encode(batch)
    short = build_shallow(name).to("cpu", DTYPES[dtype])
    assert short.settings["dtype"] == dtype
    rows = short.encode(batch)
    assert rows.dtype == torch.float32
    assert 0 < (rows - exact).norm() < 0.1 * exact.norm()


PREPROCESSING = {
    "dinov2-vit-s-14": (Image.BICUBIC, MEAN, STD, False),
    "dino-vit-s-16": (Image.BICUBIC, MEAN, STD, False),
    "bit": (Image.BILINEAR, (0.5,) * 3, (0.5,) * 3, True),
}


@pytest.mark.parametrize("name", PREPROCESSING)
def test_preprocessing_is_the_references_to_the_last_bit(name):
    encoder = shallow_encoder(name)
    loaded = pickle.loads(pickle.dumps(encoder.preprocess))  # as a DataLoader worker has it
    for mode, image in sample_images().items():
        expected = reference_preprocess(image, 256, 224, *PREPROCESSING[name])
        for preprocess in (encoder.preprocess, loaded):
            np.testing.assert_array_equal(preprocess(image).numpy(), expected, err_msg=mode)


def cubic_weights(inputs, outputs, scale):
    """Weights (outputs, inputs) of bicubic interpolation with A = -0.75, edges repeated.

    Output i is read at (i + 1/2) / scale - 1/2 and mixes the four inputs around.
    """
    weights = np.zeros((outputs, inputs))
    for row in range(outputs):
        centre = (row + 0.5) / scale - 0.5
        for column in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            x = abs(column - centre)
            near = 1.25 * x**3 - 2.25 * x**2 + 1
            far = -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
            weights[row, min(max(column, 0), inputs - 1)] += near if x <= 1 else far
    return weights


def hub_positions(positions):
    """DINOv2's own rule at 224 pixels, written out: 16 of 37 a side, scale 16.1/37."""
    weights = cubic_weights(37, 16, 16.1 / 37)
    grid = positions[0, 1:].double().numpy().reshape(37, 37, -1)
    grid = np.einsum("ia,jb,abd->ijd", weights, weights, grid).reshape(1, 256, -1)
    return torch.cat([positions[:, :1], torch.from_numpy(grid).float()], 1)


def test_positions_are_interpolated_by_the_hubs_rule_and_not_by_timms():
    positions = torch.randn(1, 1 + 37**2, 6, generator=torch.Generator().manual_seed(0))
    expected = hub_positions(positions)
    found = interpolate_positions(positions, 16)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    timms = resample_abs_pos_embed(positions, (16, 16), num_prefix_tokens=1)
    assert (timms - expected).abs().max() > 0.5
    unshifted = nn.functional.interpolate(
        positions[:, 1:].unflatten(1, (37, 37)).permute(0, 3, 1, 2), (16, 16), mode="bicubic"
    )
    moved = unshifted.flatten(2).transpose(1, 2) - expected[:, 1:]
    assert moved.abs().max() > 0.1  # the tenth matters


@pytest.fixture(scope="module")
def native():
    """DINOv2 S one block deep as its authors keep it, for 518 pixels, with unmistakable weights."""
    torch.manual_seed(3)
    model = timm.create_model("vit_small_patch14_dinov2.lvd142m", depth=1).eval()
    with torch.no_grad():
        for part in model.parameters():
            part += 0.1 * torch.randn_like(part)
        model.pos_embed.normal_()
    return model.requires_grad_(False)


def hub_features(model, batch):
    """The original's forward pass on 224 pixels, through the blocks of the native model."""
    patches = model.patch_embed.proj(batch).flatten(2).transpose(1, 2)  # (B, 256, D)
    tokens = torch.cat([model.cls_token.expand(len(batch), -1, -1), patches], 1)
    return model.norm(model.blocks(tokens + hub_positions(model.pos_embed)))[:, 0]


def test_pretrained_dinov2_gives_the_hubs_features(native, monkeypatch):
    asked = []

    def create_model(name, pretrained=False, **options):
        asked.append((name, pretrained))
        return pickle.loads(pickle.dumps(native))

    monkeypatch.setattr(timm, "create_model", create_model)
    encoder = timm_models.build("dinov2-vit-s-14", None, "pretrained")
    assert asked == [("vit_small_patch14_dinov2.lvd142m", True)]
    assert encoder.settings["weights"] == "pretrained"
    batch = torch.randn(2, 3, 224, 224)
    expected = hub_features(native, batch)
    torch.testing.assert_close(encoder.encode(batch), expected, atol=1e-4, rtol=1e-4)


def test_a_local_dinov2_file_gives_the_hubs_features(native, tmp_path):
    batch = torch.randn(2, 3, 224, 224)
    expected = hub_features(native, batch)
    save_file(native.state_dict(), tmp_path / "timm.safetensors")
    authors = {**native.state_dict(), "mask_token": torch.zeros(1, 384)}  # has this tensor besides
    torch.save(authors, tmp_path / "hub.pth")
    for file in ("timm.safetensors", "hub.pth"):
        encoder = build_shallow("dinov2-vit-s-14", tmp_path / file, "pretrained")
        assert encoder.settings["weights"] == "file"
        torch.testing.assert_close(encoder.encode(batch), expected, atol=1e-4, rtol=1e-4)


def test_the_authors_names_of_the_giants_weights_are_understood(tmp_path):
    giant = shallow_encoder("dinov2-vit-g-14").network
    positions = torch.randn(1, 1 + 37**2, 1536)
    state = {**giant.state_dict(), "pos_embed": positions, "mask_token": torch.zeros(1, 1536)}
    renamed = {
        key.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): tensor
        for key, tensor in state.items()
    }
    torch.save(renamed, tmp_path / "hub.pth")
    loaded = build_shallow("dinov2-vit-g-14", tmp_path / "hub.pth", "pretrained").network
    assert torch.equal(loaded.blocks[0].mlp.fc1.weight, giant.blocks[0].mlp.fc1.weight)
    torch.testing.assert_close(loaded.pos_embed, hub_positions(positions), atol=1e-4, rtol=0)


def test_positions_of_another_size_are_refused(tmp_path):
    state = shallow_encoder("dinov2-vit-s-14").network.state_dict()  # already at 224 pixels
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"position embeddings \(1, 257, 384\), .*\(1, 1370, 384"):
        build_shallow("dinov2-vit-s-14", tmp_path / "w.pt", "pretrained")


def test_any_model_of_timm_from_a_file_without_its_classifier(tmp_path):
    name = "timm:resnet10t.c3_in1k"
    source = timm.create_model("resnet10t", num_classes=1000).eval()
    torch.save({"state_dict": source.state_dict()}, tmp_path / "w.pt")
    encoder = timm_models.build(name, tmp_path / "w.pt", "pretrained")
    stated = timm.data.resolve_model_data_config(encoder.network)
    assert encoder.dim == 512
    assert encoder.settings["image_size"] == stated["input_size"][-1] == 176
    image = sample_images()["RGB"]
    transform = timm.data.create_transform(**stated, is_training=False)
    batch = encoder.preprocess(image)[None]
    assert torch.equal(batch[0], transform(image))
    with torch.inference_mode():
        expected = source.forward_head(source.forward_features(batch), pre_logits=True)
    torch.testing.assert_close(encoder.encode(batch), expected)
    with pytest.raises(ValueError, match=r"weights: .* Missing key"):
        timm_models.build("dino-vit-s-16", tmp_path / "w.pt", "pretrained")


def test_a_failed_fetch_is_reported(monkeypatch):
    def offline(name, **options):
        raise OSError(f"no way to {name}")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(FileNotFoundError, match=r"'bit': no way to resnetv2_50x1_bit\.goog_in21k"):
        timm_models.build("bit", None, "pretrained")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:vit_smal_patch16_224.dino", r"did you mean .*timm:vit_small_patch16_224\.dino"),
        ("timm:vit_small_patch16_224.dyno", r"did you mean .*timm:vit_small_patch16_224\.dino"),
        ("timm:", r"unknown encoder 'timm:'; .*timm:<name>"),
        ("timm:../weights", r"unknown encoder"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        timm_models.build(name, None, "random")

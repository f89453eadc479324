"""CLIP models: which network and weights, both towers, preprocessing to the last bit."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.functional import resize, to_tensor

from hume_turtle.encoders import clip
from hume_turtle.encoders.encoder import DTYPES
from tests.helpers.shallow import (
    build_shallow,
    reference_preprocess,
    sample_images,
    shallow_encoder,
    slow_but,
)

# Radford et al. (2021): mean and std of CLIP's training images
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# parameters of OpenAI's models, both towers; columns of the space; pixels a side
OPENAI = {
    "clip-rn50": (102_007_137, 1024, 224),
    "clip-rn101": (119_688_033, 512, 224),
    "clip-rn50x4": (178_300_601, 640, 288),
    "clip-rn50x16": (290_979_217, 768, 384),
    "clip-rn50x64": (623_258_305, 1024, 448),
    "clip-vit-b-32": (151_277_313, 512, 224),
    "clip-vit-b-16": (149_620_737, 512, 224),
    "clip-vit-l-14": (427_616_513, 768, 224),
}


SMALL = {
    "vision_cfg": {"layers": 1, "width": 64, "head_width": 32, "patch_size": 32, "image_size": 224},
    "text_cfg": {"layers": 1, "width": 32, "heads": 2},
}


def on_no_device(name):
    """The encoder at full size, with shapes and no memory."""
    with torch.device("meta"):
        return clip.build(name, None, "random", device="meta")


@pytest.mark.parametrize("name", OPENAI)
def test_full_size(name):
    parameters, dim, size = OPENAI[name]
    encoder = on_no_device(name)
    assert sum(part.numel() for part in encoder.network.parameters()) == parameters
    assert encoder.encode(torch.zeros(2, 3, size, size, device="meta")).shape == (2, dim)
    assert (encoder.dim, encoder.settings["image_size"]) == (dim, size)
    kinds = {type(module).__name__ for module in encoder.network.modules()}
    assert "QuickGELU" in kinds  # OpenAI's activation
    assert "GELU" not in kinds


def test_there_are_these_eight():
    assert set(clip.MODELS) == set(OPENAI)


@pytest.mark.parametrize("name", ["clip-vit-b-32", "clip-rn50x4"])
def test_preprocessing_is_clips_to_the_last_bit(name):
    encoder = shallow_encoder(name)
    size = OPENAI[name][2]
    loaded = pickle.loads(pickle.dumps(encoder.preprocess))  # as a DataLoader worker has it
    for mode, image in sample_images().items():
        expected = reference_preprocess(image, size, size, Image.BICUBIC, MEAN, STD)
        for preprocess in (encoder.preprocess, loaded):
            np.testing.assert_array_equal(preprocess(image).numpy(), expected, err_msg=mode)


def test_rgb_comes_after_the_crop():
    palette = sample_images()["P"]
    options = (224, 224, Image.BICUBIC, MEAN, STD)
    early = reference_preprocess(palette, *options, rgb_first=True)
    found = shallow_encoder("clip-vit-b-32").preprocess(palette).numpy()
    assert np.abs(found - early).max() > 0.1


@pytest.mark.parametrize("name", slow_but({"clip-rn50", "clip-vit-b-32"}, OPENAI))
def test_features_of_a_batch_are_those_of_each_image_and_repeat(name):
    encoder = build_shallow(name)
    batch = torch.stack([encoder.preprocess(image) for image in list(sample_images().values())[:2]])
    rows = encoder.encode(batch)
    assert rows.shape == (2, OPENAI[name][1])
    single = torch.cat([encoder.encode(image[None]) for image in batch])
    torch.testing.assert_close(rows, single, atol=1e-4, rtol=1e-4)
    assert (rows.norm(dim=1) - 1).abs().max() > 0.1  # not normalised
    assert rows[0].isfinite().all()
    assert not torch.equal(rows[0], rows[1])


def test_random_weights_repeat_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    again = build_shallow("clip-vit-b-32")
    assert torch.equal(torch.get_rng_state(), state)
    batch = torch.randn(1, 3, 224, 224)
    assert torch.equal(again.encode(batch), shallow_encoder("clip-vit-b-32").encode(batch))


def test_texts_and_images_share_a_space():
    encoder = shallow_encoder("clip-vit-b-32")
    texts = ["a photo of a dog.", "a centered satellite photo of a forest."]
    rows = encoder.encode_text(texts)
    assert rows.shape == (2, encoder.dim)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(encoder.encode_text(texts[1:]), rows[1:], atol=1e-4, rtol=1e-4)
    model = encoder.network.model
    with torch.inference_mode():
        tokens = open_clip.tokenize(texts)
        expected = model.encode_text(tokens)
        assert torch.equal(rows, expected)
        directions = model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(rows / rows.norm(dim=1, keepdim=True), directions)
    assert (rows.norm(dim=1) - 1).abs().max() > 0.1


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_short_precisions_work_for_both_towers(dtype):
    exact = shallow_encoder("clip-vit-b-32")
    short = build_shallow("clip-vit-b-32").to("cpu", DTYPES[dtype])
    batch = torch.randn(2, 3, 224, 224)
    pairs = [(exact.encode(batch), short.encode(batch))]
    pairs += [(exact.encode_text(["a dog"]), short.encode_text(["a dog"]))]
    for rows, found in pairs:
        assert found.dtype == torch.float32
        assert 0 < (found - rows).norm() < 0.05 * rows.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["clip-vit-b-32", "clip-rn50"])
def test_short_precisions_leave_normalisation_layers_float32(name, dtype):
    """OpenAI's loader rounds convolutions, linear layers, attention and the two projections."""
    encoder = build_shallow(name)
    exact = {key: part.clone() for key, part in encoder.network.named_parameters()}
    short = encoder.to("cpu", dtype)
    assert short.dtype == dtype
    rounded = {key for key, part in encoder.network.named_parameters() if part.dtype == dtype}
    kinds = dict(encoder.network.named_modules())
    for key, part in encoder.network.named_parameters():
        owner, _, last = key.rpartition(".")
        of_layer = isinstance(kinds[owner], (nn.Conv2d, nn.Linear, nn.MultiheadAttention))
        assert (key in rounded) == (of_layer or last in ("proj", "text_projection")), key
        torch.testing.assert_close(part, exact[key].to(part.dtype), rtol=0, atol=0)
    normalising = [
        part for part in kinds.values() if isinstance(part, (nn.LayerNorm, nn.BatchNorm2d))
    ]
    assert len(normalising) > 5
    assert {part.weight.dtype for part in normalising} == {torch.float32}
    seen = []

    def compare(layer, given, made):
        exact = nn.LayerNorm.forward(layer, given[0].float())
        seen.append(made.dtype == dtype and torch.equal(made, exact.to(dtype)))

    for part in normalising:
        if isinstance(part, nn.LayerNorm):
            part.register_forward_hook(compare)
    image = torch.randn(1, 3, 224, 224)
    assert encoder.encode(image).isfinite().all()
    assert encoder.encode_text(["a dog"]).isfinite().all()
    assert len(seen) >= 3
    assert all(seen)
    again = short.to("cpu", dtype)  # once more changes nothing
    assert torch.equal(again.encode(image), short.encode(image))


def test_other_models_than_openais_are_rounded_whole():
    encoder = clip.build("open_clip:ViT-B-32:laion2b_s34b_b79k", None, "random", **SMALL)
    encoder.to("cpu", torch.float16)
    assert {part.dtype for part in encoder.network.parameters()} == {torch.float16}
    assert encoder.encode_text(["a dog"]).isfinite().all()


def test_a_local_file_and_openais_archive(tmp_path, monkeypatch):
    name = "clip-vit-b-32"
    source = shallow_encoder(name)
    batch = torch.randn(1, 3, 224, 224)
    state = {key: value * 1.5 for key, value in source.network.model.state_dict().items()}
    sizes = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    openai = {**state, **{key: torch.tensor(value) for key, value in sizes.items()}}
    torch.save(openai, tmp_path / "w.pt")
    loaded = build_shallow(name, tmp_path / "w.pt", "pretrained")
    assert loaded.settings["weights"] == "file"
    digest = hashlib.sha256((tmp_path / "w.pt").read_bytes()).hexdigest()
    assert loaded.settings["sha256"] == digest
    rows = loaded.encode(batch)
    assert not torch.equal(rows, source.encode(batch))
    assert torch.equal(loaded.network.model.token_embedding.weight, state["token_embedding.weight"])

    asked = []
    monkeypatch.setattr(
        clip, "read_weights", lambda path, sha256: asked.append(sha256) or dict(openai)
    )
    assert torch.equal(build_shallow(name, tmp_path / "w.pt", "pretrained").encode(batch), rows)
    # the checksum that OpenAI's own program expects of ViT-B-32.pt
    assert asked == ["40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"]


def test_another_models_file_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w\.pt holds another model's weights: .*Missing key"):
        build_shallow("clip-vit-b-32", tmp_path / "w.pt", "pretrained")


def test_openais_weights_are_requested_and_a_failure_is_reported(monkeypatch):
    def offline(architecture, tag, **options):
        raise RuntimeError(f"no way to {architecture} of {tag}")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(FileNotFoundError, match=r"no way to ViT-L-14-quickgelu of openai.*random"):
        clip.build("clip-vit-l-14", None, "pretrained")


def test_any_model_of_open_clip_with_the_preprocessing_of_its_tag():
    laion = on_no_device("open_clip:ViT-B-32:laion2b_s34b_b79k")
    assert (laion.dim, laion.settings["tag"]) == (512, "laion2b_s34b_b79k")
    siglip = on_no_device("open_clip:ViT-B-16-SigLIP:webli")
    assert siglip.dim == 768
    assert siglip.settings["resize"] == "squash"
    assert siglip.encode(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 768)
    image = sample_images()["tall"]
    squashed = to_tensor(resize(image, (224, 224), Image.BICUBIC)) * 2 - 1
    torch.testing.assert_close(siglip.preprocess(image), squashed)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open_clip:ViT-B-23:openai", r"did you mean open_clip:ViT-B-32 .*\.list_pretrained"),
        ("open_clip:ViT-B-32:open", r"did you mean open_clip:ViT-B-32:openai"),
        ("open_clip:ViT-B-32", r"choose from open_clip:ViT-B-32:openai, "),
        ("open_clip:", r"unknown encoder 'open_clip:'"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        clip.build(name, None, "random")

"""Encoders by name: dimensions, preprocessing, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from hume_turtle.datasets.registry import load_dataset
from hume_turtle.encoders.registry import LIBRARIES, check_encoder, encoder_names, load_encoder
from hume_turtle.pretraining import moco
from hume_turtle.pretraining.checkpoints import save_checkpoint
from hume_turtle.pretraining.letters import ink_tensor, pretrain_letters
from hume_turtle.storage.embeddings import part
from hume_turtle.storage.names import slug
from tests.helpers.embed import embed
from tests.helpers.shallow import slow_but


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Both pretrained encoders after two steps of training."""
    folder = tmp_path_factory.mktemp("checkpoints")
    coloured = load_dataset("coloured-digits", "train").images
    tiny = {"steps": 2, "batch_size": 16}
    save_checkpoint(pretrain_letters(tiny), folder / "letters.pt")
    moco.pretrain(coloured, folder / "moco.pt", tiny)
    return folder


def test_pixels_are_the_image_itself():
    encoder = load_encoder("pixels")
    for name, dim in (("digits", 64), ("coloured-digits", 192)):
        dataset = load_dataset(name, "test")
        rows = embed(dataset, encoder)
        assert rows.shape == (599, dim)
        assert rows.max() <= 1
        assert rows.min() >= 0
    image = np.asarray(dataset[0]).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(rows[0], image.ravel(), rtol=1e-6)


@pytest.mark.parametrize("name", ["letters", "moco"])
def test_a_pretrained_encoder_gives_its_stated_dimension_and_repeats(checkpoints, name):
    encoder = load_encoder(name, checkpoint=checkpoints / f"{name}.pt")
    dataset = load_dataset("coloured-digits", "test")
    rows = embed(dataset, encoder)
    assert rows.shape == (599, encoder.dim)
    assert np.isfinite(rows).all()
    again = load_encoder(name, checkpoint=checkpoints / f"{name}.pt")
    assert rows.tobytes() == embed(dataset, again).tobytes()
    one = encoder.encode(encoder.preprocess(dataset[3])[None])  # frozen: no batch statistics
    np.testing.assert_allclose(one[0], rows[3], atol=1e-4)
    settings = json.loads(json.dumps(encoder.settings))
    assert settings["steps"] == 2
    assert settings["seed"] == 0


def test_ink_is_the_same_in_any_colour_and_polarity():
    grey, coloured = (load_dataset(name, "train") for name in ("digits", "coloured-digits"))
    for row in range(200):
        reference = ink_tensor(grey[row])
        assert reference.mean().abs() < 1e-5
        assert reference.std(correction=0) == pytest.approx(1)
        torch.testing.assert_close(ink_tensor(coloured[row]), reference, atol=0.05, rtol=0)
        inverted = Image.fromarray(255 - np.asarray(grey[row]))
        torch.testing.assert_close(ink_tensor(inverted), reference, atol=1e-4, rtol=0)


def test_a_blank_image_is_no_nan():
    assert ink_tensor(Image.new("L", (8, 8), 130)).abs().max() == 0


def test_letters_see_coloured_digits_as_grey_ones(checkpoints):
    encoder = load_encoder("letters", checkpoint=checkpoints / "letters.pt")
    grey = embed(load_dataset("digits", "test"), encoder)
    coloured = embed(load_dataset("coloured-digits", "test"), encoder)
    assert np.square(grey - coloured).mean() < 1e-3 * np.square(grey - grey.mean(0)).mean()


FULL_SIZE = [
    "dino-vit-s-16",
    "clip-rn50",
    "clip-vit-l-14",
    "dinov2-vit-b-14",
    "bit",
    "timm:resnet18.a1_in1k",
]


@pytest.mark.parametrize("name", slow_but({"dino-vit-s-16"}, FULL_SIZE))
def test_a_full_size_encoder_embeds_a_dataset(name):
    encoder = load_encoder(name, weights="random")
    dataset = load_dataset("coloured-digits", "test")
    few = replace(dataset, images=[dataset[row] for row in range(3)])
    rows = embed(few, encoder, batch_size=2)
    assert rows.shape == (3, encoder.dim)
    assert encoder.name == name == part(name)  # can be a folder's name
    assert json.loads(json.dumps(encoder.settings))["weights"] == "random"


def test_the_papers_spaces_are_encoders():
    for paper in ("CLIP RN50x64", "CLIP ViT-L/14", "DINOv2 ViT-g/14", "BiT", "MoCo"):
        assert slug(paper) in encoder_names()


def test_importing_encoders_imports_neither_library():
    code = (
        "import sys, hume_turtle.encoders.registry; print({'open_clip', 'timm'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_what_is_refused(checkpoints, tmp_path):
    with pytest.raises(ValueError, match=r"clip.*pixels, moco, letters"):
        load_encoder("clip")
    with pytest.raises(ValueError, match=r"did you mean clip-vit-l-14 or.* bit, .*timm:<name>"):
        load_encoder("clip-vit-l14")
    with pytest.raises(ValueError, match=r"weights='none' must be one of pretrained, random"):
        load_encoder("bit", weights="none")
    for name in ("pixels", "moco", "letters"):
        with pytest.raises(ValueError, match=rf"encoder '{name}' has no random weights"):
            load_encoder(name, weights="random")
    with pytest.raises(ValueError, match=r"random or from x\.pt, not both"):
        load_encoder("bit", checkpoint="x.pt", weights="random")
    for name in ("bit", "clip-rn50", "timm:resnet10t.c3_in1k", "open_clip:ViT-B-32:openai"):
        with pytest.raises(FileNotFoundError, match=r"no weight file at .*none\.pt"):
            load_encoder(name, checkpoint=tmp_path / "none.pt")
    with pytest.raises(ValueError, match=r"needs the checkpoint"):
        load_encoder("moco")
    with pytest.raises(ValueError, match=r"takes no checkpoint"):
        load_encoder("pixels", checkpoint="x.pt")
    with pytest.raises(ValueError, match=r"holds encoder 'letters', not 'moco'"):
        load_encoder("moco", checkpoint=checkpoints / "letters.pt")
    with pytest.raises(FileNotFoundError):
        load_encoder("moco", checkpoint=tmp_path / "none.pt")


def test_what_is_wrong_is_told_without_making_a_network(checkpoints, tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise AssertionError("a network was made")

    for library in LIBRARIES:
        monkeypatch.setattr(library, "build", no_network)
    for name in ("pixels", "clip-vit-l-14", "bit", "timm:resnet18.a1_in1k"):
        check_encoder(name)
    check_encoder("moco", checkpoint=checkpoints / "moco.pt")
    for name, options, message in (
        ("clip-vit-l14", {}, "did you mean clip-vit-l-14"),
        ("timm:resnet18.none", {}, "unknown encoder 'timm:resnet18.none'"),
        ("open_clip:ViT-B-32:open", {}, "did you mean open_clip:ViT-B-32:openai"),
        ("letters", {}, "'letters' needs the checkpoint"),
        ("bit", {"checkpoint": tmp_path / "none.pt"}, "no weight file at"),
        ("moco", {"checkpoint": tmp_path / "none.pt"}, "no weight file at"),
        ("bit", {"weights": "some"}, "weights='some'"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            check_encoder(name, **options)

"""What an encoder costs, by hand for small networks, and where its weights are looked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hume_turtle.encoders import footprint as module
from hume_turtle.encoders.footprint import cached_weights, count_flops, footprint, is_trained_here


def test_operations_of_a_convolution_and_a_layer_as_counted_by_hand():
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), nn.Flatten(), nn.Linear(64, 5))
    convolution = 2 * (3 * 2 * 2) * 4 * (4 * 4)  # 8 by 8 pixels become 4 by 4
    assert count_flops(network, 8) == convolution + 2 * 64 * 5


def test_a_vision_transformer_as_counted_by_hand():
    found = footprint("dinov2-vit-s-14")
    n, d = 257, 384  # 16 by 16 patches and the class token
    block = 2 * n * d * (3 * d + d + 8 * d) + 2 * 2 * n * n * d  # linear layers, attention
    patches = 2 * 256 * (3 * 14 * 14) * d
    assert found.flops == 12 * block + patches
    assert found.dim == d
    assert found.library == "timm"
    assert found.gb == pytest.approx(4 * found.parameters / 1e9)


def test_a_text_tower_and_a_classifier_are_downloaded_too():
    assert footprint("clip-vit-b-32").parameters == 151_277_313  # as open_clip states it
    assert footprint("bit").parameters == 23_500_352 + 21_843 * 2048


def test_no_weights_are_made_for_a_giant():
    assert footprint("dinov2-vit-g-14").parameters > 1.1e9  # 4.5 GB, were they made


def test_names_without_published_weights():
    names = ("moco", "letters", "pixels", "bit")
    assert [is_trained_here(name) for name in names] == [True, True, False, False]
    with pytest.raises(ValueError, match="unknown encoder 'bite'"):
        footprint("bite")


@pytest.fixture
def caches(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def cache(root, repository, file):
    folder = root / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "snapshots" / "abc" / file).touch()


def test_weights_are_seen_in_the_libraries_caches(caches):
    names = ("clip-vit-l-14", "dinov2-vit-s-14")
    assert [cached_weights(name) for name in names] == [None, None]
    cache(caches, "timm/vit_large_patch14_clip_224.openai", "open_clip_model.safetensors")
    cache(caches, "timm/vit_small_patch14_dinov2.lvd142m", "model.safetensors")
    assert all(cached_weights(name).is_file() for name in names)
    assert cached_weights("clip-vit-b-32") is None


def test_weights_that_open_clip_keeps_itself_are_seen(caches, monkeypatch):
    monkeypatch.setattr(module, "clip_address", lambda name: ("", [], "https://host/sha/ViT.pt"))
    assert cached_weights("clip-vit-b-32") is None
    (caches / ".cache/clip").mkdir(parents=True)
    (caches / ".cache/clip/ViT.pt").touch()
    assert cached_weights("clip-vit-b-32") == caches / ".cache/clip/ViT.pt"

"""Pretraining: MoCo in tiny runs, its views, and the checkpoints."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from hume_turtle.datasets.registry import load_dataset
from hume_turtle.pretraining.small_networks import (
    MocoSettings,
    augment,
    load_checkpoint,
    pretrain_moco,
    save_checkpoint,
)

TINY_MOCO = {"steps": 30, "batch_size": 48, "width": 8, "memory": 96}


@pytest.fixture(scope="module")
def images():
    return load_dataset("digits", "train").images


def same(a, b):
    return a.losses == b.losses and all(torch.equal(a.state[k], b.state[k]) for k in a.state)


def test_moco_learns_and_repeats_bit_for_bit(images):
    first, second = pretrain_moco(images, TINY_MOCO), pretrain_moco(images, TINY_MOCO)
    bank_full = TINY_MOCO["memory"] // TINY_MOCO["batch_size"]  # random keys before are easy
    assert np.mean(first.losses[-5:]) < 0.9 * np.mean(first.losses[bank_full:][:5])
    assert same(first, second)


def test_pretraining_leaves_the_global_generator_alone(images):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    pretrain_moco(images, {**TINY_MOCO, "steps": 1})
    assert torch.equal(torch.rand(3), expected)


def test_views_differ_but_keep_the_image():
    images = torch.rand(4, 3, 8, 8)
    settings, generator = MocoSettings(), torch.Generator().manual_seed(0)
    views = [augment(images, settings, generator) for _ in range(2)]
    assert not torch.equal(*views)
    names = ("rotation", "shear", "zoom", "shift", "elastic", "gain", "hue", "noise")
    still = MocoSettings(**dict.fromkeys(names, 0.0))
    torch.testing.assert_close(augment(images, still, generator), images, atol=1e-4, rtol=0)


def test_bad_input_is_refused_before_any_work(images):
    with pytest.raises(ValueError, match=r"unknown settings depth"):
        pretrain_moco(images, {"depth": 3})
    with pytest.raises(ValueError, match=r"at least two"):
        pretrain_moco([images[0]])
    with pytest.raises(ValueError, match=r"image 1 "):
        pretrain_moco([images[0], images[0].resize((9, 8))])


def test_checkpoints_come_back_and_have_the_same_bytes(tmp_path, images):
    checkpoint = pretrain_moco(images, {**TINY_MOCO, "steps": 2})
    save_checkpoint(checkpoint, tmp_path / "a.pt")
    save_checkpoint(checkpoint, tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert same(loaded, checkpoint)
    assert loaded.settings == checkpoint.settings


class Payload:
    """A pickle that would run code."""

    def __reduce__(self):
        return print, ("executed",)


def test_files_that_are_no_checkpoint_are_refused(tmp_path, capsys):
    path = tmp_path / "x.pt"
    path.write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(ValueError, match=r"not a checkpoint"):
        load_checkpoint(path)
    torch.save(Payload(), path)
    with pytest.raises(ValueError, match=r"not a checkpoint"):
        load_checkpoint(path)
    torch.save({"name": "moco"}, path)
    with pytest.raises(ValueError, match=r"not a checkpoint"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"not a checkpoint"):
        load_checkpoint(path)
    assert "executed" not in capsys.readouterr().out


def test_weights_of_another_shape_are_refused(images):
    checkpoint = pretrain_moco(images, {**TINY_MOCO, "steps": 1})
    checkpoint.settings["dim"] = 32
    with pytest.raises(ValueError, match=r"do not fit"):
        checkpoint.network()

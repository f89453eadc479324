"""Checkpoints of the small networks: what comes back, and what is refused."""

from __future__ import annotations

import pickle

import pytest
import torch

from hume_turtle.pretraining.checkpoints import (
    Checkpoint,
    checkpoint_of,
    load_checkpoint,
    save_checkpoint,
)
from hume_turtle.pretraining.networks import SmallConvNet
from hume_turtle.pretraining.settings import MocoSettings


@pytest.fixture
def checkpoint() -> Checkpoint:
    settings = MocoSettings(width=8)
    network = SmallConvNet(1, settings.dim, settings.width)
    return checkpoint_of("moco", network, settings, 0, [2.0, 1.5])


def test_checkpoints_come_back_and_have_the_same_bytes(tmp_path, checkpoint):
    save_checkpoint(checkpoint, tmp_path / "a.pt")
    save_checkpoint(checkpoint, tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert (loaded.losses, loaded.settings) == (checkpoint.losses, checkpoint.settings)
    assert all(torch.equal(loaded.state[name], value) for name, value in checkpoint.state.items())
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(loaded.network().eval()(images), checkpoint.network().eval()(images))


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


def test_weights_of_another_shape_are_refused(checkpoint):
    checkpoint.settings["dim"] = 32
    with pytest.raises(ValueError, match=r"do not fit"):
        checkpoint.network()

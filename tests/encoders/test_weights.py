"""Weight files: what is read, what is refused, and that nothing in a file is run."""

from __future__ import annotations

import hashlib
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hume_turtle.encoders.weights import load_weights, make_network, read_weights


def network(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))


def same(state, other):
    return state.keys() == other.keys() and all(
        torch.equal(state[key], other[key]) for key in other
    )


@pytest.mark.parametrize("wrapped", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torch_files_are_read_bare_and_wrapped(tmp_path, wrapped, prefix):
    state = network().state_dict()
    content = {prefix + key: value for key, value in state.items()}
    torch.save({wrapped: content, "epoch": 3} if wrapped else content, tmp_path / "w.pt")
    assert same(read_weights(tmp_path / "w.pt"), state)


def test_safetensors_are_read(tmp_path):
    state = network().state_dict()
    save_file(state, tmp_path / "w.safetensors")
    assert same(read_weights(tmp_path / "w.safetensors"), state)


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_and_not_run(tmp_path, zipped):
    content = {"weight": torch.zeros(2), "other": Payload(tmp_path / "made")}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="not a file of weights alone"):
        read_weights(tmp_path / "w.pt")
    assert not (tmp_path / "made").exists()
    torch.load(tmp_path / "w.pt", weights_only=False)
    assert (tmp_path / "made").exists()  # the payload is a live one


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", bytes(64), b"\x80\x02N."])
def test_what_holds_no_weights_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"not a file of weights|does not hold"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"epoch": 3}, torch.zeros(3)])
def test_other_content_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="does not hold a network's tensors"):
        read_weights(tmp_path / "w.pt")


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weight file at .*none\.pt"):
        make_network("bit", tmp_path / "none.pt", "pretrained", network, read_weights)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_torchscript_archive_is_opened_only_with_the_published_checksum(tmp_path):
    module = network().eval()
    path = tmp_path / "w.pt"
    torch.jit.save(torch.jit.trace(module, torch.zeros(1, 3, 2, 2)), path)
    published = hashlib.sha256(path.read_bytes()).hexdigest()
    for expected in (None, "0" * 64):
        with pytest.raises(ValueError, match="TorchScript archive"):
            read_weights(path, expected)
    assert same(read_weights(path, published), module.state_dict())


def test_weights_are_loaded_and_another_models_are_not():
    source, target = network().requires_grad_(False), network()
    source[1].running_mean += 2
    load_weights(target, source.state_dict(), "w.pt")
    assert same(target.state_dict(), source.state_dict())
    uncounted = {k: v for k, v in source.state_dict().items() if "num_batches" not in k}
    load_weights(network(), uncounted, "w.pt")
    with pytest.raises(
        ValueError, match=r"w\.pt holds another model's weights.*size mismatch for 0\.weight"
    ):
        load_weights(network(5), source.state_dict(), "w.pt")
    renamed = dict(source.state_dict())
    renamed["2.weight"] = renamed.pop("1.weight")
    with pytest.raises(ValueError, match=r"Missing key.*1\.weight.*Unexpected key.*2\.weight"):
        load_weights(target, renamed, "w.pt")


def test_a_failed_fetch_says_what_to_do():
    def offline(pretrained):
        raise RuntimeError("offline")

    with pytest.raises(FileNotFoundError, match=r"'bit': offline\. .*checkpoint=<file>"):
        make_network("bit", None, "pretrained", offline, read_weights)

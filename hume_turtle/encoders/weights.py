"""Files of network weights, read without running anything that is in them.

Accepted: `.safetensors`, and what `torch.load(weights_only=True)` reads: a state dict by itself or
under the key "state_dict" or "model", with or without the "module." of a parallel wrapper.

OpenAI's own CLIP files are TorchScript archives, that is, programs. open_clip refuses a local one
(`create_model`) or hands any to `torch.jit.load` (`load_openai_model`). Here one is opened only if
its SHA-256 is the one that OpenAI publishes for that very model; any other is refused unread.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hume_turtle.storage.files import file_sha256

State = dict[str, Tensor]  # a network's tensors by name
SEED = 0  # of random weights


def read_weights(path: str | Path, published_sha256: str | None = None) -> State:
    """The tensors of a weight file by name, on the CPU.

    published_sha256: of the one TorchScript archive that may be opened.
    Raises FileNotFoundError, and ValueError where the file is none of the accepted kinds.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weight file at {path}")
    if is_torchscript(path):
        content = read_published_archive(path, published_sha256)
    else:
        content = read_tensors(path)
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(map(torch.is_tensor, content.values())):
        raise ValueError(f"{path} does not hold a network's tensors by name")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def read_tensors(path: Path) -> Any:
    """What a .safetensors or torch file holds. Raises ValueError where it is neither."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ValueError(f"{path} is not a file of weights alone: {error}") from None


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive: a zip with a table of constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_published_archive(path: Path, published_sha256: str | None) -> State:
    """The state dict of a TorchScript archive whose checksum is the published one."""
    if published_sha256 is None or file_sha256(path) != published_sha256:
        raise ValueError(
            f"{path} is a TorchScript archive, which is a program, and its SHA-256 is not the one "
            f"published for this model ({published_sha256}); save its state dict instead"
        )
    return torch.jit.load(path, map_location="cpu").state_dict()


def load_weights(network: nn.Module, state: State, path: str | Path) -> None:
    """Put weights into a network. Raises ValueError if the names or shapes are another model's."""
    wanted = network.state_dict()
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}  # for training
    problems = {
        "lacks": wanted.keys() - state.keys() - counters,
        "has besides": state.keys() - wanted.keys(),
        "has in another shape": {
            name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape
        },
    }
    found = [f"{what} {some(names)}" for what, names in problems.items() if names]
    if found:
        raise ValueError(f"{path} holds another model's weights: it {'; it '.join(found)}")
    network.load_state_dict(state, strict=False)


def some(names: set[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    listed = ", ".join(sorted(names)[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"


@contextmanager
def fetching(name: str) -> Iterator[None]:
    """Says what to do where a library cannot fetch the weights of `name`: FileNotFoundError."""
    try:
        yield
    except Exception as error:  # each library, and each of its hosts, has errors of its own
        raise FileNotFoundError(
            f"could not fetch the pretrained weights of {name!r}: {error}. With the file at hand "
            'pass checkpoint=<file>; to try without weights pass weights="random"'
        ) from error


def origin(checkpoint: str | Path | None, weights: str) -> dict[str, Any]:
    """Where weights come from, for an encoder's settings."""
    if checkpoint is not None:
        return {"weights": "file", "sha256": file_sha256(Path(checkpoint))}
    return {"weights": weights, "seed": SEED} if weights == "random" else {"weights": weights}

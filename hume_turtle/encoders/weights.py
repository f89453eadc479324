"""Files of network weights, read without running anything that is in them.

Accepted: `.safetensors`, and what `torch.load(weights_only=True)` reads: a state dict by itself or
under the key "state_dict" or "model", with or without the "module." of a parallel wrapper.

OpenAI's own CLIP files are TorchScript archives, that is, programs. One is opened only if its
SHA-256 is the one that OpenAI publishes for that very model; any other is refused unread.

The libraries' own loading of a local file does not serve: timm's ignores missing keys once the
classifier is removed, open_clip's refuses OpenAI's files, and both resize position embeddings by
their own rule without saying so.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from hume_turtle.storage.files import file_sha256

State = dict[str, Tensor]  # a network's tensors by name
SEED = 0  # of random weights


def make_network(
    name: str,
    checkpoint: str | Path | None,
    weights: str,
    create: Callable[[bool], nn.Module],
    read: Callable[[nn.Module], State],
) -> nn.Module:
    """An encoder's network with the published weights, seeded random ones, or those of a file.

    create: makes the network; True for the published weights, which its library fetches.
    read: the weights in `checkpoint`, as this network names them.
    Raises FileNotFoundError where the weights cannot be fetched, and what `read_weights` and
    `load_weights` raise.
    """
    if checkpoint is not None:
        check_file(checkpoint)
    if checkpoint is None and weights == "pretrained":
        try:
            return create(True)
        except Exception as error:  # each library, and each of its hosts, has errors of its own
            fault = str(error).rstrip(".")
            raise FileNotFoundError(
                f"could not fetch the pretrained weights of {name!r}: {fault}. With the file at "
                'hand pass checkpoint=<file>; to try without weights pass weights="random"'
            ) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = create(False)
    if checkpoint is not None:
        load_weights(network, read(network), checkpoint)
    return network


def check_file(path: str | Path) -> None:
    """Raise FileNotFoundError where there is no such file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weight file at {path}")


def read_weights(path: str | Path, published_sha256: str | None = None) -> State:
    """The tensors of a weight file by name, on the CPU.

    published_sha256: of the one TorchScript archive that may be opened.
    Raises ValueError where the file is none of the accepted kinds.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        elif is_torchscript(path):
            if published_sha256 is None or file_sha256(path) != published_sha256:
                raise ValueError(
                    f"{path} is a TorchScript archive, which is a program, and its SHA-256 is not "
                    f"that published for this model ({published_sha256}); save its state dict"
                )
            content = torch.jit.load(path, map_location="cpu").state_dict()
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        fault = "damaged, or of another kind" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is not a file of weights alone: {fault}") from None
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(map(torch.is_tensor, content.values())):
        raise ValueError(f"{path} does not hold a network's tensors by name")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive: a zip with a table of constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def load_weights(network: nn.Module, state: State, path: str | Path) -> None:
    """Put weights into a network. Raises ValueError if the names or shapes are another model's."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        fault = shorten(str(error), 400)
        raise ValueError(f"{path} holds another model's weights: {fault}") from None


def origin(checkpoint: str | Path | None, weights: str) -> dict[str, Any]:
    """Where weights come from, for an encoder's settings."""
    if checkpoint is not None:
        return {"weights": "file", "sha256": file_sha256(Path(checkpoint))}
    return {"weights": weights, "seed": SEED} if weights == "random" else {"weights": weights}

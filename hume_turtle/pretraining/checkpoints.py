"""Pretrained networks in files: plain tensors and settings, which load without running any code."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hume_turtle.pretraining.networks import SideBySide, SmallConvNet, resnet18
from hume_turtle.storage.files import atomic_write


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A pretrained network, and what made it.

    Attributes:
        name: of the encoder, "letters" or "moco".
        settings: the fields of its settings.
        state: the network's tensors by name, on the CPU.
        losses: the training loss at every step.
    """

    name: str
    settings: dict[str, Any]
    seed: int
    in_channels: int
    state: dict[str, Tensor]
    losses: list[float]

    def network(self) -> nn.Module:
        """The network with its weights. Raises ValueError if they are of another shape."""
        dim, width = self.settings["dim"], self.settings.get("width")
        if "architecture" in self.settings:
            network = resnet18(self.settings["architecture"])
        elif "networks" in self.settings:
            parts = self.settings["networks"]
            network = SideBySide(SmallConvNet(1, dim // parts, width) for _ in range(parts))
        else:
            network = SmallConvNet(self.in_channels, dim, width)
        try:
            network.load_state_dict(self.state)
        except RuntimeError as error:
            raise ValueError(f"the weights do not fit the settings: {error}") from None
        return network


def checkpoint_of(name, network, settings, seed, losses) -> Checkpoint:
    """The trained network as a checkpoint, its tensors contiguous copies on the CPU."""
    state = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
    channels = next(network.parameters()).shape[1]
    return Checkpoint(name, asdict(settings), seed, channels, state, losses)


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write a checkpoint whole or not at all; the same checkpoint gives the same bytes."""
    with atomic_write(path) as file:  # given a path, torch.save would write its name into the file
        torch.save(vars(checkpoint), file)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint without running any code in it. Raises ValueError if it is not one."""
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError) as error:
        raise ValueError(f"{path} is not a checkpoint of this project: {error}") from None

"""Frozen encoders by name: from a PIL image to a row of a representation space.

`load_encoder` is the one entrance; a new encoder is one builder in `BUILDERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hume_turtle.letters import ink_tensor
from hume_turtle.pretrain import image_tensor, load_checkpoint


@dataclass(frozen=True)
class Encoder:
    """A frozen network and the preprocessing its images need.

    Attributes:
        name: of the representation space it makes.
        dim: columns of the space; None where it follows from the image's size (`pixels`).
        settings: what made the encoder, as JSON can write it.
        preprocess: PIL image → tensor, the same shape for all images of a dataset.
        network: batch of such tensors → (B, dim).
    """

    name: str
    dim: int | None
    settings: dict[str, Any]
    preprocess: Callable[[Any], Tensor]
    network: nn.Module

    def to(self, device: str | torch.device) -> Encoder:
        """Move the network to a device, in place."""
        self.network.to(device)
        return self

    @torch.inference_mode()
    def encode(self, batch: Tensor) -> Tensor:
        """Preprocessed images (B, ...) on the network's device → (B, dim) float32."""
        return self.network(batch).float()


def load_encoder(name: str, *, checkpoint: str | Path | None = None) -> Encoder:
    """The encoder of that name: `pixels`, or `moco` and `letters` from a checkpoint file.

    Raises ValueError for an unknown name, a checkpoint missing or where none is taken, and for
    one that holds another encoder; FileNotFoundError where the file is not there.
    """
    if name not in BUILDERS:
        raise ValueError(f"unknown encoder {name!r}; there are {', '.join(BUILDERS)}")
    return BUILDERS[name](name, checkpoint)


def build_pixels(name: str, checkpoint: str | Path | None) -> Encoder:
    """The image itself, flattened: pixels from 0 to 1, every channel."""
    if checkpoint is not None:
        raise ValueError(f"encoder {name!r} takes no checkpoint, got {checkpoint}")
    return Encoder(name, None, {}, image_tensor, nn.Flatten())


def build_pretrained(name: str, checkpoint: str | Path | None) -> Encoder:
    """One of the networks of pretrain.py and letters.py, in evaluation mode."""
    if checkpoint is None:
        raise ValueError(f"encoder {name!r} needs the checkpoint file that pretraining made")
    loaded = load_checkpoint(checkpoint)
    if loaded.name != name:
        raise ValueError(f"{checkpoint} holds encoder {loaded.name!r}, not {name!r}")
    settings = {**loaded.settings, "seed": loaded.seed}
    network = loaded.network().eval().requires_grad_(False)
    return Encoder(name, loaded.settings["dim"], settings, PREPROCESS[name], network)


PREPROCESS: dict[str, Callable[[Any], Tensor]] = {"moco": image_tensor, "letters": ink_tensor}

BUILDERS: dict[str, Callable[[str, str | Path | None], Encoder]] = {
    "pixels": build_pixels,
    "moco": build_pretrained,
    "letters": build_pretrained,
}

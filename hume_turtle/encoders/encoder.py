"""What an encoder is: a frozen network, the preprocessing of its images, and what made both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Encoder:
    """A frozen network and the preprocessing its images need.

    Attributes:
        name: of the representation space it makes; can be one part of a path.
        dim: columns of the space; None where it follows from the image's size (`pixels`).
        settings: what made the encoder, as JSON can write it.
        preprocess: PIL image → tensor, the same shape for all images of a dataset; it can be
            pickled, so that DataLoader workers can use it.
        network: batch of such tensors → (B, dim).
        encode_text: list of n texts → (n, dim) float32, not normalised, in the space of the
            images; texts longer than the model reads lose their end. None without a text tower.
    """

    name: str
    dim: int | None
    settings: dict[str, Any]
    preprocess: Callable[[Any], Tensor]
    network: nn.Module
    encode_text: Callable[[list[str]], Tensor] | None = None

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Encoder:
        """Move the network to a device, in place, and to a precision if one is given.

        dtype: one of `DTYPES`; all of them work on a CPU too, where the short ones are slow unless
        it has instructions for them. The returned encoder's settings say which. All weights are
        rounded, but for OpenAI's CLIP (clip.py); `pixels` has no network and stays fp32. Raises
        ValueError for another dtype.
        """
        names = {known: name for name, known in DTYPES.items()}
        if dtype is not None and dtype not in names:
            raise ValueError(f"unknown dtype {dtype!r}; choose from {', '.join(map(str, names))}")
        self.network.to(device, dtype)
        if dtype is None or next(self.network.parameters(), None) is None:
            return self
        return replace(self, settings={**self.settings, "dtype": names[dtype]})

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in: the shortest precision of its weights."""
        dtypes = (part.dtype for part in self.network.parameters())
        return min(dtypes, key=lambda dtype: dtype.itemsize, default=torch.float32)

    @torch.inference_mode()
    def encode(self, batch: Tensor) -> Tensor:
        """Preprocessed images (B, ...) on the network's device → (B, dim) float32.

        On a CPU images (B, C, H, W) lie in memory pixel by pixel, channels last, and so does all
        that convolutions make of them: a quarter faster for depthwise ones (EfficientNet), a few
        percent for ResNets, and the same bits as before for vision transformers and ConvNeXt.
        """
        layout = torch.preserve_format
        if batch.ndim == 4 and batch.device.type == "cpu":
            layout = torch.channels_last
        return self.network(batch.to(self.dtype, memory_format=layout)).float()


def unknown(name: str, names: Iterable[str], choices: str = "") -> ValueError:
    """The error for a name that is none of `names`, with those that look like it.

    choices: the list to show, where `names` is too long for one.
    """
    names = list(names)
    close = get_close_matches(name, names, n=3)
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    return ValueError(f"unknown encoder {name!r}; {guess}choose from {choices or ', '.join(names)}")

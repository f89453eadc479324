"""What an encoder costs, without its weights: parameters, operations per image, its download.

The network is made on PyTorch's "meta" device: shapes alone, in a second even for a giant one.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hume_turtle.encoders import clip, timm_models
from hume_turtle.encoders.registry import BUILDERS, library_of

BYTES = 4  # of a parameter in the files that timm and open_clip fetch: float32


class Footprint(NamedTuple):
    """Attributes:
    parameters: of the file of weights: a text tower and a classifier included.
    flops: floating-point operations of one image, a product and a sum being two.
    dim: columns of the space.
    library: that fetches the weights.
    """

    parameters: int
    flops: int
    dim: int
    library: str

    @property
    def gb(self) -> float:
        """Of the weights, in 10⁹ bytes."""
        return BYTES * self.parameters / 1e9


@lru_cache
def footprint(name: str) -> Footprint:
    """Of an encoder of open_clip or timm. Raises ValueError for an unknown name."""
    library = library_of(name)
    with torch.device("meta"):  # open_clip moves its models to the device that it is told
        own = {"device": "meta"} if library is clip else {}
        encoder = library.build(name, None, "random", **own)
    classifier = getattr(encoder.network, "pretrained_cfg", {}).get("num_classes") or 0
    return Footprint(
        sum(part.numel() for part in encoder.network.parameters()) + classifier * encoder.dim,
        count_flops(encoder.network, encoder.settings["image_size"]),
        encoder.dim,
        encoder.settings["library"],
    )


def count_flops(network: nn.Module, size: int) -> int:
    """Operations of one square RGB image in a network on the meta device."""
    image = torch.empty(1, 3, size, size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(image)
    return counter.get_total_flops()


def is_trained_here(name: str) -> bool:
    """Whether the encoder is a network that pretraining makes: it has no published weights."""
    return name in BUILDERS and name != "pixels"


def cached_weights(name: str) -> Path | None:
    """The file of published weights where its library looks before it fetches one, or None."""
    from huggingface_hub import try_to_load_from_cache

    stated = clip_address(name) if library_of(name) is clip else timm_address(name)
    repository, files, url = stated
    if not repository:
        path = Path("~/.cache/clip", url.rpartition("/")[2]).expanduser()  # open_clip's own
        return path if url and path.is_file() else None
    found = (try_to_load_from_cache(repository, file) for file in files)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def clip_address(name: str) -> tuple[str, list[str], str]:
    """open_clip's repository on Hugging Face, possible files in it, and address without one."""
    import open_clip

    stated = open_clip.get_pretrained_cfg(*clip.resolve(name))
    repository, _, file = stated.get("hf_hub", "").rpartition("/")
    default = ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    return repository, [file] if file else default, stated.get("url", "")


def timm_address(name: str) -> tuple[str, list[str], str]:
    """The same of timm's, which keeps nothing where open_clip does."""
    from timm.models import get_pretrained_cfg

    stated = get_pretrained_cfg(timm_models.resolve(name))
    repository = (stated.hf_hub_id or "").partition("@")[0]
    return repository, ["model.safetensors", "pytorch_model.bin"], ""

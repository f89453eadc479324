"""What determines the rows of an embedding, and what is only recorded beside them.

Rows of another identity are never taken for the wanted ones. The precision is part of it twice: by
name, and as the weights were rounded, so that CLIP's fp16 rows made when its normalisation layers
were rounded too are not those of today. The device and the versions of the
libraries that the encoder uses change the last bits at most: they are recorded in the sidecar,
and a difference is reported, not acted on.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from hume_turtle.datasets.images import ImageDataset
from hume_turtle.encoders.encoder import Encoder

LIBRARIES = ("pillow", "torch")  # that every encoder uses
OPTIONAL_LIBRARIES = {"open_clip": "open_clip_torch", "timm": "timm", "torchvision": "torchvision"}


def identity(dataset: ImageDataset, encoder: Encoder, precision: str) -> dict[str, Any]:
    """What determines the rows, as JSON gives it back (tuples are lists)."""
    content = {
        "dataset": dataset.name,
        "split": dataset.split,
        "encoder": encoder.name,
        "precision": precision,
        "dtype": "float32" if precision == "fp32" else "float16",
        "settings": encoder.settings,
        "preprocess": re.sub(r" at 0x[0-9a-f]+", "", repr(encoder.preprocess)),
        "weights_sha256": weights_sha256(encoder.network),
        "images": len(dataset),
        "images_sha256": images_sha256(dataset),
    }
    return json.loads(json.dumps(content))


def weights_sha256(network: torch.nn.Module) -> str:
    """SHA-256 of all weights and buffers with names and shapes: seconds for a billion of them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(content.numpy())
    return digest.hexdigest()


def images_sha256(dataset: ImageDataset) -> str:
    """SHA-256 of the images' names, and of the pixels of a few spread over the dataset.

    Names count without the folder that they have in common, so a dataset can be moved. No label
    enters.
    """

    def names():  # anew each time: a list of a million would be large
        return (dataset.source(row) for row in range(len(dataset)))

    # By characters: unlike os.path.commonpath, it raises no error for mixed paths.
    cut = len(os.path.commonprefix([min(names()), max(names())]))  # noqa: RUF071
    digest = hashlib.sha256()
    for name in names():
        digest.update(name[cut:].encode(errors="surrogateescape") + b"\0")
    for row in np.unique(np.linspace(0, len(dataset) - 1, 16).astype(int)):
        try:
            digest.update(np.asarray(dataset[int(row)]).tobytes())
        except Exception:  # unreadable: reported when its batch is loaded
            digest.update(b"unreadable")
    return digest.hexdigest()


def circumstances(encoder: Encoder, device: torch.device) -> dict[str, Any]:
    """What is recorded beside the identity: the device, and versions of what the encoder uses."""
    parts = [*encoder.network.modules(), encoder.preprocess]
    roots = {type(each).__module__.partition(".")[0] for each in parts}
    used = [name for root, name in OPTIONAL_LIBRARIES.items() if root in roots]
    versions = {name: version(name) for name in sorted([*LIBRARIES, *used])}
    return {"device": device.type, "versions": versions}


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """In words, what is not as wanted; empty where everything is."""
    keys = [key for key in wanted if found.get(key) != wanted[key]]
    return "; ".join(
        f"{key} {short(found.get(key))} instead of {short(wanted[key])}" for key in keys
    )


def short(value: Any) -> str:
    """As Python writes it; of a SHA-256 eight digits."""
    return repr(value[:8] if isinstance(value, str) and len(value) == 64 else value)

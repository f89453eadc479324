"""Frozen encoders by name: from a PIL image to a row of a representation space.

`load_encoder` is the one entrance. The encoders that are made here are one builder each in
`BUILDERS`; those of open_clip and timm are one line each in the `MODELS` of their own files, the
only ones that import these libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from torch import nn

from hume_turtle.checks import check_choice
from hume_turtle.encoders import clip, timm_models
from hume_turtle.encoders.encoder import Encoder, unknown
from hume_turtle.encoders.weights import check_file
from hume_turtle.pretraining.augmentations import image_tensor, preprocess
from hume_turtle.pretraining.checkpoints import load_checkpoint
from hume_turtle.pretraining.letters import ink_tensor


def load_encoder(
    name: str, *, checkpoint: str | Path | None = None, weights: str = "pretrained"
) -> Encoder:
    """The encoder of that name, a slug of the papers' name for it, or a library's own name.

    - `pixels`; `moco` and `letters` from the checkpoint file that their pretraining made;
    - `clip-rn50`, `clip-rn101`, `clip-rn50x4`, `clip-rn50x16`, `clip-rn50x64`, `clip-vit-b-32`,
      `clip-vit-b-16`, `clip-vit-l-14`: OpenAI's; `open_clip:<name>:<tag>`: any other of open_clip;
    - `dinov2-vit-{s,b,l,g}-14`, `dino-vit-{s,b}-16`, `bit`; `timm:<name>`: any other of timm.

    Args:
        checkpoint: a file of weights to use instead of fetching the published ones. No code of an
            untrusted file is run; weights.py says which files are accepted.
        weights: "pretrained", or "random" for the architecture with seeded random weights, to try
            things where no weights can be had.

    Raises what `check_encoder` does; ValueError for a checkpoint that holds another encoder;
    FileNotFoundError where the weights cannot be fetched.
    """
    check_encoder(name, checkpoint=checkpoint, weights=weights)
    if name in BUILDERS:
        return BUILDERS[name](name, checkpoint)
    return library_of(name).build(name, checkpoint, weights)


def check_encoder(
    name: str, *, checkpoint: str | Path | None = None, weights: str = "pretrained"
) -> None:
    """Whether `load_encoder` can be called with that, told without making a network.

    Raises ValueError for an unknown name, a checkpoint missing or where none is taken, and random
    weights where there are none; FileNotFoundError where the file is not there.
    """
    check_choice("weights", weights, ("pretrained", "random"))
    if weights == "random" and checkpoint is not None:
        raise ValueError(f"weights are random or from {checkpoint}, not both")
    if weights == "random" and name in BUILDERS:
        raise ValueError(f"encoder {name!r} has no random weights")
    if name == "pixels" and checkpoint is not None:
        raise ValueError(f"encoder {name!r} takes no checkpoint, got {checkpoint}")
    if name in BUILDERS and name != "pixels" and checkpoint is None:
        raise ValueError(f"encoder {name!r} needs the checkpoint file that pretraining made")
    if name not in BUILDERS:
        library_of(name).resolve(name)
    if checkpoint is not None:
        check_file(checkpoint)


def library_of(name: str) -> ModuleType:
    """The one of `LIBRARIES` that has a model of this name, or of this form of name."""
    for library in LIBRARIES:
        if name in library.MODELS or name.startswith(library.PREFIX):
            return library
    raise unknown(name, encoder_names())


def encoder_names() -> list[str]:
    """Every name of an encoder, and the two forms of name that open a library's whole list."""
    models = [name for library in LIBRARIES for name in library.MODELS]
    return [*BUILDERS, *models, "open_clip:<name>:<tag>", "timm:<name>"]


def build_pixels(name: str, checkpoint: str | Path | None) -> Encoder:
    """The image itself, flattened: pixels from 0 to 1, every channel."""
    return Encoder(name, None, {}, image_tensor, nn.Flatten())


def build_pretrained(name: str, checkpoint: str | Path) -> Encoder:
    """One of the networks of moco.py and letters.py, in evaluation mode."""
    loaded = load_checkpoint(checkpoint)
    if loaded.name != name:
        raise ValueError(f"{checkpoint} holds encoder {loaded.name!r}, not {name!r}")
    settings = {**loaded.settings, "seed": loaded.seed}
    network = loaded.network().eval().requires_grad_(False)
    transform = ink_tensor if name == "letters" else preprocess(loaded.settings)
    return Encoder(name, loaded.settings["dim"], settings, transform, network)


BUILDERS: dict[str, Callable[[str, str | Path | None], Encoder]] = {
    "pixels": build_pixels,
    "moco": build_pretrained,
    "letters": build_pretrained,
}

LIBRARIES = (clip, timm_models)

"""DINOv2, DINO, BiT and any other vision model through timm: pooled features, no classifier.

DINOv2 and DINO see images as TURTLE's program shows them to DINOv2: the shorter side to 256
(bicubic), centre crop 224, RGB, ImageNet's mean and std. That is how DINO's own evaluation
prepares them too; timm states other sizes for both. Every other model is prepared as timm states
for its weights, after conversion to RGB. BiT is one of these (256 bilinear, crop 224, scaled to
-1..1): HUME's program starts from finished features and does not say how they were made.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hume_turtle.encoders.encoder import Encoder, unknown
from hume_turtle.encoders.weights import State, make_network, origin, read_weights

PREFIX = "timm:"

MODELS = {
    "dinov2-vit-s-14": "timm:vit_small_patch14_dinov2.lvd142m",
    "dinov2-vit-b-14": "timm:vit_base_patch14_dinov2.lvd142m",
    "dinov2-vit-l-14": "timm:vit_large_patch14_dinov2.lvd142m",
    "dinov2-vit-g-14": "timm:vit_giant_patch14_dinov2.lvd142m",
    "dino-vit-s-16": "timm:vit_small_patch16_224.dino",
    "dino-vit-b-16": "timm:vit_base_patch16_224.dino",
    "bit": "timm:resnetv2_50x1_bit.goog_in21k",
}
DINO_IMAGES = {  # of DINOv2 and DINO; both have ImageNet's mean and std in timm as well
    "input_size": (3, 224, 224),
    "crop_pct": 224 / 256,
    "crop_mode": "center",
    "interpolation": "bicubic",
}


def build(name: str, checkpoint: str | Path | None, weights: str, **config: Any) -> Encoder:
    """The encoder of a name in `MODELS` or of the form `timm:<name>`.

    config: parts of timm's model configuration to replace, for shallow models in tests.
    """
    import timm

    architecture = resolve(name)
    model = make_network(
        name,
        checkpoint,
        weights,
        create=lambda known: timm.create_model(
            architecture, pretrained=known, num_classes=0, **config
        ),
        read=lambda network: converted(read_weights(checkpoint), network, checkpoint),
    )
    if name.startswith("dinov2-"):
        resize_positions(model, DINO_IMAGES["input_size"][-1])
    preprocess, shown = preprocessing(name, model)
    settings = {
        "library": "timm",
        "architecture": model.pretrained_cfg["architecture"],
        "tag": model.pretrained_cfg.get("tag"),
        **origin(checkpoint, weights),
        **shown,
        "dtype": "fp32",
    }
    dim = getattr(model, "head_hidden_size", model.num_features)
    return Encoder(name, dim, settings, preprocess, model.eval().requires_grad_(False))


def resolve(name: str) -> str:
    """timm's name of a model. Raises ValueError where timm has no such model or tag."""
    import timm

    full = MODELS.get(name, name).removeprefix(PREFIX)
    architecture, _, tag = full.partition(".")
    pretrained = timm.list_pretrained()
    if not timm.is_model(architecture) or (tag and full not in pretrained):
        names = [PREFIX + known for known in pretrained]
        raise unknown(name, names, "timm:<name> for timm.list_pretrained()")
    return full


def resize_positions(model: nn.Module, size: int) -> None:
    """Bring a DINOv2 model from its native images (518) to `size` pixels, in place.

    The original model keeps the native positions and interpolates them at every forward pass;
    timm interpolates by another rule. Done here by the original's rule, features are the same.
    """
    native = model.pos_embed.detach()
    model.set_input_size(img_size=size)
    grid = model.patch_embed.grid_size[0]
    model.pos_embed = nn.Parameter(interpolate_positions(native, grid), requires_grad=False)


def interpolate_positions(positions: Tensor, grid: int) -> Tensor:
    """Position embeddings (1, 1 + side², D) of DINOv2 for another grid: (1, 1 + grid², D).

    The rule of the original hub model: bicubic, no antialiasing, by the scale (grid + 0.1) / side,
    where the tenth guards against rounding to a smaller grid and moves every sample a little.
    """
    of_class, of_patches = positions[:, :1], positions[:, 1:]
    side = math.isqrt(of_patches.shape[1])
    scale = (grid + 0.1) / side
    image = of_patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)  # (1, D, side, side)
    image = F.interpolate(image, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    return torch.cat([of_class, image.flatten(2).transpose(1, 2)], 1)


def converted(state: State, model: nn.Module, path: str | Path) -> State:
    """Weights as timm names them, from its own files or the authors', without the classifier.

    Raises ValueError for position embeddings of another number of patches, which timm would
    interpolate without saying so.
    """
    positions = getattr(model, "pos_embed", None)
    if positions is not None and "pos_embed" in state:
        given, wanted = tuple(state["pos_embed"].shape), tuple(positions.shape)
        if given != wanted:
            raise ValueError(f"{path} has position embeddings {given}, this model {wanted}")
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    state = convert(state, model) if convert else state
    heads = model.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else heads
    prefixes = tuple(f"{head}." for head in heads)
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


def to_rgb(image: Any) -> Any:
    """A PIL image in RGB."""
    return image.convert("RGB")


def preprocessing(name: str, model: nn.Module) -> tuple[Callable[[Any], Tensor], dict[str, Any]]:
    """The preprocessing of an encoder's images and its settings."""
    from timm.data import create_transform, resolve_model_data_config

    dino = name.startswith(("dino-", "dinov2-"))
    stated = resolve_model_data_config(model) | (DINO_IMAGES if dino else {})
    transform = create_transform(**stated, is_training=False)
    transform.transforms.insert(2 if dino else 0, to_rgb)  # after resizing and cropping, or first
    shown = {
        "image_size": stated["input_size"][-1],
        "crop_fraction": stated["crop_pct"],
        "crop_mode": stated["crop_mode"],
        "interpolation": stated["interpolation"],
    }
    return transform, shown

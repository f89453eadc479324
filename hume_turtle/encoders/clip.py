"""CLIP models through open_clip: features of images, and of texts in the same space.

Both are un-normalised, as TURTLE uses them. Preprocessing is CLIP's own: the shorter side to the
model's size (bicubic), centre crop, and only then RGB, so that a palette image is resized in its
palette; then scaling to 0..1 and CLIP's mean and std.

In fp16 OpenAI's models are as their own loader makes them: convolutions, linear layers, attention
and projections are rounded, in both towers; normalisation layers stay float32. That is how TURTLE's
program has images and texts on a GPU.
"""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hume_turtle.encoders.encoder import Encoder, unknown
from hume_turtle.encoders.weights import State, make_network, origin, read_weights

PREFIX = "open_clip:"

# The plain names of open_clip, without -quickgelu, build another activation than OpenAI's.
MODELS = {
    "clip-rn50": "open_clip:RN50-quickgelu:openai",
    "clip-rn101": "open_clip:RN101-quickgelu:openai",
    "clip-rn50x4": "open_clip:RN50x4-quickgelu:openai",
    "clip-rn50x16": "open_clip:RN50x16-quickgelu:openai",
    "clip-rn50x64": "open_clip:RN50x64-quickgelu:openai",
    "clip-vit-b-32": "open_clip:ViT-B-32-quickgelu:openai",
    "clip-vit-b-16": "open_clip:ViT-B-16-quickgelu:openai",
    "clip-vit-l-14": "open_clip:ViT-L-14-quickgelu:openai",
}


class ClipNetwork(nn.Module):
    """Both towers of a CLIP model."""

    def __init__(self, model: nn.Module, architecture: str, tag: str) -> None:
        super().__init__()
        self.model = model
        self.architecture = architecture
        self.tag = tag

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> ClipNetwork:
        """As every module's, but fp16 and bf16 leave normalisation layers of OpenAI's float32.

        Other models of open_clip are rounded whole: some have layers of timm or Hugging Face,
        which cannot mix precisions.
        """
        from open_clip import convert_weights_to_lp
        from open_clip.transformer import LayerNorm, LayerNormFp32

        if dtype in (None, torch.float32) or self.tag != "openai":
            return super().to(device, dtype)
        super().to(device)
        convert_weights_to_lp(self.model, dtype)
        for part in self.model.modules():
            if type(part) is LayerNorm:  # OpenAI's casts to float32 and back
                part.__class__ = LayerNormFp32
        return self

    def forward(self, images: Tensor) -> Tensor:
        return self.model.encode_image(images, normalize=False)  # (B, 3, H, W) -> (B, dim)

    @cached_property
    def tokenizer(self):
        """Made when first used: some models' tokenizers are fetched."""
        from open_clip import get_tokenizer

        return get_tokenizer(self.architecture)

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(texts).to(self.model.logit_scale.device)  # (n, context length)
        return self.model.encode_text(tokens, normalize=False).float()  # (n, dim)


def build(name: str, checkpoint: str | Path | None, weights: str, **config: Any) -> Encoder:
    """The encoder of a name in `MODELS` or of the form `open_clip:<name>:<tag>`.

    config: parts of open_clip's model configuration to replace, for shallow models in tests.
    """
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    architecture, tag = resolve(name)
    model = make_network(
        name,
        checkpoint,
        weights,
        create=lambda pretrained: create(architecture, tag, pretrained, config),
        read=lambda _: read_clip_weights(checkpoint, architecture, tag),
    )
    preprocessing = PreprocessCfg(**model.visual.preprocess_cfg)
    settings = {
        "library": "open_clip_torch",
        "architecture": architecture,
        "tag": tag,
        **origin(checkpoint, weights),
        "image_size": preprocessing.input_size[-1],
        "resize": preprocessing.resize_mode,
        "interpolation": preprocessing.interpolation,
        "dtype": "fp32",
    }
    network = ClipNetwork(model, architecture, tag).eval().requires_grad_(False)
    dim = open_clip.get_model_config(architecture)["embed_dim"]
    transform = image_transform_v2(preprocessing, is_train=False)
    return Encoder(name, dim, settings, transform, network, network.encode_text)


def resolve(name: str) -> tuple[str, str]:
    """open_clip's architecture and tag of a name. Raises ValueError where there is no such pair."""
    import open_clip

    architecture, _, tag = MODELS.get(name, name).removeprefix(PREFIX).partition(":")
    if architecture not in open_clip.list_models():
        names = [PREFIX + known for known in open_clip.list_models()]
        raise unknown(name, names, "open_clip:<name>:<tag> for open_clip.list_pretrained()")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in tags:
        raise unknown(name, [f"{PREFIX}{architecture}:{known}" for known in tags])
    return architecture, tag


def create(architecture: str, tag: str, pretrained: bool, config: dict[str, Any]) -> nn.Module:
    """open_clip's model with the preprocessing of the tag, with its weights or without."""
    import open_clip

    before = logging.root.manager.disable  # open_clip warns where no weights are wanted
    logging.disable(before if pretrained else logging.WARNING)
    try:
        return open_clip.create_model(
            architecture,
            tag if pretrained else None,
            pretrained_hf=False,  # no weights of a text tower's language model beforehand
            force_preprocess_cfg=open_clip.get_pretrained_cfg(architecture, tag),
            **config,
        )
    finally:
        logging.disable(before)


def read_clip_weights(checkpoint: str | Path, architecture: str, tag: str) -> State:
    """A weight file's tensors, OpenAI's TorchScript archive of this model included."""
    from open_clip import get_pretrained_url

    # OpenAI's addresses have the checksum as a folder: .../<sha256>/ViT-L-14.pt
    address = get_pretrained_url(architecture, tag) if tag == "openai" else ""
    state = read_weights(checkpoint, address.split("/")[-2] if address else None)
    for size in ("input_resolution", "context_length", "vocab_size"):  # numbers among the tensors
        state.pop(size, None)
    return state

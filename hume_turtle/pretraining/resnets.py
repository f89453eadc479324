"""ResNet-18 for small images, in the forms that self-supervised training on them uses."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn
from torchvision.models.resnet import BasicBlock

# What stands before the first residual block, after a 3×3 convolution of stride 1.
# CIFAR (32×32): nothing (SimCLR, App. B.9; solo-learn, lightly). STL-10 (96×96): the pooling of
# SCAN and SPICE (models/resnet_stl.py there), which leaves 49×49.
STEMS = {"resnet18-cifar": None, "resnet18-stl": {"kernel_size": 2, "stride": 2, "padding": 1}}


def resnet18(architecture: str, dim: int = 512) -> nn.Sequential:
    """ResNet-18 (He et al., 2016) from images (B, 3, H, W) to pooled features (B, dim).

    Layers are named as torchvision's, so that weights can be exchanged, the first layer's aside.

    architecture: one of `STEMS`.
    dim: 512 as published; a smaller multiple of 8 makes every layer narrower in proportion.
    Raises ValueError for another name or dimension.
    """
    check_form(architecture, dim)
    width, pool = dim // 8, STEMS[architecture]
    network = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, width, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(width),
            relu=nn.ReLU(inplace=True),
            maxpool=nn.MaxPool2d(**pool) if pool else nn.Identity(),
            layer1=stage(width, width, 1),
            layer2=stage(width, 2 * width, 2),
            layer3=stage(2 * width, 4 * width, 2),
            layer4=stage(4 * width, 8 * width, 2),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
        )
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def check_form(architecture: str, dim: int) -> None:
    """Raise ValueError unless `resnet18` can build it."""
    if architecture not in STEMS:
        raise ValueError(f"unknown architecture {architecture!r}; there are {', '.join(STEMS)}")
    if dim < 8 or dim % 8:
        raise ValueError(f"dim must be a positive multiple of 8, got {dim}")


def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Two residual blocks; where the shape changes, a 1×1 convolution on the shortcut."""
    shortcut = None
    if stride != 1:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )
    return nn.Sequential(
        BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs)
    )

"""The networks that are trained here: a small one for 8×8 images, and ResNet-18."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIZE = 8  # pixels a side, of the images that the small networks see

# What follows ResNet-18's first layer, which is a 3×3 convolution of stride 1 here.
# CIFAR (32×32): nothing (SimCLR, App. B.9; solo-learn, lightly). STL-10 (96×96): the pooling of
# SCAN and SPICE (models/resnet_stl.py there), which leaves 49×49.
STEMS = {"resnet18-cifar": None, "resnet18-stl": {"kernel_size": 2, "stride": 2, "padding": 1}}


def resnet18(architecture: str) -> nn.Module:
    """torchvision's ResNet-18 (He et al., 2016) with a stem for small images.

    From images (B, 3, H, W) to pooled features (B, 512).
    """
    from torchvision import models

    pool, network = STEMS[architecture], models.resnet18()
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.MaxPool2d(**pool) if pool else nn.Identity()
    network.fc = nn.Identity()
    return network


class SmallConvNet(nn.Module):
    """Four 3×3 convolutions and a linear layer: (B, in_channels, 8, 8) to (B, dim)."""

    def __init__(self, in_channels: int, dim: int, width: int = 16) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> list[nn.Module]:
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

        self.body = nn.Sequential(
            *block(in_channels, width),
            *block(width, 2 * width),
            nn.MaxPool2d(2),
            *block(2 * width, 4 * width),
            *block(4 * width, 4 * width),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * width * (SIZE // 4) ** 2, dim)
        self.to(memory_format=torch.channels_last)  # a third faster on a CPU

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class SideBySide(nn.ModuleList):
    """Networks that see the same images, their outputs joined: (B, ...) to (B, sum of dims)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self], 1)

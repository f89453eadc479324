"""ResNet-18 with its stems."""

from __future__ import annotations

import torch
from torchvision.models import resnet18 as published

from hume_turtle.pretraining.networks import STEMS, resnet18


def test_it_is_torchvisions_resnet18_with_another_stem():
    weights = {name: value for name, value in published().state_dict().items() if "fc" not in name}
    weights["conv1.weight"] = weights["conv1.weight"][:, :, :3, :3]
    for architecture in STEMS:
        resnet18(architecture).load_state_dict(weights)  # the same names and shapes


def test_stems():
    seen = []
    for architecture, size in (("resnet18-cifar", 32), ("resnet18-stl", 96)):
        network = resnet18(architecture).eval()
        network.layer1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
        network.layer4.register_forward_hook(lambda *parts: seen.append(parts[-1].shape))
        with torch.no_grad():
            assert network(torch.rand(1, 3, size, size)).shape == (1, 512)
    assert seen == [(1, 64, 32, 32), (1, 512, 4, 4), (1, 64, 49, 49), (1, 512, 7, 7)]

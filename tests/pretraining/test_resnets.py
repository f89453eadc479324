"""The ResNet-18s against torchvision's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import resnet18 as published

from hume_turtle.pretraining.resnets import resnet18


@pytest.fixture(scope="module")
def cifar():
    torch.manual_seed(0)
    return resnet18("resnet18-cifar").eval()


def test_cifar_form_is_torchvisions_resnet18_with_another_stem(cifar):
    reference = published()
    reference.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    reference.maxpool, reference.fc = nn.Identity(), nn.Identity()
    reference.load_state_dict(cifar.state_dict())  # the same names and shapes
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        features = cifar(images)
        torch.testing.assert_close(features, reference.eval()(images))
    assert features.shape == (2, 512)


def test_stems(cifar):
    stl = resnet18("resnet18-stl")
    with torch.no_grad():
        assert cifar[:4](torch.rand(1, 3, 32, 32)).shape == (1, 64, 32, 32)
        assert stl[:4](torch.rand(1, 3, 96, 96)).shape == (1, 64, 49, 49)
        assert stl[:-2](torch.rand(1, 3, 96, 96)).shape == (1, 512, 7, 7)


def test_a_smaller_dim_is_a_narrower_network():
    network = resnet18("resnet18-cifar", 64)
    assert network.conv1.out_channels == 8
    assert network(torch.rand(2, 3, 16, 16)).shape == (2, 64)


def test_unknown_forms_are_refused():
    with pytest.raises(ValueError, match=r"unknown architecture 'resnet50'.*resnet18-cifar"):
        resnet18("resnet50")
    for dim in (0, 100):
        with pytest.raises(ValueError, match=r"multiple of 8"):
            resnet18("resnet18-cifar", dim)

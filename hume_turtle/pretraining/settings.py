"""MoCo's two settings, a small one for 8×8 images and a real one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hume_turtle.checks import check_choice, check_number
from hume_turtle.pretraining.networks import STEMS


@dataclass(frozen=True)
class MocoSettings:
    """The small MoCo (He et al., 2020; the head of MoCo v2), for the default suite's 8×8 images.

    The memory bank is smaller than the dataset: were it not, it would hold an earlier view of
    every image in the batch, and push the image away from itself.
    """

    dim: int = 64
    width: int = 16
    steps: int = 400
    batch_size: int = 128
    lr: float = 3e-3
    weight_decay: float = 1e-3
    momentum: float = 0.99  # of the key network
    temperature: float = 0.2
    memory: int = 512  # keys in the bank, at most half the dataset's images
    projection: int = 64  # dimensions in which views are compared
    rotation: float = 0.15  # std in radians
    shear: float = 0.15  # std of the slant
    zoom: float = 0.1  # std of the log size, each axis on its own
    shift: float = 0.1  # std of the translation, in half images
    elastic: float = 0.06  # std of the displacement, in half images
    gain: float = 0.2  # std of the log brightness
    hue: float = 0.1  # std of the log gain of each colour channel
    noise: float = 0.03  # std of each pixel

    hidden = property(lambda self: 2 * self.dim)  # of the projection head
    final_momentum = property(lambda self: self.momentum)
    symmetric = False

    def fitted(self, n: int) -> MocoSettings:
        """With memory and batches as small as n images need."""
        memory = min(self.memory, n // 2)
        return replace(self, memory=memory, batch_size=min(self.batch_size, memory))


@dataclass(frozen=True)
class MocoRecipe:
    """MoCo v2+ with ResNet-18. Naming an `architecture` chooses this over the small MoCo.

    Defaults: solo-learn, scripts/pretrain/cifar/mocov2plus.sh (and .yaml), for CIFAR-10 and
    CIFAR-100, on one GPU; what they leave open is from solo/methods/base.py. MoCo v2+ is MoCo v2
    (Chen et al., 2020) with each view as the query once (Chen & He, 2021), here with a momentum
    that grows as BYOL's does. Probabilities are per image.
    """

    size: int = 32  # pixels a side of what the network sees; STL-10: 96
    crop: float = 0.08  # smallest share of the image's area; SCAN, SPICE: 0.2
    flip: float = 0.5  # probability of mirroring
    jitter: float = 0.8  # probability of changing the colours
    brightness: float = 0.4  # factors of 1 ± this
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1  # ± this part of the colour circle
    grey: float = 0.2  # probability of losing the colours
    blur: float = 0.0  # probability; 0.5 for larger images (MoCo v2; SPICE on STL-10)
    architecture: str = "resnet18-cifar"
    dim: int = 512  # features after pooling, which the architecture fixes
    hidden: int = 2048  # of the projection head; --proj_hidden_dim
    projection: int = 256  # in which views are compared; proj_output_dim
    epochs: int = 1000  # --max_epochs
    warmup_epochs: int = 10  # of the warmup_cosine scheduler
    batch_size: int = 256  # --batch_size
    lr: float = 0.3  # --lr
    warmup_lr: float = 3e-5  # where the warm-up begins
    sgd_momentum: float = 0.9
    weight_decay: float = 1e-4  # --weight_decay
    temperature: float = 0.2  # --temperature
    memory: int = 32768  # keys in a memory bank; --queue_size
    momentum: float = 0.99  # of the key network at first; --base_tau_momentum
    final_momentum: float = 0.999  # and in the end, by a cosine; --final_tau_momentum
    symmetric: bool = True  # whether each view is the query once, with a bank for each role
    mean: tuple[float, ...] | None = None  # of each channel; None: of the images themselves,
    std: tuple[float, ...] | None = None  # which is where CIFAR's published figures are from

    def fitted(self, n: int) -> MocoRecipe:
        """The same settings. Raises ValueError if they cannot work with n images."""
        check_choice("architecture", self.architecture, tuple(STEMS))
        if self.dim != 512:
            raise ValueError(f"dim must be 512 for {self.architecture}, got {self.dim}")
        for name in ("size", "epochs", "hidden", "projection", "memory"):
            check_number(name, getattr(self, name), 1, integer=True)
        check_number("lr", self.lr, 0, exclusive=True)
        for name in ("flip", "jitter", "grey", "blur", "momentum", "final_momentum", "crop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ValueError(f"warmup_epochs must be from 0 to epochs, got {self.warmup_epochs}")
        if not 2 <= self.batch_size <= n:
            raise ValueError(f"batch_size must be from 2 to the {n} images, got {self.batch_size}")
        if self.memory >= n:  # every image would be pushed away from its own earlier view
            raise ValueError(f"memory must be less than the {n} images, got {self.memory}")
        return self


# What is different on STL-10's 96×96 images: SPICE, tools/train_moco_stl10.py. It trains on the
# unlabelled images as well: the bank is larger than the labelled training split.
STL10 = {
    "architecture": "resnet18-stl",
    "size": 96,
    "crop": 0.2,
    "blur": 0.5,
    "hidden": 512,
    "projection": 128,
    "warmup_epochs": 0,
    "batch_size": 128,
    "lr": 0.015,
    "memory": 65536,
    "momentum": 0.999,
    "final_momentum": 0.999,
    "symmetric": False,
}

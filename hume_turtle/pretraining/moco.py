"""MoCo v2 at real size: a ResNet-18 trained on a dataset's own images, without labels.

HUME's φ1. Its authors released the representations and not the settings that made them; they thank
SCAN, SPICE and solo-learn for theirs. The recipe here is solo-learn's for CIFAR, and SPICE's for
STL-10.

A training runs for hours, so it can be killed: from time to time everything it needs is written
to a state file, and the same call goes on from there.
"""

from __future__ import annotations

import copy
import math
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hume_turtle.core.precision import pick_device
from hume_turtle.pretraining.augmentations import (
    Preprocess,
    ViewSettings,
    augment,
    normalised,
)
from hume_turtle.pretraining.pixels import Store
from hume_turtle.pretraining.resnets import check_form, resnet18
from hume_turtle.pretraining.small_networks import (
    Checkpoint,
    checkpoint_of,
    image_tensor,
    pretrain_moco,
    resolve,
    save_checkpoint,
    seeded,
)
from hume_turtle.storage.files import atomic_write


@dataclass(frozen=True)
class MocoRecipe(ViewSettings):
    """How the network is trained. Naming an `architecture` chooses this over the small MoCo.

    Defaults: solo-learn, scripts/pretrain/cifar/mocov2plus.sh (and .yaml), for CIFAR-10 and
    CIFAR-100, on one GPU; what they leave open is from solo/methods/base.py. MoCo v2+ is MoCo v2
    (Chen et al., 2020) with each view as the query once (Chen & He, 2021), here with a momentum
    that grows as BYOL's does.
    """

    architecture: str = "resnet18-cifar"
    dim: int = 512  # features after pooling; He et al., 2016. Fewer: a narrower network
    hidden: int = 2048  # of the projection head; --proj_hidden_dim
    projection: int = 256  # in which views are compared; proj_output_dim
    epochs: int = 1000  # --max_epochs
    warmup_epochs: int = 10  # of the warmup_cosine scheduler
    batch_size: int = 256  # --batch_size
    lr: float = 0.3  # --lr
    warmup_lr: float = 3e-5  # at the first step
    sgd_momentum: float = 0.9
    weight_decay: float = 1e-4  # --weight_decay
    temperature: float = 0.2  # --temperature
    memory: int = 32768  # keys in a memory bank; --queue_size
    momentum: float = 0.99  # of the key network at first; --base_tau_momentum
    final_momentum: float = 0.999  # and in the end, by a cosine; --final_tau_momentum
    symmetric: bool = True  # whether each view is the query once, with a bank for each role
    mean: tuple[float, ...] | None = None  # of each channel; None: of the images themselves,
    deviation: tuple[float, ...] | None = None  # which is where CIFAR's published figures are from


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


def pretrain(
    images: Sequence,
    path: str | Path,
    settings: Any = None,
    seed: int = 0,
    *,
    state_path: str | Path | None = None,
    device: str | torch.device = "auto",
    workers: int = 0,
    save_seconds: float = 60,
) -> Checkpoint:
    """MoCo on a dataset's own images, written to `path`; the one entrance for both networks.

    images: PIL images, as a sequence or an ImageDataset, whose labels are never asked for.
    settings: with an `architecture` those of `MocoRecipe`, for resnet18-stl `STL10`'s; else the
        small network for 8×8 images of small_networks.py, which takes seconds and needs none of the
        arguments below.
    state_path: the state file; `<path>.state` by default. It is removed once `path` is there.
    workers: processes that read images. The result does not depend on them.
    save_seconds: an epoch's end at least so long after the last state is written down.
    Raises ValueError for unknown or unfit settings, too few images, an image that cannot be read,
    and a state of another training; FloatingPointError when training diverges.
    """
    given = asdict(settings) if is_dataclass(settings) else dict(settings or {})
    if "architecture" not in given:
        checkpoint = pretrain_moco(images, given, seed)
        save_checkpoint(checkpoint, path)
        return checkpoint
    if given["architecture"] == STL10["architecture"]:
        given = {**STL10, **given}
    device, state_path = pick_device(device), Path(state_path or f"{path}.state")
    settings = resolve(MocoRecipe, given)
    check(settings, len(images))
    store = Store(images, settings.size, device, workers)
    settings = replace(
        settings, mean=settings.mean or store.mean, deviation=settings.deviation or store.deviation
    )
    training = Training(settings, seed, len(images) // settings.batch_size, device)
    identity = {"settings": asdict(settings), "seed": seed, "images": store.fingerprint}
    if state_path.exists():
        training.restore(load_state(state_path, identity))
    run(training, store, lambda: save_state(training, state_path, identity), save_seconds)
    network = training.query[0].cpu()
    checkpoint = checkpoint_of("moco", network, settings, seed, training.losses)
    save_checkpoint(checkpoint, path)
    state_path.unlink(missing_ok=True)
    return checkpoint


def preprocess(settings: Mapping[str, Any]) -> Callable[[Any], Tensor]:
    """From a PIL image to the input of a `moco` checkpoint with these settings; picklable."""
    if "architecture" not in settings:
        return image_tensor
    return Preprocess(settings["size"], tuple(settings["mean"]), tuple(settings["deviation"]))


def check(settings: MocoRecipe, n: int) -> None:
    """Raise ValueError for settings that cannot work with n images."""
    check_form(settings.architecture, settings.dim)
    for name in ("size", "epochs", "hidden", "projection", "memory"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(settings, name)}")
    for name in ("flip", "jitter", "grey", "blur", "momentum", "final_momentum", "crop"):
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"{name} must be from 0 to 1, got {getattr(settings, name)}")
    if not 2 <= settings.batch_size <= n:
        raise ValueError(f"batch_size must be from 2 to the {n} images, got {settings.batch_size}")
    if settings.memory >= n:  # every image would be pushed away from its own earlier view
        raise ValueError(f"memory must be less than the {n} images, got {settings.memory}")


class Training:
    """Everything that a step of MoCo changes.

    Attributes:
        query: the network that learns, followed by its projection head.
        key: the network that follows it slowly, with its head.
        banks: for each role of the two views the loss, which remembers the latest keys.
        losses: of every step so far.
    """

    def __init__(self, settings: MocoRecipe, seed: int, steps: int, device: torch.device) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules import MoCoProjectionHead

        self.settings, self.device = settings, device
        self.epoch_steps, self.losses = steps, []
        bank = (settings.memory, settings.projection)
        query, banks = seeded(
            seed,
            lambda: (
                nn.Sequential(
                    resnet18(settings.architecture, settings.dim),
                    MoCoProjectionHead(settings.dim, settings.hidden, settings.projection),
                ),
                [NTXentLoss(settings.temperature, bank) for _ in range(1 + settings.symmetric)],
            ),
        )
        # Channels last is faster on a GPU. On a CPU it is not, and there the backward pass of a
        # convolution of four channels has written past its memory (PyTorch 2.15, AMD EPYC).
        gpu = device.type == "cuda"
        self.layout = torch.channels_last if gpu else torch.contiguous_format
        self.query = query.to(device, memory_format=self.layout)
        self.banks = [bank.to(device) for bank in banks]
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.optimizer = torch.optim.SGD(
            self.query.parameters(),
            lr=settings.lr,
            momentum=settings.sgd_momentum,
            weight_decay=settings.weight_decay,
        )
        self.precision = half_precision(device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision is torch.float16)
        self.generator = torch.Generator().manual_seed(seed)  # of the batches and the views

    def epoch(self, store: Store) -> None:
        """One pass over the images in random order; a remainder smaller than a batch is left out.

        Raises FloatingPointError when a loss is not finite.
        """
        size, first = self.settings.batch_size, len(self.losses)
        order = torch.randperm(len(store.pixels), generator=self.generator)
        rows = order[: self.epoch_steps * size].split(size)
        losses = [self.step(batch, first + i) for i, batch in enumerate(store.batches(rows))]
        self.losses += torch.stack(losses).tolist()
        if not all(map(math.isfinite, self.losses[first:])):
            raise FloatingPointError("MoCo's loss is not finite: a smaller lr is needed")

    def step(self, images: Tensor, step: int) -> Tensor:
        """Learn from one batch of (B, 3, S, S) uint8 images; the loss, a scalar."""
        from lightly.models.utils import update_momentum

        settings, total = self.settings, self.settings.epochs * self.epoch_steps
        self.optimizer.param_groups[0]["lr"] = learning_rate(settings, step, self.epoch_steps)
        loss = self.loss(self.view(images), self.view(images))
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        update_momentum(self.query, self.key, key_momentum(settings, step / total))
        return loss.detach()

    def view(self, images: Tensor) -> Tensor:
        settings = self.settings
        views = augment(images, settings, self.generator)
        views = normalised(views, settings.mean, settings.deviation)
        return views.contiguous(memory_format=self.layout)

    def loss(self, *views: Tensor) -> Tensor:
        """Each query against the key of its image's other view and the keys of earlier batches."""
        roles = (views, views[::-1])[: len(self.banks)]  # (query's view, key's view)
        losses = []
        for (seen, other), bank in zip(roles, self.banks):
            with self.autocast():
                query = self.query(seen)
                with torch.no_grad():
                    key = self.key(other)
            losses.append(bank(query.float(), key.float()))
        return torch.stack(losses).mean()

    def autocast(self):
        if self.precision is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision)

    def state(self) -> dict[str, Any]:
        return {
            "query": self.query.state_dict(),
            "key": self.key.state_dict(),
            "banks": [(bank.memory_bank.bank, bank.memory_bank.bank_ptr) for bank in self.banks],
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generator": self.generator.get_state(),
            "losses": self.losses,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.query.load_state_dict(state["query"])
        self.key.load_state_dict(state["key"])
        for bank, (keys, pointer) in zip(self.banks, state["banks"]):
            bank.memory_bank.bank.copy_(keys)
            bank.memory_bank.bank_ptr.copy_(pointer)
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty where nothing is scaled
            self.scaler.load_state_dict(state["scaler"])
        self.generator.set_state(state["generator"])
        self.losses = state["losses"]


def run(training: Training, store: Store, save: Callable[[], None], save_seconds: float) -> None:
    """Train to the last epoch, saving on the way and at the end."""
    from tqdm import tqdm

    done, saved = len(training.losses) // training.epoch_steps, time.monotonic()
    epochs = training.settings.epochs
    bar = tqdm(range(done, epochs), "moco", initial=done, total=epochs, unit="epoch", disable=None)
    with torch.backends.cudnn.flags(enabled=True, deterministic=True):
        for epoch in bar:
            training.epoch(store)
            bar.set_postfix(loss=training.losses[-1])
            if epoch == epochs - 1 or time.monotonic() - saved >= save_seconds:
                save()
                saved = time.monotonic()


def learning_rate(settings: MocoRecipe, step: int, epoch_steps: int) -> float:
    """A straight line up from `warmup_lr` to `lr`, then half a cosine down to 0."""
    warmup, total = settings.warmup_epochs * epoch_steps, settings.epochs * epoch_steps
    if step < warmup:
        return settings.warmup_lr + step / warmup * (settings.lr - settings.warmup_lr)
    return settings.lr * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


def key_momentum(settings: MocoRecipe, progress: float) -> float:
    """From `momentum` to `final_momentum` by half a cosine, as in BYOL."""
    low, high = settings.momentum, settings.final_momentum
    return high - (high - low) * (1 + math.cos(math.pi * progress)) / 2


def half_precision(device: torch.device) -> torch.dtype | None:
    """What the networks compute in: float32 (None) on a CPU, half precision on a GPU."""
    if device.type != "cuda":
        return None
    native = torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if native else torch.float16


def save_state(training: Training, path: Path, identity: dict[str, Any]) -> None:
    """Write down all that a training is, whole or not at all."""
    with atomic_write(path) as file:
        torch.save({"identity": identity, "training": training.state()}, file)


def load_state(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """What `Training.restore` needs, without running any code in the file.

    Raises ValueError for a file that is no state, or that of another training.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found, training = content["identity"], content["training"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the state of a training: {error}") from None
    other = [name for name, value in identity.items() if found.get(name) != value]
    if other:
        raise ValueError(
            f"{path} is the state of a training with other {' and '.join(other)}; "
            "remove it to begin anew"
        )
    return training

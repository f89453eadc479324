"""MoCo on a dataset's own images, without labels: HUME's φ1.

One training with two settings: `MocoSettings`, a small network for the default suite's 8×8
images, which takes seconds, and `MocoRecipe`, a ResNet-18 at real size. HUME's authors released
the representations and not the settings that made them; they thank SCAN, SPICE and solo-learn for
theirs. The recipe here is solo-learn's for CIFAR, and SPICE's for STL-10.

A real training runs for hours and can be killed: from time to time its state is written to a
file, from which the same call resumes.
"""

from __future__ import annotations

import copy
import math
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from joblib import cpu_count
from torch import Tensor, nn

from hume_turtle.core.precision import has_bf16, pick_device
from hume_turtle.pretraining.checkpoints import Checkpoint, checkpoint_of, save_checkpoint
from hume_turtle.pretraining.networks import SmallConvNet, resnet18
from hume_turtle.pretraining.settings import STL10, MocoRecipe, MocoSettings
from hume_turtle.pretraining.training import one_cycle, resolve, seeded, shuffled_batches
from hume_turtle.pretraining.views import PhotoViews, SmallViews
from hume_turtle.progress import progress
from hume_turtle.storage.files import atomic_write

STATEFUL = ("query", "key", "optimizer", "schedule", "scaler")  # attributes with a state_dict


def resolved(settings: Mapping[str, Any]) -> MocoSettings | MocoRecipe:
    """All settings of a training; with an `architecture` the recipe's, for resnet18-stl STL-10's.

    Raises ValueError for unknown ones.
    """
    if "architecture" not in settings:
        return resolve(MocoSettings, settings)
    stl = settings["architecture"] == STL10["architecture"]
    return resolve(MocoRecipe, {**STL10, **settings} if stl else settings)


def pretrain(
    images: Sequence,
    path: str | Path,
    settings: Mapping[str, Any],
    seed: int = 0,
    *,
    device: str | torch.device = "auto",
    save_seconds: float = 60,
) -> Checkpoint:
    """MoCo on a dataset's own images, written to `path`.

    images: PIL images, as a sequence or an ImageDataset, whose labels are never asked for.
    settings: with an `architecture` those of `MocoRecipe`, for resnet18-stl `STL10`'s; else those
        of `MocoSettings`, on the CPU.
    save_seconds: the state is written to `<path>.state` at the end of an epoch this long after
        the last one; it is removed once `path` is written.
    Raises ValueError for unknown or unfit settings, an image that cannot be read, and a state of
    another training; FloatingPointError when training diverges.
    """
    chosen = resolved(settings)
    if isinstance(chosen, MocoRecipe):
        device = pick_device(device)
        workers = cpu_count() if device.type == "cuda" else 0
        views = PhotoViews(images, chosen.fitted(len(images)), workers)
    else:
        device, views = torch.device("cpu"), SmallViews(images, chosen)
    training, state_path = Training(views, seed, device), Path(f"{path}.state")
    if state_path.exists():
        training.restore(state_path)
    training.run(state_path, save_seconds)
    checkpoint = checkpoint_of("moco", training.query[0], views.settings, seed, training.losses)
    save_checkpoint(checkpoint, path)
    state_path.unlink(missing_ok=True)
    return checkpoint


class Training:
    """Everything that a step of MoCo changes.

    Attributes:
        query: the network that learns, followed by its projection head.
        key: the network that follows it slowly, with its head.
        banks: for each role of the two views the loss, which remembers the latest keys.
        losses: of every step so far.
    """

    def __init__(self, views: SmallViews | PhotoViews, seed: int, device: torch.device) -> None:
        self.views, self.device, self.losses = views, device, []
        self.identity = {"settings": asdict(views.settings), "seed": seed}
        self.identity["images"] = views.fingerprint
        self.settings = views.settings.fitted(len(views))
        self.query, self.banks = seeded(seed, self._networks)
        # Channels last is faster on a GPU. On a CPU it is not for a ResNet, and there the backward
        # pass of a convolution of four channels has written past its memory (PyTorch 2.15, Zen 3).
        gpu = device.type == "cuda"
        self.query.to(memory_format=torch.channels_last if gpu else torch.preserve_format)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.steps, self.optimizer, self.schedule = self._optimizer()
        half = torch.bfloat16 if has_bf16(device) else torch.float16
        self.autocast = partial(torch.autocast, device.type, half, enabled=gpu)
        self.scaler = torch.amp.GradScaler(enabled=gpu and half is torch.float16)
        self.generator = torch.Generator().manual_seed(seed)  # of the batches and the views

    def _networks(self) -> tuple[nn.Sequential, nn.ModuleList]:
        """The query network and the losses with their memory banks."""
        from lightly.loss import NTXentLoss
        from lightly.models.modules import MoCoProjectionHead

        settings = self.settings
        if isinstance(settings, MocoSettings):
            network = SmallConvNet(self.views.channels, settings.dim, settings.width)
        else:
            network = resnet18(settings.architecture)
        head = MoCoProjectionHead(settings.dim, settings.hidden, settings.projection)
        bank = (settings.memory, settings.projection)
        banks = [NTXentLoss(settings.temperature, bank) for _ in range(1 + settings.symmetric)]
        return nn.Sequential(network, head).to(self.device), nn.ModuleList(banks).to(self.device)

    def _optimizer(self):
        """Number of steps, optimiser, and the schedule of its learning rate.

        For ResNet-18 a linear warm-up from `warmup_lr` to `lr`, then half a cosine to 0.
        """
        from lightly.utils.scheduler import CosineWarmupScheduler

        settings, parameters = self.settings, self.query.parameters()
        if isinstance(settings, MocoSettings):
            return settings.steps, *one_cycle(parameters, settings)
        epoch_steps = len(self.views) // settings.batch_size
        steps = settings.epochs * epoch_steps
        optimizer = torch.optim.SGD(
            parameters, settings.lr, settings.sgd_momentum, weight_decay=settings.weight_decay
        )
        schedule = CosineWarmupScheduler(  # in units of `lr`
            optimizer,
            settings.warmup_epochs * epoch_steps,
            steps,
            warmup_start_value=settings.warmup_lr / settings.lr,
            end_value=0.0,
        )
        return steps, optimizer, schedule

    def run(self, state_path: Path, save_seconds: float) -> None:
        """Train to the last step; the state is saved at the ends of epochs."""
        saved = time.monotonic()
        bar = progress(None, self.steps, "moco", initial=len(self.losses), unit="step")
        with bar, torch.backends.cudnn.flags(enabled=True, deterministic=True):
            while len(self.losses) < self.steps:
                bar.update(self.epoch())
                bar.set_postfix(loss=self.losses[-1], refresh=False)
                if time.monotonic() - saved >= save_seconds:
                    self.save(state_path)
                    saved = time.monotonic()

    def epoch(self) -> int:
        """One pass over the images in random order, or up to the last step; the number of steps."""
        order = shuffled_batches(len(self.views), self.settings.batch_size, self.generator)
        first = len(self.losses)
        batches = self.views.batches(order[: self.steps - first], self.generator)
        losses = [self.step(views, first + i) for i, views in enumerate(batches)]
        self.losses += torch.stack(losses).tolist()
        if not all(map(math.isfinite, self.losses[first:])):
            raise FloatingPointError("MoCo's loss is not finite: use a smaller lr")
        return len(losses)

    def step(self, views: Sequence[Tensor], step: int) -> Tensor:
        """Learn from two views of a batch, (B, C, S, S) each; the loss, a scalar."""
        from lightly.models.utils import update_momentum
        from lightly.utils.scheduler import cosine_schedule

        settings = self.settings
        momentum = cosine_schedule(step, self.steps, settings.momentum, settings.final_momentum)
        update_momentum(self.query, self.key, momentum)
        loss = self.loss([view.to(self.device, non_blocking=True) for view in views])
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        return loss.detach()

    def loss(self, views: Sequence[Tensor]) -> Tensor:
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

    def save(self, path: Path) -> None:
        """Write the state of the training, whole or not at all."""
        state = {name: getattr(self, name).state_dict() for name in STATEFUL}
        state |= {"banks": dict(self.banks.named_buffers()), "losses": self.losses}
        state |= {"generator": self.generator.get_state(), "identity": self.identity}
        with atomic_write(path) as file:
            torch.save(state, file)

    def restore(self, path: Path) -> None:
        """Resume from what `save` wrote.

        Raises ValueError for a file that is no state, or the state of another training.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            found = state["identity"]
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not the state of a training: {error}") from None
        other = [key for key, value in self.identity.items() if found.get(key) != value]
        if other:
            raise ValueError(
                f"{path} is the state of a training with other {' and '.join(other)}; "
                "remove it to start over"
            )
        for name in STATEFUL:
            if state[name]:  # a scaler that scales nothing has none
                getattr(self, name).load_state_dict(state[name])
        for name, buffer in self.banks.named_buffers():
            buffer.copy_(state["banks"][name])
        self.generator.set_state(state["generator"])
        self.losses = state["losses"]

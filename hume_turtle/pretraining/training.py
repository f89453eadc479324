"""What the trainings of letters and of MoCo share: settings, seeds, batches, optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Made = TypeVar("Made")
Settings = TypeVar("Settings")


def seeded(seed: int, build: Callable[[], Made]) -> Made:
    """What `build()` makes with torch's global generator seeded, which is then restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def shuffled_batches(n: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """The rows of an epoch's batches; a remainder smaller than a batch is skipped."""
    size = min(batch_size, n)
    return torch.randperm(n, generator=generator)[: n - n % size].split(size)


def one_cycle(parameters: Iterable[nn.Parameter], settings: Any):
    """AdamW and its one-cycle schedule over `settings.steps`, as a pair."""
    # The fused form has exact square roots; MKL's differ between processors (runtime.py).
    optimizer = torch.optim.AdamW(
        parameters, settings.lr, weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=settings.steps + 1
    )
    return optimizer, schedule


def resolve(kind: type[Settings], given: Mapping[str, Any]) -> Settings:
    """Settings from a dict of some of their fields; the defaults for the rest."""
    known = {field.name for field in fields(kind)}
    if unknown := given.keys() - known:
        there = ", ".join(sorted(known))
        raise ValueError(f"unknown settings {', '.join(sorted(unknown))}; there are {there}")
    return kind(**given)

"""What is drawn in an outer iteration: rows of the data, and starts of the inner heads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hume_turtle.core.task_encoders import draw_heads


def generator(seed: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(int(seed))


def derived_seed(seed: int, k: int) -> int:
    """Seed k of a family: 0 is the seed itself, others have 32 bits, all that the CPU takes."""
    return seed if k == 0 else int(np.random.SeedSequence((seed, k)).generate_state(1)[0])


def draw_batches(n: int, size: int, steps: int, stream: torch.Generator) -> Iterator[Tensor | None]:
    """`steps` batches of `min(size, n)` distinct rows; None stands for all rows."""
    for _ in range(steps):
        yield None if size >= n else _permutation(n, stream)[:size]


def draw_subsets(
    n: int, size: int, n_subsets: int, steps: int, streams: list[torch.Generator]
) -> Iterator[Tensor]:
    """For each outer iteration the rows of every run's subsets, (R, S, min(size, n))."""
    for _ in range(steps):
        yield torch.stack(
            [
                torch.stack([_permutation(n, stream)[:size] for _ in range(n_subsets)])
                for stream in streams
            ]
        )


def _permutation(n: int, stream: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=stream, device=stream.device)


def draw_inner_heads(
    dim: int, n_classes: int, n_subsets: int, fresh: bool, streams: list[torch.Generator]
) -> Iterator[Tensor]:
    """For each outer iteration the inner heads' starts, (R, S, C, d + 1).

    A new start for every subset if `fresh`, else one that serves the whole run.
    """
    if not fresh:
        (head,) = draw_heads([dim], n_classes, streams)  # (R, C, d + 1)
        while True:
            yield head[:, None].expand(-1, n_subsets, -1, -1)
    while True:
        (head,) = draw_heads([dim], n_classes * n_subsets, streams)  # (R, S C, d + 1)
        yield head.view(len(streams), n_subsets, n_classes, dim + 1)

"""One extraction shared by several processes, as `torchrun` starts them, on one machine or many.

Where a process ends early, gloo tells the others at once, and torchrun ends them.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

Result = TypeVar("Result")
TIMEOUT = timedelta(hours=12)  # of a process that neither ends nor answers; slow ones get there


def from_env() -> tuple[int, int]:
    """Rank and number of processes, from RANK and WORLD_SIZE; without them 0 and 1."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        dist.init_process_group("gloo", timeout=TIMEOUT)
        atexit.register(dist.destroy_process_group)  # else its threads may abort at the end
    return (dist.get_rank(), dist.get_world_size()) if several() else (0, 1)


def several() -> bool:
    return dist.is_available() and dist.is_initialized()


def on_rank_zero(function: Callable[[], Result]) -> Result:
    """What `function()` returns on rank 0, on every process; an exception likewise.

    Raises ConnectionError where another process has ended.
    """
    outcome: list = [None, None]  # result, error
    if not several() or dist.get_rank() == 0:
        try:
            outcome[0] = function()
        except Exception as error:
            outcome[1] = error
    if several():
        with losses_reported():
            dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def barrier() -> None:
    """Wait for all processes. Raises ConnectionError where another one has ended."""
    if several():
        with losses_reported():
            dist.barrier()


@contextmanager
def losses_reported() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(
            f"process {dist.get_rank()} of {dist.get_world_size()}: another process has ended or "
            "does not answer; finished blocks are kept, and the same command resumes"
        ) from error

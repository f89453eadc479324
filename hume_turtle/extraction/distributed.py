"""One extraction shared by several processes, as `torchrun` starts them, on one machine or many."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

Result = TypeVar("Result")
# Of a process that is silent. One that has ended is noticed at once, by gloo and by torchrun.
TIMEOUT = timedelta(hours=12)


@dataclass(frozen=True)
class Processes:
    """The processes that share the work, seen from one of them.

    Attributes:
        rank: of this process, from 0.
        count: of all processes.
        local_rank: of this process on its machine: which GPU it takes.
        local_count: of the processes on its machine, which share its cores.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @classmethod
    def from_env(cls) -> Processes:
        """From RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE; without them one process."""
        count = int(os.environ.get("WORLD_SIZE", 1))
        if count == 1:
            return cls()
        import torch.distributed as dist

        if not dist.is_initialized():
            dist.init_process_group("gloo", timeout=TIMEOUT)
            atexit.register(dist.destroy_process_group)  # else its threads may abort at the end
        local_rank = int(os.environ.get("LOCAL_RANK", 0))
        return cls(dist.get_rank(), count, local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))

    def on_rank_zero(self, function: Callable[[], Result]) -> Result:
        """What `function()` returns on rank 0, on every process; an exception likewise.

        Raises RuntimeError where another process has ended.
        """
        outcome: list = [None, None]  # result, error
        if self.rank == 0:
            try:
                outcome[0] = function()
            except Exception as error:
                outcome[1] = error
        if self.count > 1:
            import torch.distributed as dist

            with self._together():
                dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def barrier(self) -> None:
        """Wait for all processes. Raises RuntimeError where another one has ended."""
        if self.count > 1:
            import torch.distributed as dist

            with self._together():
                dist.barrier()

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RuntimeError(
                f"process {self.rank} of {self.count}: another process has ended or does not "
                "answer; finished blocks are kept, and the same command resumes"
            ) from error

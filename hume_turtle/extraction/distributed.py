"""One extraction by several processes, as `torchrun` starts them: on one machine or on many.

The processes agree on a plan and on its end; in between each works alone, so that none waits for
another. Without `torchrun` there is one process and nothing here costs anything.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """The processes that share the work, seen from one of them.

    Attributes:
        rank: of this process, from 0.
        count: of all processes.
        local_rank: of this process on its machine: which GPU it takes.
        local_count: of the processes on its machine, which share its cores.
        group: for collective calls; None for a single process.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    group: Any = None

    @classmethod
    def join(cls, timeout: float) -> Processes:
        """As the environment says (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE).

        timeout: seconds that a collective call waits for a process that does not answer.
        """
        count = int(os.environ.get("WORLD_SIZE", 1))
        if count == 1:
            return cls()
        local_rank = int(os.environ.get("LOCAL_RANK", 0))
        local_count = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        return cls(int(os.environ["RANK"]), count, local_rank, local_count, _gloo(timeout))

    def first(self, function: Callable[[], Result]) -> Result:
        """What `function()` gives on the first process, on every process; its error likewise.

        Raises RuntimeError where another process is gone.
        """
        if self.group is None:
            return function()
        import torch.distributed as dist

        outcome: list = [None, None]  # result, error
        if self.rank == 0:
            try:
                outcome[0] = function()
            except Exception as error:
                outcome[1] = error
        try:
            dist.broadcast_object_list(outcome, src=0, group=self.group)
        except RuntimeError as error:
            # Where the first process has an error of its own, that one says what happened.
            raise outcome[1] or self._alone(error) from None
        result, error = outcome
        if error is not None:
            raise error
        return result

    def meet(self) -> None:
        """Wait until all processes are here. Raises RuntimeError where one is gone."""
        if self.group is None:
            return
        import torch.distributed as dist

        try:
            dist.barrier(group=self.group)
        except RuntimeError as error:
            raise self._alone(error) from None

    def _alone(self, error: RuntimeError) -> RuntimeError:
        return RuntimeError(f"process {self.rank} of {self.count} lost the others: {error}")


@cache
def _gloo(timeout: float):
    """A group of all processes that talk over the network, whatever else the program has set up."""
    import torch.distributed as dist

    limit = timedelta(seconds=timeout)
    if not dist.is_initialized():
        dist.init_process_group("gloo", timeout=limit)
        atexit.register(_leave)
    return dist.new_group(backend="gloo", timeout=limit)


def _leave() -> None:
    """End the groups' threads before the interpreter does, which aborts now and then."""
    import torch.distributed as dist

    _gloo.cache_clear()
    if dist.is_initialized():
        dist.destroy_process_group()

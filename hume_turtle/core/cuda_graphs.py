"""CUDA graphs: one launch for the many small kernels of an outer iteration."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # eager calls before the capture, in which libraries allocate their workspaces


class Graphed:
    """Calls a function of nothing that works in place on fixed tensors and returns one tensor.

    On the CPU that is all. On a GPU the first calls run on a stream of their own, as a capture
    demands; then the kernels are captured once and replayed, a copy of the result each time. The
    function must not synchronise with the host, nor draw random numbers.
    """

    def __init__(self, function: Callable[[], Tensor], device: torch.device):
        self.function = function
        self.graph = None
        self.calls = 0
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self) -> Tensor:
        if self.stream is None:
            return self.function()
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._eager()
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=self.stream):
                self.result = self.function()  # recorded, not run
        self.graph.replay()
        return self.result.clone()

    def _eager(self) -> Tensor:
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = self.function()
        current.wait_stream(self.stream)
        return result

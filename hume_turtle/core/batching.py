"""Batches of rows of the representation spaces where the products need them: gathered and cast."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

CHUNK = 1 << 18  # numbers copied at a time, so that a gather needs no second batch of memory


class Batches:
    """Batches of rows of K spaces, each with a constant column, in buffers that are used again.

    On the CPU rows are read from the caller's arrays, which are not copied. On a GPU the spaces
    are resident in the operands' precision if they fit, and streamed from the host if they do not.

    Args:
        spaces: K checked arrays or tensors (n, d_k) of any floating-point precision.
        size: rows in a batch; all rows if there are fewer.
        device: where the products run.
        dtype: of the operands.

    Attributes:
        n: rows of the spaces.
        buffers: K tensors (min(size, n), d_k + 1), what `load` returns.
    """

    def __init__(self, spaces: list, size: int, device: torch.device, dtype: torch.dtype):
        self.spaces = [as_tensor(space) for space in spaces]
        self.n = len(self.spaces[0])
        rows, widths = min(size, self.n), [space.shape[1] + 1 for space in self.spaces]

        def ones(n: int) -> list[Tensor]:
            return [torch.ones(n, width, device=device, dtype=dtype) for width in widths]

        self.buffers = ones(rows)
        self.resident = None
        if rows == self.n:  # nothing to draw: filled once
            for space, buffer in zip(self.spaces, self.buffers):
                copy_rows(space, None, buffer)
        elif device.type == "cuda" and _fits(self.n * sum(widths), device, dtype):
            self.resident = ones(self.n)
            for space, resident in zip(self.spaces, self.resident):
                copy_rows(space, None, resident)

    def load(self, rows: Tensor | None) -> list[Tensor]:
        """The batch of the given rows (B,), or of all; valid until the next call."""
        if rows is not None and self.resident is not None:
            for space, buffer in zip(self.resident, self.buffers):
                torch.index_select(space, 0, rows, out=buffer)
        elif rows is not None:
            for space, buffer in zip(self.spaces, self.buffers):
                copy_rows(space, rows.to(space.device), buffer)
        return self.buffers


def as_tensor(space) -> Tensor:
    """A checked space as a tensor that shares its memory; nothing is ever written to it."""
    if isinstance(space, Tensor):
        return space
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable")
        try:
            return torch.from_numpy(space)
        except ValueError:  # negative strides
            return torch.from_numpy(space.copy())


def copy_rows(space: Tensor, rows: Tensor | None, target: Tensor) -> None:
    """`target[:, :d] = space[rows]` between any types and devices, a chunk at a time."""
    dim = space.shape[1]
    if rows is not None and (space.dtype, space.device) == (target.dtype, target.device):
        torch.index_select(space, 0, rows, out=target[:, :dim])  # nothing to convert
        return
    step = max(1, CHUNK // dim)
    for i in range(0, len(target), step):
        part = space[i : i + step] if rows is None else space.index_select(0, rows[i : i + step])
        target[i : i + step, :dim].copy_(part)


def _fits(numbers: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether so many fit in the GPU's free memory, with a fifth of it left for the work."""
    free, _ = torch.cuda.mem_get_info(device)
    return numbers * dtype.itemsize < 0.8 * free

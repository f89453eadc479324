"""Rows of the representation spaces where the products need them: gathered, cast, in blocks.

A product of C heads with all rows of a batch is thin: ten rows high and ten thousand wide. Cut in
blocks of rows and multiplied as one batched product, it takes half the time on a CPU, where the
blocks go to the cores whole, and on a GPU the sums over rows are split over the processors. The
last block is filled up with rows of zeros, constant included, which no gradient sees; means leave
them out by their weight.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

BLOCKS = 8
CHUNK = 1 << 18  # numbers copied at a time, so that a gather needs no second batch of memory


class Batches:
    """Batches of rows of K spaces, each with a constant column, in buffers that are used again.

    On the CPU rows are read from the caller's arrays, which are not copied. On a GPU the spaces
    are resident in the operands' precision if they fit, and streamed from the host if they do not.

    Args:
        spaces: K checked arrays or tensors (n, d_k), half or single precision.
        size: rows in a batch; all rows if there are fewer.
        device: where the products run.
        dtype: of the operands.

    Attributes:
        rows: in a batch, without the filling.
        buffers: K tensors (blocks, b, d_k + 1), what `load` returns; blocks · b is at least rows.
        weight: (blocks, b), 1 / rows for a row and 0 for the filling.
    """

    def __init__(self, spaces: list, size: int, device: torch.device, dtype: torch.dtype):
        self.spaces = [as_tensor(space) for space in spaces]
        self.n = len(self.spaces[0])
        self.rows = min(size, self.n)
        filled = -(-self.rows // BLOCKS) * BLOCKS
        widths = [space.shape[1] + 1 for space in self.spaces]
        whole = [torch.zeros(filled, width, device=device, dtype=dtype) for width in widths]
        self.buffers = [buffer.view(BLOCKS, -1, buffer.shape[1]) for buffer in whole]
        self.flat = [buffer[: self.rows] for buffer in whole]
        for flat in self.flat:
            flat[:, -1] = 1
        weight = torch.zeros(filled, device=device, dtype=torch.float32)
        weight[: self.rows] = 1 / self.rows
        self.weight = weight.view(BLOCKS, -1)
        self.resident = None
        if self.rows == self.n:  # nothing to draw: filled once
            for space, flat in zip(self.spaces, self.flat):
                copy_rows(space, None, flat)
        elif device.type == "cuda" and _fits(self.n * sum(widths), device, dtype):
            self.resident = [
                torch.ones(self.n, width, device=device, dtype=dtype) for width in widths
            ]
            for space, resident in zip(self.spaces, self.resident):
                copy_rows(space, None, resident)

    def load(self, rows: Tensor | None) -> list[Tensor]:
        """The batch of the given rows (B,), or of all; valid until the next call."""
        if rows is not None and self.resident is not None:
            for space, flat in zip(self.resident, self.flat):
                torch.index_select(space, 0, rows, out=flat)
        elif rows is not None:
            for space, flat in zip(self.spaces, self.flat):
                copy_rows(space, rows.to(space.device), flat)
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
    step = max(1, CHUNK // dim)
    for i in range(0, len(target), step):
        part = space[i : i + step] if rows is None else space.index_select(0, rows[i : i + step])
        target[i : i + step, :dim].copy_(part)


def _fits(numbers: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether so many fit in the GPU's free memory, with a fifth of it left for the work."""
    free, _ = torch.cuda.mem_get_info(device)
    return numbers * dtype.itemsize < 0.8 * free

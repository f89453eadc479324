"""Rows of the representation spaces where the products need them: gathered, cast, in blocks.

A product of C heads with all rows of a batch is thin: ten rows high and ten thousand wide. Cut in
blocks of rows and multiplied as one batched product, it takes half the time on a CPU, where the
blocks go to the cores whole, and on a GPU the sums over rows are split over the processors.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

MAX_BLOCKS = 16
CHUNK = 1 << 20  # numbers copied at a time, so that a gather needs no second batch of memory


def n_blocks(rows: int) -> int:
    """The largest number of equal blocks, up to `MAX_BLOCKS`, that the rows can be cut in."""
    return max(k for k in range(1, MAX_BLOCKS + 1) if rows % k == 0)


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
        buffers: K tensors (blocks, rows / blocks, d_k + 1), what `load` returns.
    """

    def __init__(self, spaces: list, size: int, device: torch.device, dtype: torch.dtype):
        self.spaces = [as_tensor(space) for space in spaces]
        self.n = len(self.spaces[0])
        self.rows = min(size, self.n)
        shapes = [(self.rows, space.shape[1] + 1) for space in self.spaces]
        self.flat = [torch.ones(shape, device=device, dtype=dtype) for shape in shapes]
        blocks = n_blocks(self.rows)
        self.buffers = [flat.view(blocks, -1, flat.shape[1]) for flat in self.flat]
        self.resident = None
        if self.rows == self.n:  # nothing to draw: filled once
            for space, flat in zip(self.spaces, self.flat):
                copy_rows(space, None, flat)
        elif device.type == "cuda" and _fits(shapes, self.n, device, dtype):
            self.resident = [
                torch.ones(self.n, width, device=device, dtype=dtype) for _, width in shapes
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


def _fits(shapes: list, n: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether all rows fit in the GPU's free memory, with a fifth of it left for the work."""
    free, _ = torch.cuda.mem_get_info(device)
    return n * sum(width for _, width in shapes) * dtype.itemsize < 0.8 * free

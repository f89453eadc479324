"""The rows of one or several spaces side by side, made block by block where they are large."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

import numpy as np
import torch
from torch import Tensor

from hume_turtle.checks import check_spaces
from hume_turtle.core.batching import as_tensor
from hume_turtle.core.precision import pick_device

HELD = 2**28  # numbers of a matrix that may be held as a whole: 1 GiB in float32
BLOCK = 2**22  # numbers that a pass over the rows works on at a time


class JoinedRows:
    """One matrix (n, Σ d_k) of spaces of the same rows, of which a part is made when it is read.

    One space (an array, or a list of one) is taken raw. Of several, each space's rows are
    L2-normalised before they are laid side by side, so that no space outweighs another. float64
    stays, everything else becomes float32. The spaces, be they memory maps, are not copied, but
    to a GPU that is asked for if half of its free memory holds them. Raises ValueError as
    `check_spaces` does.

    `rows[part]`, with a slice or indices (B,), is a tensor (B, Σ d_k) on `device`. It may share
    the caller's memory: nothing may be written to it.
    """

    def __init__(self, spaces, device: str | torch.device = "cpu"):
        self.spaces = [as_tensor(space) for space in check_spaces(spaces)]
        self.device, self.index, self.offset = pick_device(device), None, None
        self.shape = len(self.spaces[0]), sum(space.shape[1] for space in self.spaces)
        self.dtype = torch.float32
        for space in self.spaces:
            self.dtype = torch.promote_types(self.dtype, space.dtype)
        self.norms = [_norms(space) for space in self.spaces] if len(self.spaces) > 1 else [None]
        size = sum(space.nbytes for space in self.spaces)
        if self.device.type == "cuda" and size < torch.cuda.mem_get_info(self.device)[0] / 2:
            self.spaces = [space.to(self.device) for space in self.spaces]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def small(self) -> bool:
        """Whether the whole matrix may be held in memory."""
        return self.size <= HELD

    def whole(self) -> Tensor:
        """A copy of the matrix, made in blocks so that there is no second one meanwhile."""
        whole = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        for part, rows in row_blocks(self, 1):
            whole[part] = rows
        return whole

    def take(self, index: np.ndarray) -> JoinedRows:
        """The rows of the indices (B,), not copied."""
        taken = copy(self)
        index = torch.from_numpy(index)
        taken.index = index if self.index is None else self.index[index]
        taken.shape = len(index), self.shape[1]
        return taken

    def minus(self, offset: Tensor) -> JoinedRows:
        """The rows with `offset` (d,) taken from each as it is read."""
        shifted = copy(self)
        shifted.offset = offset
        return shifted

    def __getitem__(self, part) -> Tensor:
        part = part if self.index is None else self.index[part]
        parts = [self._read(space, norms, part) for space, norms in zip(self.spaces, self.norms)]
        if len(parts) == 1:
            return parts[0] if self.offset is None else parts[0] - self.offset
        joined = torch.cat(parts, dim=1)
        return joined if self.offset is None else joined.sub_(self.offset)

    def _read(self, space: Tensor, norms: Tensor | None, part) -> Tensor:
        rows = _float(space[part].to(self.device))
        if norms is None:
            return rows
        own = rows.dtype != space.dtype  # a copy, which may be written to
        return torch.div(rows, norms[part].to(self.device), out=rows if own else None)

    def mean(self) -> Tensor:
        """The mean row (d,)."""
        total = sum(z.sum(0).double() for _, z in row_blocks(self, 1))
        return (total / len(self)).to(self.dtype)


def row_blocks(rows: Tensor | JoinedRows, width: int) -> Iterator[tuple[slice, Tensor]]:
    """Slices, and the rows there: so few that `width` numbers for each can be held beside them."""
    if isinstance(rows, JoinedRows):  # more at a time, because making them is work too
        size = 4 * BLOCK // max(width, rows.shape[1])
    else:
        size = BLOCK // width
    for start in range(0, len(rows), max(1, size)):
        part = slice(start, start + max(1, size))
        yield part, rows[part]


def mean_square(rows: Tensor | JoinedRows) -> float:
    """Of all numbers in the rows, summed in float64."""
    total = sum(z.square().sum(dtype=torch.float64).item() for _, z in row_blocks(rows, 1))
    return total / (len(rows) * rows.shape[1])


def _norms(space: Tensor) -> Tensor:
    """The lengths (n, 1) of the rows, 1 for a row of zeros, on the CPU."""
    size = max(1, 4 * BLOCK // space.shape[1])
    parts = (_float(part.cpu()).numpy() for part in space.split(size))
    norms = np.concatenate([np.linalg.norm(part, axis=1, keepdims=True) for part in parts])
    return torch.from_numpy(np.where(norms > 0, norms, 1))


def _float(rows: Tensor) -> Tensor:
    """Rows in C order, of float32 if they are of less precision."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32)).contiguous()

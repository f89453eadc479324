"""Products of a few heads with one matrix of rows, by the library that is the faster at them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

THIN, LARGE = 32, 1 << 21  # oneDNN wins for at most THIN rows times at least LARGE numbers


def product(right: Tensor, out: Tensor) -> Callable[[Tensor], None]:
    """Multiplies (a, b, p) with the transpose of `right` (q, p) into `out` (a, b, q)."""
    flat, inner = out.view(-1, len(right)), right.shape[1]
    if is_thin(len(flat), right):
        weight = right.contiguous()
        linear = torch.ops.mkldnn._linear_pointwise
        return lambda left: flat.copy_(
            linear(left.reshape(-1, inner), weight, None, "none", [], "")
        )
    columns, dtype = right.T, right.dtype
    return lambda left: torch.mm(left.reshape(-1, inner).to(dtype), columns, out=flat)


def is_thin(heads: int, matrix: Tensor) -> bool:
    """Whether oneDNN's product is the faster: few heads, a matrix larger than the caches."""
    return (
        matrix.device.type == "cpu"
        and matrix.dtype == torch.float32
        and heads <= THIN
        and matrix.numel() >= LARGE
        and torch.backends.mkldnn.is_available()
    )

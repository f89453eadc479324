"""TURTLE's two products with the rows Z of a batch: logits `W Zᵀ`, and gradients of heads `R Z`.

On a CPU nearly all of a fit's time passes here. A few heads are a thin product, bound by how fast
Z is read, and that depends on the form: for 10 heads, the plain `W @ Z.T` and `R @ Z` read at a
third to two thirds of the memory's speed. So a thin product in float32 takes the form that reads
at full speed; wide ones and small ones, which have nothing to gain, are plain.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

THIN = 64  # heads of all runs together, up to which memory is what a product waits for
LARGE = 1 << 20  # numbers in Z from which oneDNN is ahead
BLOCKS = 8  # of rows


def linear_logits(head: Tensor, space: Tensor) -> Tensor:
    """Logits of R runs' linear heads on the same rows, class-major, in the heads' precision.

    Args:
        head: (R, C, d).
        space: (n, d).

    Returns:
        (R, C, n).
    """
    runs, classes, dim = head.shape
    flat = head.reshape(runs * classes, dim).to(space.dtype)
    product = onednn_linear() if _is_thin(flat, space) else None
    needs_gradient = torch.is_grad_enabled() and (flat.requires_grad or space.requires_grad)
    if product and space.numel() >= LARGE and space.is_contiguous() and not needs_gradient:
        logits = product(space, flat).T.contiguous()
    elif space.is_cpu and space.dtype is torch.bfloat16:  # oneDNN prefers many rows on the left
        logits = (space @ flat.T).T.to(head.dtype, memory_format=torch.contiguous_format)
    else:
        logits = (flat @ space.T).to(head.dtype)
    return logits.view(runs, classes, -1)


def head_gradient(residual: Tensor, space: Tensor, scale: float = 1.0) -> Tensor:
    """Gradient of linear heads from that of their logits, times `scale`: (R, C, d).

    Args:
        residual: (R, C, n).
        space: (n, d).
    """
    left = residual.flatten(0, 1).to(space.dtype)  # (R C, n)
    product = _by_blocks(left, space) if _is_thin(left, space) else left @ space  # (R C, d)
    return product.to(residual.dtype).mul_(scale).view(*residual.shape[:2], -1)


def _by_blocks(left: Tensor, space: Tensor) -> Tensor:
    """`left @ space`, (h, n) by (n, d), as a sum over blocks of rows: a thread reads whole rows."""
    size = len(space) // BLOCKS
    whole = size * BLOCKS
    blocks = left[:, :whole].unflatten(1, (BLOCKS, size)).transpose(0, 1)  # (BLOCKS, h, size)
    product = torch.bmm(blocks, space[:whole].unflatten(0, (BLOCKS, size))).sum(0)
    return product.addmm_(left[:, whole:], space[whole:])


def _is_thin(left: Tensor, space: Tensor) -> bool:
    return space.is_cpu and space.dtype is torch.float32 and len(left) <= THIN


@cache
def onednn_linear() -> Callable[[Tensor, Tensor], Tensor] | None:
    """oneDNN's float32 product of rows (n, d) with heads (h, d) to (n, h), or None without it.

    PyTorch calls it in compiled networks; it is not a public function, so it may be absent or
    change: it is tried here, once. It has no gradient, and rows with gaps between them take
    seconds.
    """
    rows, heads = torch.arange(12.0).view(4, 3), torch.arange(6.0).view(2, 3)

    def product(rows: Tensor, heads: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(rows, heads, None, "none", [], "")

    try:
        return product if torch.equal(product(rows, heads), rows @ heads.T) else None
    except (AttributeError, RuntimeError, TypeError):
        return None

"""Two approximations of HUME's inner loop, each with the bound that says when it may be used.

The head's error, a mean cross-entropy over n rows, has the Hessian `(1/n) Σ_i (diag p_i − p_i p_iᵀ)
⊗ z_i z_iᵀ`. For every distribution p, `diag p − p pᵀ` has no eigenvalue above 1/2 (Böhning, 1992),
so none of the Hessian's is above `λ_max(ZᵀZ / n) / 2`. Along an eigendirection of curvature h,
T steps of learning rate η leave `(1 − η h)^T` of the way to the optimum.

*Coarse steps*: T/k steps of kη. With x = ηTh the two differ by about `(k − 1) x² e^{−x} / (2T)`, at
most 0.27 (k − 1) / T whatever h is (at x = 2), as long as no step overshoots: kηh ≤ 1.

*Low rank*: let the change of a head see only the leading r principal directions of Z. In a dropped
direction of curvature h the head would have come `1 − (1 − η h)^T ≤ ηTh` of the way. What the
head's start contributes is kept exactly, `Z W_0`: it is random in all directions alike, and the
labels must not see that it was cut.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hume_turtle.task_encoder import with_constant
from hume_turtle.unrolled import HeadSpace

COARSENESS = 10  # k, exact steps to a coarse one
COARSE_ERROR = 0.025  # accepted bound 0.27 (k − 1) / T: T of at least 98
DROPPED = 0.05  # accepted part of the way in a dropped direction, ηTh


def second_moment(space: Tensor, chunk: int = 1 << 14) -> Tensor:
    """ZᵀZ / n in float64, (d, d), from Z (n, d)."""
    total = 0
    for part in space.split(chunk):
        part = part.double()
        total = total + part.T @ part
    return total / len(space)


def coarse_descent(space: Tensor, steps: int, lr: float) -> tuple[int, float]:
    """The coarse steps and their learning rate for heads on Z (n, d) with the constant column.

    Raises:
        ValueError: if a coarse step could overshoot, or there are too few steps to coarsen.
    """
    error = 0.27 * (COARSENESS - 1) / steps
    if steps % COARSENESS or error > COARSE_ERROR:
        raise ValueError(
            f"inner_steps={steps}: inner='coarse' needs a multiple of {COARSENESS}, and at least "
            f"{-(-0.27 * (COARSENESS - 1) // COARSE_ERROR):.0f} for an error of {COARSE_ERROR}"
        )
    curvature = torch.linalg.eigvalsh(second_moment(space))[-1].item() / 2
    if COARSENESS * lr * curvature > 1:
        raise ValueError(
            f"inner_lr={lr}: a coarse step of {COARSENESS} × inner_lr could overshoot where the "
            f"head's error has a curvature of up to {curvature:.3g}; their product must not be "
            "above 1. Take inner='exact' or bring space 1 to a smaller scale"
        )
    return steps // COARSENESS, lr * COARSENESS


def low_rank(space: Tensor, rank: int, steps: int, lr: float) -> HeadSpace:
    """Z (n, d + 1), with the constant column, whose leading `rank` directions heads learn in.

    Raises:
        ValueError: if `rank` is more than d, or a dropped direction is one that heads learn in.
    """
    rows = space[:, :-1]
    dim = rows.shape[1]
    if rank > dim:
        raise ValueError(f"rank={rank}, but space 1 has {dim} dimensions")
    values, vectors = torch.linalg.eigh(second_moment(rows))  # ascending
    learnt = lr * steps * values / 2  # ηTh of each direction
    dropped = learnt[: dim - rank]
    if rank < dim and dropped[-1] > DROPPED:
        enough = dim - int((learnt <= DROPPED).sum())
        raise ValueError(
            f"rank={rank} drops a direction in which {inner_words(steps, lr)} would come "
            f"{dropped[-1].item():.3g} of the way to the optimum; at most {DROPPED} is accepted, "
            f"which rank={enough} keeps to"
        )
    basis = vectors[:, dim - rank :].to(space.dtype)
    return HeadSpace(with_constant(rows @ basis), space)


def inner_words(steps: int, lr: float) -> str:
    return f"{steps} inner steps of {lr:.3g}"

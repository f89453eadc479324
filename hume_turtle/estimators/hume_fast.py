"""HUME's fast recipe, and the two approximations of the inner loop that it is made of.

The objective tells good labelings from bad (over restarts it correlates with accuracy at about
−0.9), while one run of the published schedule ends where its start happens to lead. So time is
better spent on more starts than on averaging many subsets or on polishing one start: eight
restarts with one subset each, solved together, of which the lowest objective is kept; twice the
published learning rate; annealing late and short, after which nothing moves. The inner loop takes
coarse steps and sees the rank that the data permit. No true label takes part.

Both approximations come with the bound that says when they may be used. The head's loss, a mean
cross-entropy over n rows, has the Hessian
`(1/n) Σ_i (diag p_i − p_i p_iᵀ) ⊗ z_i z_iᵀ`. For every distribution p, `diag p − p pᵀ` has no
eigenvalue above 1/2 (Böhning, 1992), so along a principal direction of Z whose second moment
ZᵀZ / n is λ the curvature h is at most λ / 2. T steps of learning rate η leave `(1 − ηh)^T` of the
way to the optimum.

*Coarse steps*: T/k steps of kη. With x = ηTh the two leave parts that differ by about
`(k − 1) x² e^{−x} / (2T)`, whatever h is by at most 0.27 (k − 1) / T (at x = 2), as long as no step
overshoots: kηh ≤ 1.

*Low rank*: the change of a head sees only the leading principal directions of Z. In a dropped
direction of curvature h the head would have come `1 − (1 − ηh)^T ≤ ηTh` of the way. What the
head's start contributes is kept whole, `Z W_0`: it is random in all directions alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hume_turtle.core.precision import pick_precision
from hume_turtle.core.task_encoders import with_constant
from hume_turtle.core.unrolled import HeadSpace

COARSENESS = 10  # k, steps that one coarse step stands for
COARSE_ERROR = 0.025  # accepted 0.27 (k − 1) / T, at most a fortieth of the way
DROPPED = 0.05  # accepted ηTh of a dropped direction
SETTLED = 10  # last outer iterations, over which a restart's objective is averaged


class Schedule(NamedTuple):
    """How the objective is minimised."""

    outer_steps: int
    n_subsets: int
    outer_lr: float
    anneal_at: tuple[int, ...]
    restarts: int = 1  # of each run; the one with the lowest objective is kept


FAST = Schedule(outer_steps=200, n_subsets=1, outer_lr=2e-3, anneal_at=(140, 170), restarts=8)

# What the recipe decides itself.
SET_BY_RECIPE = (
    *("outer_steps", "n_subsets", "outer_lr", "anneal"),
    *("inner_steps", "inner_lr", "inner", "rank"),
)


def lowest(loss: np.ndarray, restarts: int) -> np.ndarray:
    """Of every run's restarts, which lie side by side in (T, R), the one that ended lowest."""
    end = loss[-SETTLED:].mean(0).reshape(-1, restarts)
    return np.arange(len(end)) * restarts + np.nan_to_num(end, nan=np.inf).argmin(1)


class Directions:
    """Principal directions of a space, and bounds of the head's curvature along them.

    Args:
        space: Z (n, d + 1), with the constant column.

    Attributes:
        curvatures: (d,) float64, ascending: `λ / 2`.
        vectors: (d, d), a direction a column.
    """

    def __init__(self, space: Tensor, chunk: int = 1 << 12):
        moment = 0
        for part in space[:, :-1].split(chunk):
            part = part.double()
            moment = moment + part.T @ part / len(space)
        values, self.vectors = torch.linalg.eigh(moment)
        self.curvatures = values / 2

    def steps_fit(self, lr: float) -> bool:
        """Whether no step of this learning rate can overshoot; the constant adds at most 1 to λ."""
        return bool(lr * (self.curvatures[-1] + 0.5) <= 1)

    def smallest_rank(self, steps: int, lr: float) -> int:
        """How many directions a head of so many steps learns in."""
        return int((steps * lr * self.curvatures > DROPPED).sum())

    def project(self, space: Tensor, rank: int) -> HeadSpace:
        """Z (n, d + 1) whose leading `rank` directions heads learn in; their starts see all."""
        basis = self.vectors[:, len(self.vectors) - rank :].to(space.dtype)
        return HeadSpace(with_constant(space[:, :-1] @ basis), space)


def coarse_steps(directions: Directions, steps: int, lr: float) -> tuple[int, float]:
    """The number and the learning rate of coarse steps in place of `steps` of `lr`.

    Raises:
        ValueError: if a coarse step could overshoot, or too few steps are left.
    """
    fewest = 0.27 * (COARSENESS - 1) / COARSE_ERROR
    if steps % COARSENESS or steps < fewest:
        raise ValueError(
            f"inner_steps={steps}: inner='coarse' needs a multiple of {COARSENESS}, and at least "
            f"{fewest:.0f} for an error of at most {COARSE_ERROR}"
        )
    if not directions.steps_fit(COARSENESS * lr):
        raise ValueError(
            f"inner_lr={lr}: a coarse step of {COARSENESS} × inner_lr could overshoot in space 1, "
            f"where the head's error has curvatures of up to {directions.curvatures[-1]:.3g}: "
            "their product must be at most 1. Take inner='exact' or a smaller scale"
        )
    return steps // COARSENESS, lr * COARSENESS


def low_rank(directions: Directions, space: Tensor, rank: int, steps: int, lr: float) -> HeadSpace:
    """Z (n, d + 1) whose leading `rank` directions heads learn in.

    Raises:
        ValueError: if `rank` is more than d, or drops a direction that heads would learn in.
    """
    dim = len(directions.curvatures)
    if rank > dim:
        raise ValueError(f"rank={rank}: space 1 has {dim} dimensions")
    enough = directions.smallest_rank(steps, lr)
    if rank < enough:
        way = steps * lr * directions.curvatures[dim - rank - 1]
        raise ValueError(
            f"rank={rank} drops a direction in which {steps} inner steps of {lr} may come "
            f"{way:.3g} of the way to the optimum; rank={enough} keeps that below {DROPPED}"
        )
    return directions.project(space, rank)


def inner_loops(space2: Tensor, models: list) -> list[tuple[HeadSpace, int, float]]:
    """What each `Hume` lets its heads see of Z_2 (n, d_2 + 1), their steps and learning rate."""
    approximate = [m.recipe == "fast" or m.inner == "coarse" or m.rank is not None for m in models]
    directions = Directions(space2) if any(approximate) else None
    loops = []
    for model in models:
        steps, lr, inner, rank = model.inner_steps, model.inner_lr, model.inner, model.rank
        if model.recipe == "fast":
            inner = "coarse" if directions.steps_fit(COARSENESS * lr) else "exact"
            rank = max(1, directions.smallest_rank(steps, lr))
        space = HeadSpace(space2)
        if rank is not None:
            space = low_rank(directions, space2, rank, steps, lr)
        if inner == "coarse":
            steps, lr = coarse_steps(directions, steps, lr)
        loops.append((space.to(pick_precision(model.precision, space2.device)), steps, lr))
    return loops

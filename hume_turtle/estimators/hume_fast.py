"""HUME's fast recipe: the same objective, minimised by another schedule.

The objective tells good labelings from bad (over restarts it correlates with accuracy at about
−0.9), while one run of the published schedule ends where its start happens to lead. So time is
better spent on more starts than on averaging many subsets or on polishing one start: eight
restarts with one subset each, solved together, of which the lowest objective is kept; twice the
published learning rate; annealing late and short, after which nothing moves. The inner loop takes
coarse steps and the rank that the data permit (`approximations.py`). No true label takes part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

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


def restart_seed(seed: int, restart: int) -> int:
    """The run's own, then others of 32 bits, which is all that the CPU's generator takes."""
    if restart == 0:
        return seed
    return int(np.random.SeedSequence((seed, restart)).generate_state(1)[0])


def lowest(loss: np.ndarray, restarts: int) -> np.ndarray:
    """Of every run's restarts, which lie side by side in (T, R), the one that ended lowest."""
    end = loss[-SETTLED:].mean(0).reshape(-1, restarts)
    return np.arange(len(end)) * restarts + np.nan_to_num(end, nan=np.inf).argmin(1)

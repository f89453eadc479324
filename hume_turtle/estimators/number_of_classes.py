"""The number of classes chosen without labels.

For every candidate C, TURTLE's fast recipe finds a labeling at γ = 10, and `held_out_share` says
which part of it linear classifiers of other rows do not explain. That part grows with C even where
there is nothing to find, about like a power of C: a straight line in the logarithms, fitted so that
single points hardly move it (Theil and Sen), is the trend. The number is the candidate that lies
farthest below its trend: it has the deepest dip.

A second opinion: two fits to disjoint halves of the rows label all rows, and should agree (adjusted
Rand index). The number is called certain where the dip is deep, no other comes near it, and hardly
any other number of classes agrees better. Both look for classes of similar size, as γ = 10 does;
where sizes differ much, no dip stands out, and the number is called uncertain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import theilslopes
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from hume_turtle.checks import check_number, check_spaces
from hume_turtle.core.batching import as_tensor
from hume_turtle.core.precision import pick_device
from hume_turtle.estimators.base import threads_for
from hume_turtle.estimators.labeling import hard_labels
from hume_turtle.estimators.projection import Projection, draw_rows
from hume_turtle.estimators.turtle_fast import DIM, Run, solve_fast
from hume_turtle.estimators.unexplained import held_out_share
from hume_turtle.progress import progress

if TYPE_CHECKING:
    import pandas as pd

MOST = 40  # classes that are tried where none are named
ROWS_EACH = 10  # of a class, where none are named; so many rows bear so many classes
SAMPLE = 4000  # rows that the candidates are fitted to
GAMMA = 10.0
# Restarts and finalists of each candidate's fit to all rows of the sample, and to halves.
WHOLE, HALF = (8, 2), (4, 1)
SPLITS = 2  # ways to halve the rows; one does for a whole sample
# What is called certain: a share at least a fifth below its trend, every dip that is no neighbour's
# less than 0.6 as deep, and at most 0.1 less agreement than the best.
DEEP, RIVAL, AGREEING = 0.2, 0.6, 0.1


@dataclass(frozen=True, eq=False)
class NumberOfClasses:
    """The candidates for the number of classes and what speaks for each; all arrays are (m,).

    Attributes:
        candidates: numbers of classes, ascending.
        unexplained: part of the labeling that classifiers of other rows do not explain, a fraction.
        trend: that part as it would be expected, a fraction.
        agreement: adjusted Rand index of fits to disjoint halves of the rows, the mean of splits.
        rows: how many rows were looked at.
    """

    candidates: np.ndarray
    unexplained: np.ndarray
    trend: np.ndarray
    agreement: np.ndarray
    rows: int

    @property
    def dip(self) -> np.ndarray:
        """How far below its trend each lies: log(trend / unexplained)."""
        return np.log(self.trend / self.unexplained)

    @property
    def chosen(self) -> int:
        """The candidate with the deepest dip."""
        return int(self.candidates[np.argmax(self.dip)])

    @property
    def certain(self) -> bool:
        """Whether the dip stands out and the halves agree about it."""
        return not self._doubts()

    @property
    def reason(self) -> str:
        """What speaks for the chosen number and what against it, in sentences."""
        at, below = int(np.argmax(self.dip)), 1 - np.exp(-self.dip.max())
        text = (
            f"{self.chosen} classes: linear classifiers of other rows leave "
            f"{self.unexplained[at]:.1%} of the labeling unexplained, {below:.0%} less than the "
            f"trend over {self.candidates[0]} to {self.candidates[-1]} classes, and fits to halves "
            f"of the rows agree (adjusted Rand index) at {self.agreement[at]:.2f}."
        )
        return " ".join([text, *self._doubts()])

    def _doubts(self) -> list[str]:
        dip, at = self.dip, int(np.argmax(self.dip))
        others = np.abs(self.candidates - self.chosen) > 1
        doubts = []
        if dip[at] < DEEP:
            doubts.append("No number of classes stands out from the trend.")
        if others.any() and dip[others].max() > RIVAL * dip[at]:
            rival = self.candidates[others][np.argmax(dip[others])]
            doubts.append(f"{rival} classes stand out nearly as much.")
        best = int(np.argmax(self.agreement))
        if self.agreement[at] < self.agreement[best] - AGREEING:
            number, value = self.candidates[best], self.agreement[best]
            doubts.append(f"The halves agree better about {number} classes ({value:.2f}).")
        return doubts

    def table(self) -> pd.DataFrame:
        """One row per candidate: n_classes, unexplained, trend, dip, agreement."""
        import pandas as pd

        columns = {"unexplained": self.unexplained, "trend": self.trend, "dip": self.dip}
        return pd.DataFrame({"n_classes": self.candidates, **columns, "agreement": self.agreement})


def select_n_classes(
    spaces, candidates: Iterable[int] | None = None, *, seed: int = 0, device="auto"
) -> NumberOfClasses:
    """Try numbers of classes and say which one the spaces show, and how sure that is.

    Args:
        spaces: as in `Turtle.fit`, at any scale. Of more than 4000 rows a sample is looked at.
        candidates: numbers of classes, at least 2, such as `range(2, 21)`; by default 2 to 40, but
            at most a tenth of the rows. The trend is told from all of them, so give a range that
            is wide: with fewer than five the number is a guess.
        seed: of the fits and the halves.
        device: "auto" (the GPU where there is one), "cpu", "cuda", ...

    Raises:
        ValueError: for bad spaces or candidates, and where there are fewer than four rows for each
            of the most classes, before any fit.
    """
    spaces = check_spaces(spaces)
    candidates = check_candidates(candidates, len(spaces[0]))
    check_number("seed", seed, 0, integer=True)
    device = pick_device(device)
    sample = draw_rows(len(spaces[0]), SAMPLE)
    rows = [as_tensor(space)[sample].to(device, torch.float32) for space in spaces]
    rows = [Projection(space, max(DIM[0], candidates[-1]))(space) for space in rows]
    splits = SPLITS if len(sample) < SAMPLE else 1
    products = rows[0].numel() * WHOLE[0] * candidates[-1]
    total = (1 + 2 * splits) * sum(candidates)
    with threads_for(products), progress(total=total, label="number of classes") as bar:
        unexplained = _fits(rows, candidates, seed, bar)
        agreement = np.mean([_agreement(rows, candidates, seed + i, bar) for i in range(splits)], 0)
    numbers = np.array(candidates)
    trend = power_law(numbers, unexplained)
    return NumberOfClasses(numbers, unexplained, trend, agreement, len(sample))


def check_candidates(candidates: Iterable[int] | None, n: int) -> list[int]:
    """Distinct numbers of classes in ascending order; by default those that n rows bear."""
    if candidates is None:
        candidates = range(2, max(2, min(MOST, n // ROWS_EACH)) + 1)
    candidates = sorted({*candidates})
    if not candidates:
        raise ValueError("candidates is empty: name numbers of classes, such as range(2, 21)")
    for number in candidates:
        check_number("candidates", number, 2, integer=True)
    if 4 * candidates[-1] > n:
        raise ValueError(
            f"{n} rows are too few to compare up to {candidates[-1]} classes: "
            f"{4 * candidates[-1]} are needed"
        )
    return [int(number) for number in candidates]


def power_law(numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The trend (m,) of positive values (m,): `a numbers^b` by Theil and Sen, in logarithms."""
    if len(numbers) < 3:
        return np.full(len(values), np.exp(np.log(values).mean()))
    slope, intercept, *_ = theilslopes(np.log(values), np.log(numbers))
    return np.exp(intercept) * numbers**slope


def alike(candidates: list[int]) -> Iterator[list[int]]:
    """Groups that are solved together: padded to the largest, a fit costs half as much again."""
    group: list[int] = []
    for number in candidates:
        if group and number > 1.5 * group[0] + 1:
            yield group
            group = []
        group.append(number)
    yield group


def solved(rows: list[Tensor], candidates: list[int], seed: int, sizes: tuple[int, int], bar):
    """Group by group: its candidates, and their heads, K tensors (R, C, d_k + 1).

    sizes: restarts and finalists of each candidate.
    """
    for group in alike(candidates):
        runs = [Run(number, GAMMA, seed) for number in group]
        heads, _ = solve_fast(rows, runs, rows[0].device, *sizes, quiet=True)
        bar.update(sum(group))
        yield group, heads


def _fits(rows: list[Tensor], candidates: list[int], seed: int, bar) -> np.ndarray:
    """`held_out_share` (m,) of each candidate's labeling."""
    shares = []
    for group, heads in solved(rows, candidates, seed, WHOLE, bar):
        labels = torch.from_numpy(hard_labels(heads, rows)).to(rows[0].device)
        shares.append(held_out_share(rows, labels, group).cpu().numpy())
    # A labeling of one class explains nothing; on rows that are copies a share may round to 0.
    return np.nan_to_num(np.concatenate(shares), nan=1.0, posinf=1.0).clip(1e-6)


def _agreement(rows: list[Tensor], candidates: list[int], seed: int, bar) -> np.ndarray:
    """Adjusted Rand index (m,) of the labels that fits to two halves of the rows give all rows."""
    n = len(rows[0])
    order = np.random.default_rng(seed).permutation(n)
    both = []
    for half in (order[: n // 2], order[n // 2 :]):
        part = [space[torch.from_numpy(np.sort(half))] for space in rows]
        fits = solved(part, candidates, seed, HALF, bar)
        both.append(np.concatenate([hard_labels(heads, rows) for _, heads in fits]))
    return np.array([adjusted_rand_score(*pair) for pair in zip(*both)])

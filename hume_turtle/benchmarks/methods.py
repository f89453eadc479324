"""What the benchmark fits, the plain references, the estimators and k-means; how each is timed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from hume_turtle.core.reference import (
    reference_hume,
    reference_turtle,
    reference_turtle_labels,
)
from hume_turtle.estimators.kmeans import kmeans
from hume_turtle.pipeline.fit import ESTIMATORS

Spaces = list[np.ndarray]
# (spaces, outer iterations, seed) to labels (n,), or to None where nobody looks at them. None for
# the outer iterations: as many as the method takes by itself.
Fit = Callable[[Spaces, "int | None", int], "np.ndarray | None"]


@dataclass(frozen=True)
class Method:
    """How to fit, and how the fit is timed.

    Attributes:
        fit: see `Fit`.
        steps: outer iterations of one repetition, whose mean is reported; None times a whole fit.
        overhead: whether a fit does more than its outer iterations (checks, copies, labels); it is
            then left out, by subtracting the seconds of a fit of one iteration.
        scale: what the seconds of an iteration are multiplied by: 1000 for a whole run of 1000
            iterations of which `steps` are timed, 1/16 for one of 16 batched runs.
        precision: of the operands of its products.
        repeats: repetitions, with seeds 0, 1, ...; the median is reported.
        note: what else a reader of the number must know.
    """

    fit: Fit
    steps: int | None = None
    overhead: bool = True
    scale: float = 1.0
    precision: str = "fp32"
    repeats: int = 5
    note: str = ""

    @property
    def timed(self) -> str:
        """What a repetition times, in words."""
        if self.steps is None:
            words = "a whole fit"
        else:
            words = f"{self.steps} outer iteration" + "s" * (self.steps > 1)
            words += f" of {self.scale:.0f}" * (self.scale > 1)
        return f"{words}; {self.note}" if self.note else words


def now(device: str | torch.device) -> float:
    """Seconds on the clock when the device has done all it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def plain_turtle(C: int, device: str, warm_start: bool = False) -> Fit:
    """The reference; it labels the rows after a whole run only."""

    def fit(spaces, steps, seed):
        settings = {"warm_start": warm_start, "seed": seed, "device": device}
        run = reference_turtle(spaces, C, outer_steps=steps or 6000, **settings)
        (encoder,) = deque(run, maxlen=1)
        return reference_turtle_labels(encoder, spaces) if steps is None else None

    return fit


def converged_turtle(C: int, device: str, most: int) -> Fit:
    """The reference's warm start, stopped as soon as the labels of 5000 rows have converged.

    They are compared every 50 outer iterations: three changes in a row of under 0.1 %.
    After `most` iterations it stops in any case.
    """

    def fit(spaces, steps, seed):
        n = len(spaces[0])
        rows = np.random.default_rng(0).choice(n, min(n, 5000), replace=False)
        few, before, unchanged = [z[rows] for z in spaces], np.full(len(rows), -1), 0
        settings = {"warm_start": True, "seed": seed, "device": device}
        run = reference_turtle(spaces, C, outer_steps=steps or most, **settings)
        for t, encoder in enumerate(run, start=1):
            if t % 50 == 0:
                labels = reference_turtle_labels(encoder, few)
                unchanged = unchanged + 1 if np.mean(labels != before) < 1e-3 else 0
                before = labels
            if unchanged == 3:
                break
        return reference_turtle_labels(encoder, spaces)

    return fit


def plain_hume(C: int, device: str, **settings) -> Fit:
    """The reference, for its seconds only: a whole run takes hours."""

    def fit(spaces, steps, seed):
        run = reference_hume(*spaces, C, outer_steps=steps, seed=seed, device=device, **settings)
        deque(run, maxlen=0)

    return fit


def estimator(method: str, C: int, device: str, runs: int = 1, **settings) -> Fit:
    """TURTLE or HUME; of batched runs, which differ in their seeds, the labels of the first."""

    def fit(spaces, steps, seed):
        model = ESTIMATORS[method](C, device=device, **with_steps(settings, steps))
        seeds = [{"seed": seed + r} for r in range(runs)]
        return model.fit_many(spaces, seeds)[0].labels_

    return fit


turtle, hume = partial(estimator, "turtle"), partial(estimator, "hume")


def with_steps(settings: dict, steps: int | None) -> dict:
    """The fast recipe decides its outer iterations itself."""
    own = steps is None or settings.get("recipe") == "fast"
    return settings if own else {**settings, "outer_steps": steps}


def k_means(C: int) -> Fit:
    """scikit-learn's, the best of ten starts, or of as many as are given for outer iterations."""
    return lambda spaces, starts, seed: kmeans(spaces, C, seed=seed, n_init=starts or 10)

"""What a fit shows of itself while it runs: `callback=` of `fit`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Snapshot:
    """A fit in one outer iteration, before its outer step; a callback gets one in each.

    The labeling of all rows is computed when it is asked for, so that iterations which a callback
    does not look at cost next to nothing.

    Attributes:
        iteration: of the outer loop, from 0.
        terms: what `history_` keeps: for TURTLE `loss`, `cross_entropy` and `entropy`, for HUME
            `loss`, `train_loss`, `test_loss` and `entropy`, averaged over subsets.
        heads: the task encoder's, as `heads_`: K arrays (C, d_k + 1) for TURTLE, one (C, d_1) for
            HUME.
        inner_heads: for TURTLE K arrays (C, d_k + 1), trained on this labeling. None for HUME,
            which trains other heads for every subset and keeps none.
    """

    iteration: int
    terms: dict[str, float]
    heads: list[np.ndarray]
    inner_heads: list[np.ndarray] | None
    _label: Callable[[], np.ndarray] = field(repr=False)

    @property
    def labeling(self) -> np.ndarray:
        """τ of all rows of the fit, (n, C) float32."""
        return self._label()

    @property
    def labels(self) -> np.ndarray:
        """argmax τ of all rows of the fit, (n,) int64."""
        return self.labeling.argmax(axis=1)


def check_callback(callback, model) -> None:
    """Raise ValueError unless a callback can be called by the fit of this estimator."""
    if callback is None:
        return
    if not callable(callback):
        raise ValueError(f"callback={callback!r} is not a function of a Snapshot")
    if model.recipe != "published" or getattr(model, "n_runs", 1) != 1:
        raise ValueError(
            "a callback follows one run of recipe='published': the fast recipe and n_runs > 1 "
            "solve many at once"
        )

"""Settings chosen without labels: fit a grid of them, score every labeling, take the best.

TURTLE's paper chooses inner_lr, outer_lr and cold or warm start by the highest generalization
score: how well linear classifiers learn the labeling that a setting found. No true label is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import ParameterGrid

from hume_turtle.estimators.scores import generalization_score

if TYPE_CHECKING:
    import pandas as pd

    from hume_turtle.estimators.base import LabelingEstimator


@dataclass(frozen=True)
class Selection:
    """The fits of a grid of settings and their scores, all in the grid's order.

    Attributes:
        settings: R dicts, what each fit sets differently.
        fits: R fitted estimators.
        scores: (R,), higher is better.
    """

    settings: list[dict]
    fits: list[LabelingEstimator]
    scores: np.ndarray

    @property
    def chosen(self) -> LabelingEstimator:
        """The fit with the highest score; of equals the first."""
        return self.fits[int(np.argmax(self.scores))]

    @property
    def labelings(self) -> np.ndarray:
        """The hard labels of every fit, (R, n)."""
        return np.stack([fit.labels_ for fit in self.fits])

    def table(self) -> pd.DataFrame:
        """One row per fit: its settings, `score`, and `loss`, the last value of the objective."""
        import pandas as pd

        loss = [np.mean(fit.history_["loss"][-1]) for fit in self.fits]
        return pd.DataFrame(self.settings).assign(score=self.scores, loss=loss)


def select(estimator, spaces, grid, *, score=generalization_score) -> Selection:
    """Fit every setting of a grid on the same rows, as one batch, and score their labelings.

    TURTLE's choice of learning rates and start, by the generalization score:

        grid = {"warm_start": [True, False], "inner_lr": [1e-3, 1e-2], "outer_lr": [1e-3, 1e-2]}
        labels = select(Turtle(10), spaces, grid).chosen.labels_

    HUME's runs are compared in φ2 alone:

        from hume_turtle.estimators.scores import cross_validation_score

        select(Hume(10), spaces, {"gamma": [1, 10]},
               score=lambda spaces, labelings: cross_validation_score(spaces[1], labelings))

    The grid may name any setting but `device`. It may name `n_classes`, but fewer classes are
    easier to learn: that needs a score which is comparable between different numbers.

    Args:
        estimator: a `Turtle` or `Hume`, which gives the settings that the grid does not name; it
            stays as it is.
        spaces: as in its `fit`.
        grid: dict of name to list of values, or a list of such dicts (scikit-learn's
            `ParameterGrid`).
        score: function of (spaces, labelings (R, n)) that returns (R,) scores, higher is better.

    Raises:
        ValueError: an empty grid, a name or value that the estimator refuses, or bad spaces,
            before any fit; scores that are not one number for each fit.
    """
    settings = combinations_of(grid)
    fits = estimator.fit_many(spaces, settings)
    scores = np.asarray(score(spaces, np.stack([fit.labels_ for fit in fits])), dtype=float)
    if scores.shape != (len(fits),) or np.isnan(scores).any():
        raise ValueError(f"score must return {len(fits)} numbers, one per labeling, not {scores}")
    return Selection(settings, fits, scores)


def combinations_of(grid) -> list[dict]:
    """Every combination of a grid's values, as dicts; ValueError where there is none."""
    try:
        settings = list(ParameterGrid(grid))
    except TypeError as error:
        raise ValueError(f"grid is not a dict of lists: {error}") from None
    if not any(settings):
        raise ValueError("grid is empty: name at least one setting and its values")
    return settings

"""The linear probe: logistic regression on given labels, the supervised ceiling."""

from __future__ import annotations

import numpy as np

from hume_turtle.checks import check_choice
from hume_turtle.estimators.base import threads_for
from hume_turtle.estimators.logistic import Design, fit_head, predict_head
from hume_turtle.estimators.rows import JoinedRows
from hume_turtle.estimators.scores import labels_of_rows

GRIDS = {"quick": np.logspace(-4, 4, 9), "published": np.logspace(-6, 6, 96)}  # values of C


class LinearProbe:
    """L2-regularised logistic regression, its inverse penalty C chosen on held-out rows.

    After CLIP's protocol: fit on 1 − `held_out` of the training rows with every C of `grid`, keep
    the C with the best accuracy on the others (of equals the smallest), refit on all the rows.
    `grid` is "published" (the 96 values of CLIP and TURTLE), "quick" (9 of them, from 1e-4 to
    1e4), or values of C; a single one skips the choice. The objective is scikit-learn's,
    `C Σ_i CE(W z_i + b, y_i) + ||W||² / 2`, for two classes on the difference of the two rows of
    W. The spaces are joined as `JoinedRows`; where they are large, memory maps too, each step of
    the fit reads them block by block. float64 is fitted in float64, the rest in float32.
    """

    def __init__(self, *, grid="quick", held_out: float = 0.2, seed: int = 0, device="auto"):
        self.grid, self.held_out, self.seed, self.device = grid, held_out, seed, device

    def fit(self, spaces, labels) -> LinearProbe:
        """Learn `labels` (n,), any integers, from the rows (n, d).

        Sets `C_`, `coef_` (C, d), `intercept_` (C,), `classes_` (C,) sorted, and `scores_`, the
        held-out accuracy of each value of the grid, ascending. Raises ValueError for bad spaces
        or labels, a single class, a grid without values or with one that is not positive, and a
        split that leaves one side empty.
        """
        grid = self._values()
        rows = JoinedRows(spaces, self.device)
        labels = labels_of_rows(rows, labels)
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise ValueError(f"a probe needs two classes, all labels are {self.classes_[0]}")
        with threads_for(rows.size * len(self.classes_)):
            self.scores_ = self._sweep(rows, labels, grid)
            self.C_ = grid[int(np.argmax(self.scores_))]
            self.coef_, self.intercept_ = fit_head(Design.of(rows, labels), self.C_)
        return self

    def _values(self) -> list[float]:
        """The values of C, ascending."""
        if isinstance(self.grid, str):
            check_choice("grid", self.grid, tuple(GRIDS))
        grid = GRIDS[self.grid] if isinstance(self.grid, str) else self.grid
        grid = sorted(float(C) for C in np.atleast_1d(grid))
        if not grid or not grid[0] > 0:
            raise ValueError(f"grid must hold positive values, not {self.grid}")
        return grid

    def _sweep(self, rows: JoinedRows, labels, grid) -> np.ndarray:
        """Accuracy on the rows held out (grid,), each fit starting where the last one ended."""
        if len(grid) == 1:  # nothing to choose
            return np.full(1, np.nan)
        order = np.random.default_rng(self.seed).permutation(len(labels))
        size = round(self.held_out * len(labels))
        if not 0 < size < len(labels):
            raise ValueError(f"held_out = {self.held_out} of {len(labels)} rows: one side is empty")
        test, train = order[:size], order[size:]
        if not rows.small:  # read memory maps in order
            test, train = np.sort(test), np.sort(train)
        design = Design.of(rows.take(train), labels[train])
        head, scores = None, []
        for C in grid:
            head = fit_head(design, C, start=head)
            predicted = predict_head(rows.take(test), design.classes, *head)
            scores.append((predicted == labels[test]).mean())
        return np.array(scores)

    def predict(self, spaces) -> np.ndarray:
        """The most probable label (n,) of any rows of the same spaces."""
        rows = JoinedRows(spaces)
        if rows.shape[1] != self.coef_.shape[1]:
            raise ValueError(
                f"the probe was fitted on {self.coef_.shape[1]} columns, got {rows.shape[1]}"
            )
        return predict_head(rows, self.classes_, self.coef_, self.intercept_)


def linear_probe(spaces, labels, **settings) -> LinearProbe:
    """A fitted supervised linear probe of one or joined spaces; see `LinearProbe`."""
    return LinearProbe(**settings).fit(spaces, labels)

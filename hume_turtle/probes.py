"""What TURTLE and HUME are measured against, and the scores that choose between labelings.

- k-means: clustering without labels, in one space or in joined spaces.
- Linear probe: logistic regression on given labels, the supervised ceiling.
- Generalization score (TURTLE) and cross-validation score (HUME): how well a linear model learns
  a labeling from other rows. They need no true label, so they may choose settings.

All logistic regressions have scikit-learn's objective, on any device; see `logistic`.
"""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from hume_turtle.logistic import Design, fit_head, fit_parts, predict_head
from hume_turtle.metrics import as_labels

GRID = tuple(float(c) for c in np.logspace(-4, 4, 9))
SMALL = 2**24  # multiplications in a pass over the rows below which threads cost more than they win


def join_spaces(spaces) -> np.ndarray:
    """One feature matrix (n, Σ d_k) of one or several spaces of the same rows.

    One space (an array, or a list of one) is taken raw. Of several, each space's rows are scaled
    to unit length before they are laid side by side, so that no space outweighs another.
    float64 stays, everything else becomes float32. Raises ValueError for an empty list, arrays
    that are not two-dimensional, different numbers of rows, and NaN or infinite values.
    """
    spaces = _check_spaces(spaces)
    if len(spaces) == 1:
        return spaces[0]
    norms = [np.linalg.norm(space, axis=1, keepdims=True) for space in spaces]
    return np.hstack(
        [z / np.where(norm > 0, norm, 1) for z, norm in zip(spaces, norms, strict=True)]
    )


class KMeansBaseline:
    """k-means in one or joined spaces (see `join_spaces`); the best of `n_init` starts."""

    def __init__(self, n_classes: int, *, seed: int = 0, n_init: int = 10):
        self.n_classes, self.seed, self.n_init = n_classes, seed, n_init

    def fit(self, spaces) -> KMeansBaseline:
        """Cluster the rows; `labels_` (n,) holds their clusters.

        Raises ValueError for bad spaces, fewer than 2 classes, and fewer rows than classes.
        """
        features = join_spaces(spaces)  # (n, d)
        if not 2 <= self.n_classes <= len(features):
            raise ValueError(f"n_classes is {self.n_classes}: need 2 to {len(features)} (the rows)")
        model = KMeans(self.n_classes, n_init=self.n_init, random_state=self.seed)
        # The sums of more than two threads are added in a random order, which changes bits.
        threads = 1 if features.size * self.n_classes < SMALL else 2
        with threadpool_limits(limits=threads, user_api="openmp"):
            self.model_ = model.fit(features)
        self.labels_ = self.model_.labels_.astype(np.int64)
        return self

    def predict(self, spaces) -> np.ndarray:
        """The nearest cluster (n,) of any rows of the same spaces."""
        features = join_spaces(spaces).astype(self.model_.cluster_centers_.dtype, copy=False)
        return self.model_.predict(features).astype(np.int64)


def kmeans(spaces, n_classes: int, *, seed: int = 0, n_init: int = 10) -> np.ndarray:
    """Cluster labels (n,) by k-means in one or joined spaces; see `KMeansBaseline`."""
    return KMeansBaseline(n_classes, seed=seed, n_init=n_init).fit(spaces).labels_


class LinearProbe:
    """L2-regularised logistic regression, its inverse penalty C chosen on held-out rows.

    After CLIP's protocol: fit on 1 − `held_out` of the training rows with every C of `grid`, keep
    the C with the best accuracy on the others (of equals the smallest), refit on all the rows.
    A grid of one value skips the choice. The objective is scikit-learn's,
    `C Σ_i CE(W z_i + b, y_i) + ||W||² / 2`, for two classes on the difference of the two rows of
    W. The spaces are joined by `join_spaces`. float64 is fitted in float64, the rest in float32.
    """

    def __init__(self, *, grid=GRID, held_out: float = 0.2, seed: int = 0, device="auto"):
        self.grid, self.held_out, self.seed, self.device = grid, held_out, seed, device

    def fit(self, spaces, labels) -> LinearProbe:
        """Learn `labels` (n,), any integers, from the rows (n, d).

        Sets `C_`, `coef_` (C, d), `intercept_` (C,), `classes_` (C,) sorted, and `scores_`, the
        held-out accuracy of each value of the grid, ascending. Raises ValueError for bad spaces
        or labels, a single class, a grid without values or with one that is not positive, and a
        split that leaves one side empty.
        """
        features, labels = _rows_and_labels(spaces, labels)
        grid = sorted(float(C) for C in np.atleast_1d(self.grid))
        if not grid or not grid[0] > 0:
            raise ValueError(f"grid must hold positive values, not {self.grid}")
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise ValueError(f"a probe needs two classes, all labels are {self.classes_[0]}")
        with _threads_for(features.size * len(self.classes_)):
            self.scores_ = self._sweep(features, labels, grid)
            self.C_ = grid[int(np.argmax(self.scores_))]
            design = Design.of(features, labels, self.device)
            self.coef_, self.intercept_ = fit_head(design, self.C_)
        return self

    def _sweep(self, features, labels, grid) -> np.ndarray:
        """Accuracy on the rows held out (grid,), each fit starting where the last one ended."""
        if len(grid) == 1:  # nothing to choose
            return np.full(1, np.nan)
        order = np.random.default_rng(self.seed).permutation(len(labels))
        size = round(self.held_out * len(labels))
        if not 0 < size < len(labels):
            raise ValueError(f"held_out = {self.held_out} of {len(labels)} rows: one side is empty")
        test, train = order[:size], order[size:]
        design = Design.of(features[train], labels[train], self.device)
        head, scores = None, []
        for C in grid:
            head = fit_head(design, C, start=head)
            predicted = predict_head(features[test], design.classes, *head)
            scores.append((predicted == labels[test]).mean())
        return np.array(scores)

    def predict(self, spaces) -> np.ndarray:
        """The most probable label (n,) of any rows of the same spaces."""
        features = join_spaces(spaces)
        if features.shape[1] != self.coef_.shape[1]:
            raise ValueError(
                f"the probe was fitted on {self.coef_.shape[1]} columns, got {features.shape[1]}"
            )
        return predict_head(features, self.classes_, self.coef_, self.intercept_)


def linear_probe(spaces, labels, *, grid=GRID, held_out=0.2, seed=0, device="auto") -> LinearProbe:
    """A fitted supervised linear probe of one or joined spaces; see `LinearProbe`."""
    return LinearProbe(grid=grid, held_out=held_out, seed=seed, device=device).fit(spaces, labels)


def generalization_score(spaces, labels, *, folds=10, seed=0, device="auto"):
    """How well a linear model learns a labeling in each space: TURTLE's model selection.

    The accuracy on held-out rows of a logistic regression (C = 1) of the hard labels, averaged
    over shuffled `folds` and over the spaces, each raw. Labels (n,) give a number, several
    labelings (R, n) give an array (R,). The folds are not stratified, so a class may have fewer
    members than there are folds: a member held out when no other is left counts as an error. A
    labeling of one class scores 0.0: it is learnt trivially and must never be selected. Raises
    ValueError for bad spaces or labels and for fewer rows than folds.
    """
    spaces = _check_spaces(spaces)

    def fit_folds(features, labels, trains):
        design = Design.of(features, labels, device)
        parts = np.array([np.bincount(train, minlength=len(labels)) for train in trains])
        return [(design.classes, *head) for head in zip(*fit_parts(design, parts, 1.0))]

    def score(labels):
        return np.mean([_cross_validate(z, labels, fit_folds, folds, seed) for z in spaces])

    return _of_each_labeling(score, labels)


def cross_validation_score(space, labels, *, folds=10, seed=1, device="auto"):
    """How well an unregularised linear model learns a labeling in φ2: HUME's choice of a run.

    As `generalization_score`, in one space and without penalty. The defaults give the published
    program's scores: scikit-learn's `KFold(10, shuffle=True, random_state=1)` and
    `LogisticRegression(C=inf)`. Where the labels are linearly separable the optimum lies at
    infinity and the score depends on the solver's path, so `fit_head` follows scikit-learn's.
    """

    def fit_folds(features, labels, trains):
        designs = [Design.of(features[t], labels[t], device, centred=False) for t in trains]
        return [(design.classes, *fit_head(design, np.inf)) for design in designs]

    return _of_each_labeling(lambda y: _cross_validate(space, y, fit_folds, folds, seed), labels)


def _of_each_labeling(score, labels):
    """The score of labels (n,), or the scores (R,) of labelings (R, n)."""
    if np.ndim(labels) == 2:
        return np.array([score(row) for row in labels])
    return float(score(labels))


def _cross_validate(space, labels, fit_folds, folds: int, seed: int) -> float:
    """Accuracy on held-out rows; `fit_folds` gives each fold's classes, weights and biases."""
    features, labels = _rows_and_labels(space, labels)
    if not 2 <= folds <= len(labels):
        raise ValueError(f"folds is {folds}: need 2 to {len(labels)} (the rows)")
    n_classes = len(np.unique(labels))
    if n_classes == 1:
        return 0.0
    trains, tests = zip(*KFold(folds, shuffle=True, random_state=seed).split(features))
    with _threads_for(features.size * n_classes):
        heads = fit_folds(features, labels, trains)
    correct = [
        predict_head(features[test], *head) == labels[test] for test, head in zip(tests, heads)
    ]
    return float(np.mean([fold.mean() for fold in correct]))


@contextmanager
def _threads_for(multiplications: int):
    """One PyTorch thread for small work: waiting for others is slow where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if multiplications < SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _rows_and_labels(spaces, labels) -> tuple[np.ndarray, np.ndarray]:
    labels, features = as_labels(labels), join_spaces(spaces)
    if len(features) != len(labels):
        raise ValueError(f"spaces have {len(features)} rows but there are {len(labels)} labels")
    return features, labels


def _check_spaces(spaces) -> list[np.ndarray]:
    """One array, or a list or tuple of them, as a list of sound matrices of equal length."""
    spaces = list(spaces) if isinstance(spaces, (list, tuple)) else [spaces]
    if not spaces:
        raise ValueError("spaces is an empty list")
    spaces = [_check_space(space, k) for k, space in enumerate(spaces)]
    lengths = [len(space) for space in spaces]
    if len(set(lengths)) > 1:
        raise ValueError(f"spaces have different numbers of rows: {lengths}")
    return spaces


def _check_space(space, k: int) -> np.ndarray:
    if isinstance(space, torch.Tensor):  # bfloat16 has no NumPy type
        space = space.detach().cpu()
        space = space.float() if space.dtype == torch.bfloat16 else space
    space = np.asarray(space)
    if space.ndim != 2 or space.size == 0:
        raise ValueError(f"space {k} must be a matrix of rows, not of shape {space.shape}")
    if space.dtype != np.float64:
        space = np.asarray(space, dtype=np.float32)
    bad = space.size - np.isfinite(space).sum()
    if bad:
        raise ValueError(f"space {k} holds {bad} NaN or infinite values")
    return space

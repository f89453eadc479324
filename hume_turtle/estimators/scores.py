"""Scores that choose between labelings: how well a linear model learns one from other rows.

TURTLE's generalization score and HUME's cross-validation score. They need no true label, so they
may choose settings.
"""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import KFold

from hume_turtle.checks import check_labels, check_spaces
from hume_turtle.estimators.base import threads_for
from hume_turtle.estimators.logistic import Design, fit_head, fit_parts, predict_head
from hume_turtle.estimators.rows import JoinedRows


def generalization_score(spaces, labels, *, folds=10, seed=0, device="auto"):
    """How well a linear model learns a labeling in each space: TURTLE's model selection.

    The accuracy on held-out rows of a logistic regression (C = 1) of the hard labels, averaged
    over shuffled `folds` and over the spaces, each raw. Labels (n,) give a number, several
    labelings (R, n) give an array (R,). The folds are not stratified, so a class may have fewer
    members than there are folds: a member held out when no other is left counts as an error. A
    labeling of one class scores 0.0: it is learnt trivially and must never be selected. Raises
    ValueError for bad spaces or labels and for fewer rows than folds.
    """
    spaces = [JoinedRows(space, device) for space in check_spaces(spaces)]

    def fit_folds(rows, labels, trains):
        design = Design.of(rows, labels)
        parts = np.array([np.bincount(train, minlength=len(labels)) for train in trains])
        return [(design.classes, *head) for head in zip(*fit_parts(design, parts, 1.0))]

    def score(labels):
        return np.mean([_cross_validate(z, labels, fit_folds, folds, seed) for z in spaces])

    return _of_each_labeling(score, labels)


def cross_validation_score(space, labels, *, folds=10, seed=1, max_iter=100, device="auto"):
    """How well an unregularised linear model learns a labeling in φ2: HUME's choice of a run.

    As `generalization_score`, in one space and without penalty. The defaults give the published
    program's scores: scikit-learn's `KFold(10, shuffle=True, random_state=1)` and
    `LogisticRegression(C=inf)`, which ends after `max_iter` steps. Where it has not converged by
    then, as where the labels are linearly separable and the optimum lies at infinity, the score
    depends on the solver's path, so `fit_head` follows scikit-learn's.
    """
    rows = JoinedRows(space, device)

    def fit_folds(rows, labels, trains):
        designs = (Design.of(rows.take(t), labels[t], centred=False) for t in trains)
        return [(one.classes, *fit_head(one, np.inf, max_iter=max_iter)) for one in designs]

    return _of_each_labeling(lambda y: _cross_validate(rows, y, fit_folds, folds, seed), labels)


def _of_each_labeling(score, labels):
    """The score of labels (n,), or the scores (R,) of labelings (R, n)."""
    if np.ndim(labels) == 2:
        return np.array([score(row) for row in labels])
    return float(score(labels))


def _cross_validate(rows: JoinedRows, labels, fit_folds, folds: int, seed: int) -> float:
    """Accuracy on held-out rows; `fit_folds` gives each fold's classes, weights and biases."""
    labels = labels_of_rows(rows, labels)
    if not 2 <= folds <= len(labels):
        raise ValueError(f"folds is {folds}: need 2 to {len(labels)} (the rows)")
    n_classes = len(np.unique(labels))
    if n_classes == 1:
        return 0.0
    trains, tests = zip(*KFold(folds, shuffle=True, random_state=seed).split(labels))
    with threads_for(rows.size * n_classes):
        heads = fit_folds(rows, labels, trains)
    correct = [
        predict_head(rows.take(test), *head) == labels[test] for test, head in zip(tests, heads)
    ]
    return float(np.mean([fold.mean() for fold in correct]))


def labels_of_rows(rows: JoinedRows, labels) -> np.ndarray:
    """Checked labels (n,). Raises ValueError unless there is one for each row."""
    labels = check_labels(labels)
    if len(rows) != len(labels):
        raise ValueError(f"spaces have {len(rows)} rows but there are {len(labels)} labels")
    return labels

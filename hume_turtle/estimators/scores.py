"""Scores that choose between labelings: how well a linear model learns one from other rows.

TURTLE's generalization score and HUME's cross-validation score. They need no true label, so they
may choose settings.
"""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import KFold

from hume_turtle.checks import check_labels, check_spaces
from hume_turtle.estimators.base import join_spaces, threads_for
from hume_turtle.estimators.logistic import Design, fit_head, fit_parts, predict_head


def generalization_score(spaces, labels, *, folds=10, seed=0, device="auto"):
    """How well a linear model learns a labeling in each space: TURTLE's model selection.

    The accuracy on held-out rows of a logistic regression (C = 1) of the hard labels, averaged
    over shuffled `folds` and over the spaces, each raw. Labels (n,) give a number, several
    labelings (R, n) give an array (R,). The folds are not stratified, so a class may have fewer
    members than there are folds: a member held out when no other is left counts as an error. A
    labeling of one class scores 0.0: it is learnt trivially and must never be selected. Raises
    ValueError for bad spaces or labels and for fewer rows than folds.
    """
    spaces = check_spaces(spaces)

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
    features, labels = rows_and_labels(space, labels)
    if not 2 <= folds <= len(labels):
        raise ValueError(f"folds is {folds}: need 2 to {len(labels)} (the rows)")
    n_classes = len(np.unique(labels))
    if n_classes == 1:
        return 0.0
    trains, tests = zip(*KFold(folds, shuffle=True, random_state=seed).split(features))
    with threads_for(features.size * n_classes):
        heads = fit_folds(features, labels, trains)
    correct = [
        predict_head(features[test], *head) == labels[test] for test, head in zip(tests, heads)
    ]
    return float(np.mean([fold.mean() for fold in correct]))


def rows_and_labels(spaces, labels) -> tuple[np.ndarray, np.ndarray]:
    labels, features = check_labels(labels), join_spaces(spaces)
    if len(features) != len(labels):
        raise ValueError(f"spaces have {len(features)} rows but there are {len(labels)} labels")
    return features, labels

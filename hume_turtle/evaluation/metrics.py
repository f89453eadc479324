"""How well a labeling agrees with the true classes; the only file that sees true labels.

A labeling names its clusters arbitrarily, so cluster accuracy first matches clusters to classes
one to one, such that most rows agree (the Hungarian algorithm). Labels may be any integers:
negative, with gaps, with more or fewer clusters than classes. Every measure is a fraction and
does not change when clusters are renamed.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from hume_turtle.estimators.voting import _contingency, _pair


def confusion_matrix(y_true, y_pred) -> np.ndarray:
    """Counts (classes, max(classes, clusters)): rows are the sorted true classes; column c is the
    cluster matched to class c, so that the diagonal holds the rows that agree.

    A class that no cluster is left for has a column of zeros; clusters that no class is left for
    follow on the right, in sorted order. Raises ValueError for empty or unequal lengths.
    """
    y_true, y_pred = _pair(y_true, y_pred, "y_true", "y_pred")
    _, _, counts = _contingency(y_true, y_pred)
    missing = max(0, counts.shape[0] - counts.shape[1])
    counts = np.pad(counts, ((0, 0), (0, missing)))  # empty clusters: every class finds a partner
    _, matched = linear_sum_assignment(counts, maximize=True)
    left_over = np.setdiff1d(np.arange(counts.shape[1]), matched)
    return counts[:, np.concatenate([matched, left_over])]


def cluster_accuracy(y_true, y_pred) -> float:
    """Fraction of rows that agree under the best one-to-one matching of clusters to classes."""
    counts = confusion_matrix(y_true, y_pred)
    return float(np.trace(counts) / counts.sum())


def per_class_accuracy(y_true, y_pred) -> np.ndarray:
    """Fraction of each true class that agrees, under the matching of `cluster_accuracy`.

    Returns (classes,) in the order of the sorted classes; its mean is the mean per class.
    """
    counts = confusion_matrix(y_true, y_pred)
    return np.diagonal(counts) / counts.sum(axis=1)


def adjusted_rand_index(y_true, y_pred) -> float:
    """Pairs of rows that both labelings join or both part, corrected for chance: 1 is equality,
    0 what random labels give; below 0 is worse than random."""
    return float(adjusted_rand_score(*_pair(y_true, y_pred, "y_true", "y_pred")))


def normalized_mutual_info(y_true, y_pred) -> float:
    """Mutual information of the two labelings over the geometric mean of their entropies."""
    y_true, y_pred = _pair(y_true, y_pred, "y_true", "y_pred")
    return float(normalized_mutual_info_score(y_true, y_pred, average_method="geometric"))


def evaluate(y_true, y_pred, *, named: bool = False) -> dict[str, float]:
    """All measures of a labeling (n,) against the true classes (n,), as fractions.

    named: the labels are the classes themselves, as those of zero-shot transfer and of a linear
        probe are; they are then taken at their word and not matched.
    """
    if named:
        y_true, y_pred = _pair(y_true, y_pred, "y_true", "y_pred")
        right = y_true == y_pred
        per_class = np.array([right[y_true == c].mean() for c in np.unique(y_true)])
        overall = right.mean()
    else:
        per_class, overall = per_class_accuracy(y_true, y_pred), cluster_accuracy(y_true, y_pred)
    return {
        "cluster_accuracy": float(overall),
        "mean_per_class_accuracy": float(per_class.mean()),
        "ari": adjusted_rand_index(y_true, y_pred),
        "nmi": normalized_mutual_info(y_true, y_pred),
    }

"""Many labelings of the same rows made one: matched classes and a majority vote (HUME, step 6)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from hume_turtle.checks import check_labels

VOTES_AT_ONCE = 1 << 24  # counted at a time, 64 MB


def class_order(reference: np.ndarray, labels: np.ndarray, n_classes: int) -> list[int]:
    """The order in which classes of `labels` (n,) match those of `reference` best, (C,).

    Of matchings that are equally good it takes the one of HUME's published evaluation, which
    assigns the classes of `labels`, as rows, to those of `reference`.
    """
    place = match_clusters(labels, reference, n_classes=n_classes)
    return [place[c] for c in range(n_classes)]


def vote_shares(labelings: np.ndarray, best: int | None, n_classes: int) -> np.ndarray:
    """Share of the votes for each class, (n, C), from labelings (runs, n) with matched classes.

    Run `best` has half a vote more, which decides ties and nothing else; None has no such run,
    and the lowest class of a tie comes first, as in HUME's published evaluation.
    """
    rows = np.arange(labelings.shape[1])
    votes = np.zeros((len(rows), n_classes), np.float32)
    for labels in labelings:
        votes[rows, labels] += 1
    if best is not None:
        votes[rows, labelings[best]] += 0.5
    return votes / (len(labelings) + 0.5 * (best is not None))


def matched(labelings: np.ndarray, best: int, n_classes: int) -> np.ndarray:
    """Labelings (runs, n), their classes numbered as run `best` numbers them."""
    orders = [class_order(labelings[best], labels, n_classes) for labels in labelings]
    return np.stack([np.argsort(order)[labels] for order, labels in zip(orders, labelings)])


def majority_vote(labelings: np.ndarray, best: int | None, n_classes: int) -> np.ndarray:
    """The class (n,) that most labelings (runs, n) of matched classes choose, in blocks of rows.

    best: the run that decides ties; None gives them to the lowest class.
    """
    step = max(1, VOTES_AT_ONCE // n_classes)
    blocks = [labelings[:, i : i + step] for i in range(0, labelings.shape[1], step)]
    return np.concatenate([vote_shares(block, best, n_classes).argmax(1) for block in blocks])


def match_clusters(reference, labels, *, n_classes: int | None = None) -> dict[int, int]:
    """Match the clusters of `labels` to those of `reference` one to one, so that most rows agree.

    Both are labelings (n,) of the same rows; neither need be true. Returns {cluster of `labels`:
    cluster of `reference`}. Clusters left over, where `labels` has more than `reference`, are
    absent. Given `n_classes`, both are over 0..n_classes-1 and empty clusters count too: the
    result is then a permutation of all of them, as HUME's majority vote needs it.
    Raises ValueError for empty or unequal lengths, and for labels outside 0..n_classes-1.
    """
    reference, labels = _pair(reference, labels, "reference", "labels")
    if n_classes is None:
        names, clusters, counts = _contingency(reference, labels)
    else:
        for name, values in (("reference", reference), ("labels", labels)):
            if values.min() < 0 or values.max() >= n_classes:
                raise ValueError(
                    f"{name} must lie in 0..{n_classes - 1}, found {values.min()} to {values.max()}"
                )
        names = clusters = np.arange(n_classes)
        counts = _count_pairs(reference, labels, n_classes, n_classes)
    matched = zip(*linear_sum_assignment(counts, maximize=True), strict=True)
    return {int(clusters[column]): int(names[row]) for row, column in matched}


def _pair(first, second, first_name: str, second_name: str) -> tuple[np.ndarray, np.ndarray]:
    first, second = check_labels(first, first_name), check_labels(second, second_name)
    if len(first) != len(second):
        raise ValueError(
            f"{first_name} has {len(first)} labels but {second_name} has {len(second)}"
        )
    return first, second


def _contingency(rows: np.ndarray, columns: np.ndarray):
    """The distinct labels of both, sorted, and the counts (rows, columns) of their pairs."""
    row_names, row_index = np.unique(rows, return_inverse=True)
    column_names, column_index = np.unique(columns, return_inverse=True)
    counts = _count_pairs(row_index, column_index, len(row_names), len(column_names))
    return row_names, column_names, counts


def _count_pairs(rows: np.ndarray, columns: np.ndarray, n_rows: int, n_columns: int) -> np.ndarray:
    flat = np.bincount(rows * n_columns + columns, minlength=n_rows * n_columns)
    return flat.reshape(n_rows, n_columns)

"""Many labelings of the same rows made one: matched classes and a majority vote (HUME, step 6)."""

from __future__ import annotations

import numpy as np

from hume_turtle.metrics import match_clusters

VOTES_AT_ONCE = 1 << 24  # counted at a time, 64 MB


def class_order(reference: np.ndarray, labels: np.ndarray, n_classes: int) -> list[int]:
    """The order in which classes of `labels` (n,) match those of `reference` best, (C,)."""
    place = match_clusters(reference, labels, n_classes=n_classes)
    return np.argsort([place[c] for c in range(n_classes)])


def vote_shares(labelings: np.ndarray, best: int, n_classes: int) -> np.ndarray:
    """Share of the votes for each class, (n, C), from labelings (runs, n) with matched classes.

    Run `best` has half a vote more, which decides ties and nothing else.
    """
    rows = np.arange(labelings.shape[1])
    votes = np.zeros((len(rows), n_classes), np.float32)
    for labels in labelings:
        votes[rows, labels] += 1
    votes[rows, labelings[best]] += 0.5
    return votes / (len(labelings) + 0.5)


def matched(labelings: np.ndarray, best: int, n_classes: int) -> np.ndarray:
    """Labelings (runs, n), their classes numbered as run `best` numbers them."""
    orders = [class_order(labelings[best], labels, n_classes) for labels in labelings]
    return np.stack([np.argsort(order)[labels] for order, labels in zip(orders, labelings)])


def majority_vote(labelings: np.ndarray, best: int, n_classes: int) -> np.ndarray:
    """The class (n,) that most labelings (runs, n) of matched classes choose, in blocks of rows."""
    step = max(1, VOTES_AT_ONCE // n_classes)
    blocks = [labelings[:, i : i + step] for i in range(0, labelings.shape[1], step)]
    return np.concatenate([vote_shares(block, best, n_classes).argmax(1) for block in blocks])

"""Many labelings of the same rows made one: matched classes and a majority vote (HUME, step 6)."""

from __future__ import annotations

import numpy as np

from hume_turtle.metrics import match_clusters


def class_order(reference: np.ndarray, labels: np.ndarray, n_classes: int) -> list[int]:
    """The order in which classes of `labels` (n,) match those of `reference` best, (C,)."""
    place = match_clusters(reference, labels, n_classes=n_classes)
    return np.argsort([place[c] for c in range(n_classes)])


def vote_shares(labelings: np.ndarray, best: int, n_classes: int) -> np.ndarray:
    """Share of the votes for each class, (n, C), from labelings (runs, n) with matched classes.

    Run `best` has half a vote more, which decides ties and nothing else.
    """
    votes = np.eye(n_classes, dtype=np.float32)[labelings]  # (runs, n, C)
    return (votes.sum(0) + 0.5 * votes[best]) / (len(labelings) + 0.5)

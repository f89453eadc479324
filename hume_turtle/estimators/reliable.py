"""Which rows of a labeling to trust, chosen without labels: the most confident of each class."""

from __future__ import annotations

import numpy as np

from hume_turtle.checks import check_labels, check_number


def reliable_rows(
    labels, confidence, share: float = 0.2, *, per_class: int | None = None
) -> np.ndarray:
    """The most confident rows of every class, to be exported as pseudo-labels.

    A semi-supervised or supervised learner can start from these rows and their found labels:

        rows = reliable_rows(model.labels_, model.confidence(spaces))
        np.savez("pseudo-labels.npz", rows=rows, labels=model.labels_[rows])

    The rows are taken class by class, because one threshold for all would take most of them from
    the easiest classes. `evaluation/reliability.py` measures, with true labels, how right such
    rows are.

    Args:
        labels: (n,) found labels, integers.
        confidence: (n,), higher is surer, e.g. from `Turtle.confidence` or `Hume.confidence`.
        share: the part of each class that is kept, rounded to the nearest number of rows, at
            least one.
        per_class: if given, so many rows of each class are kept instead, or all of a smaller one.

    Returns:
        (m,) int64, the indices of the kept rows in ascending order. Of rows of equal confidence
        the first are kept.

    Raises:
        ValueError: for labels or confidences that are not n numbers, and for a share outside
            (0, 1].
    """
    labels, confidence = check_labels(labels), _numbers(confidence)
    if confidence.shape != labels.shape:
        raise ValueError(
            f"confidence must be one number for each of {len(labels)} labels, not an array of "
            f"shape {confidence.shape}"
        )
    check_number("share", share, 0, exclusive=True)
    if share > 1:
        raise ValueError(f"share={share!r} must be a number <= 1")
    if per_class is not None:
        check_number("per_class", per_class, 1, integer=True)
    order = np.lexsort((-confidence, labels))  # class by class, the surest first, then as they came
    _, sizes = np.unique(labels, return_counts=True)  # (C,)
    counts = np.maximum(1, np.round(share * sizes)) if per_class is None else per_class
    counts = np.minimum(counts, sizes).astype(int)
    starts = np.cumsum(sizes) - sizes
    kept = [order[start : start + count] for start, count in zip(starts, counts)]
    return np.sort(np.concatenate(kept))


def _numbers(confidence) -> np.ndarray:
    try:
        confidence = np.asarray(confidence, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"confidence must hold numbers: {error}") from None
    if np.isnan(confidence).any():
        raise ValueError("confidence holds NaN")
    return confidence

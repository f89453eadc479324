"""What a labeling is worth: a linear probe's accuracy over the number of labels it is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from hume_turtle.checks import check_number
from hume_turtle.estimators.rows import JoinedRows
from hume_turtle.estimators.scores import labels_of_rows
from hume_turtle.evaluation.linear_probe import linear_probe


def learning_curve(
    spaces,
    labels,
    test_spaces,
    test_labels,
    counts: Sequence[int],
    *,
    seeds: Iterable[int] = range(5),
    **probe,
) -> pd.DataFrame:
    """Accuracy on test rows of probes that were given the labels of ever more training rows.

    A seed draws an order of the rows, and a probe gets the first so many: rows drawn at random,
    as someone would label them who does not know the classes, so that few labels may miss a class.

    Args:
        spaces, test_spaces: as in `LinearProbe`, of training and of test rows.
        labels, test_labels: (n,) and (n_test,) true labels.
        counts: numbers of labels, at least 5, of which a fifth chooses the probe's C.
        probe: settings of `LinearProbe`, such as `grid`.

    Returns:
        One row per count and seed, with columns `labels`, `seed` and `accuracy` (a fraction).

    Raises:
        ValueError: for counts that are too small or more than there are rows, before any fit; and
            where all labels that were drawn are of one class.
    """
    rows, test = JoinedRows(spaces), JoinedRows(test_spaces)
    labels, test_labels = labels_of_rows(rows, labels), labels_of_rows(test, test_labels)
    for count in counts:
        check_number("counts", count, 5, integer=True)
        if count > len(labels):
            raise ValueError(f"counts has {count}, but there are {len(labels)} labels")
    found = []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(labels))
        for count in counts:
            given = np.sort(order[:count])
            model = linear_probe(_take(spaces, given), labels[given], seed=seed, **probe)
            accuracy = (model.predict(test_spaces) == test_labels).mean()
            found.append((count, seed, accuracy))
    return pd.DataFrame(found, columns=["labels", "seed", "accuracy"])


def labels_to_reach(curve: pd.DataFrame, level: float) -> pd.Series:
    """From how many labels on the probes of each seed are at least so accurate.

    Between two counts the number is interpolated on a logarithmic scale.

    Args:
        curve: a `learning_curve`.
        level: an accuracy as a fraction, such as a labeling's cluster accuracy.

    Returns:
        Series by seed: the smallest count where the probes of all counts reach the level, NaN
        where that of the largest count does not.
    """
    values = curve.pivot(index="labels", columns="seed", values="accuracy").sort_index()
    return values.apply(lambda side: _last_crossing(values.index.to_numpy(), side, level))


def _last_crossing(counts: np.ndarray, accuracy: pd.Series, level: float) -> float:
    accuracy = accuracy.to_numpy()
    below = np.flatnonzero(accuracy < level)
    if not len(below):
        return float(counts[0])
    last = below[-1]
    if last == len(counts) - 1:
        return float("nan")
    way = (level - accuracy[last]) / (accuracy[last + 1] - accuracy[last])
    return float(counts[last] * (counts[last + 1] / counts[last]) ** way)


def _take(spaces, given: np.ndarray):
    several = isinstance(spaces, (list, tuple))
    return [space[given] for space in spaces] if several else spaces[given]

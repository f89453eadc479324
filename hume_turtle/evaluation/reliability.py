"""How accurate the vote of several labelings is, and how reliable a labeling's confidence is.

These are evaluations: the labelings are final, and the true labels only score them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hume_turtle.estimators.voting import majority_vote, match_clusters, matched
from hume_turtle.evaluation.metrics import cluster_accuracy


def scored_vote(run_labels: np.ndarray, run_scores: np.ndarray, n_classes: int) -> np.ndarray:
    """The labels (n,) of the majority vote, as HUME's fit computes it.

    Args:
        run_labels: (runs, n) labels in 0..n_classes-1, numbered in any way.
        run_scores: (runs,) cross-validation scores: the classes of all runs are matched to those
            of the run with the highest, which also decides ties.
        n_classes: number of classes C.
    """
    best = int(np.argmax(run_scores))
    return majority_vote(matched(run_labels, best, n_classes), best, n_classes)


def aggregation_curve(y, run_labels, run_scores, n_classes: int, draws: int = 10):
    """Cluster accuracy of one run, of the best by its score, and of the vote, as runs are added.

    Every run is a set of one. For each larger number, `draws` random sets of that many runs are
    drawn: their order is arbitrary.

    Args:
        y: true labels (n,) of the rows that the runs labelled.
        run_labels: (runs, n), `Hume.run_labels_`.
        run_scores: (runs,), `Hume.run_scores_`: computed without true labels.
        n_classes: number of classes C.
        draws: sets for each number of runs above one; all runs are one set.

    Returns:
        DataFrame: runs, draw, single (mean over the set), best (by score), vote, as fractions.
    """
    run_labels, run_scores = np.asarray(run_labels), np.asarray(run_scores)
    total = len(run_labels)
    accuracy = np.array([cluster_accuracy(y, run) for run in run_labels])  # (runs,)
    generator, rows = np.random.default_rng(0), []
    for count in numbers_of_runs(total):
        for draw in range(total if count == 1 else 1 if count == total else draws):
            drawn = [draw] if count == 1 else generator.choice(total, count, replace=False)
            chosen = np.sort(drawn)
            vote = scored_vote(run_labels[chosen], run_scores[chosen], n_classes)
            best = accuracy[chosen][np.argmax(run_scores[chosen])]
            rows.append((count, draw, accuracy[chosen].mean(), best, cluster_accuracy(y, vote)))
    return pd.DataFrame(rows, columns=["runs", "draw", "single", "best", "vote"])


def numbers_of_runs(total: int) -> list[int]:
    """1, 2, 3, 5, 10, 20, 30, 50, 100, ... up to and with `total`."""
    steps = [step * 10**power for power in range(len(str(total))) for step in (1, 2, 3, 5)]
    return sorted({*(step for step in steps if step < total), total})


def reliability_curve(y, labels, confidence, shares=None) -> pd.DataFrame:
    """Cluster accuracy of the most confident rows of every found class, as more are kept.

    Clusters are matched to classes once, by all rows. Rows of equal confidence are kept in random
    order: the accuracy is the expectation over it.

    Args:
        y: true labels (n,).
        labels: found labels (n,).
        confidence: (n,), e.g. the share of the votes, or the probability, of the found label.
        shares: parts of every class to keep, each in (0, 1], rounded as `reliable_rows` does; by
            default numbers of rows are kept.

    Returns:
        DataFrame: kept (per class at most: 1, 2, 4, ..., until all are) or share, rows (kept in all
        classes together), cluster_accuracy as a fraction.
    """
    confidence = np.asarray(confidence)
    labels, agrees = np.asarray(labels), agreement(y, labels)
    right = []  # per class: how many of its k most confident rows are right, (size + 1,)
    for c in np.unique(labels):
        mine = labels == c
        _, level = np.unique(-confidence[mine], return_inverse=True)  # 0 the most confident
        share = np.bincount(level, agrees[mine]) / np.bincount(level)  # of equally confident rows
        right.append(np.concatenate([[0], np.cumsum(share[np.sort(level)])]))
    sizes = np.array([len(mine) - 1 for mine in right])  # (classes,)
    if shares is None:
        steps = [2**power for power in range(int(sizes.max() - 1).bit_length() + 1)]
        counts = [np.minimum(step, sizes) for step in steps]
    else:
        steps = [float(share) for share in shares]
        counts = [np.maximum(1, np.round(share * sizes)).astype(int) for share in steps]
    rows = []
    for step, count in zip(steps, counts, strict=True):
        agree = sum(mine[k] for mine, k in zip(right, count, strict=True))
        rows.append((step, count.sum(), agree / count.sum()))
    first = "kept" if shares is None else "share"
    return pd.DataFrame(rows, columns=[first, "rows", "cluster_accuracy"])


def mean_reliability(curves) -> pd.DataFrame:
    """The mean of several seeds' `reliability_curve`: kept or share, mean, std, seeds.

    A curve that ends before the others, because its classes are smaller, stays where it ended.
    """
    sides = [curve.set_index(curve.columns[0])["cluster_accuracy"] for curve in curves]
    values = pd.concat(sides, axis=1).sort_index().ffill()  # (kept or shares, seeds)
    table = pd.DataFrame({"mean": values.mean(axis=1), "std": values.std(axis=1)})
    return table.assign(seeds=len(sides)).reset_index()


def agreement(y, labels) -> np.ndarray:
    """Which rows agree with the true labels under the matching of cluster accuracy, (n,) bool."""
    y, labels = np.asarray(y), np.asarray(labels)
    agrees = np.zeros(len(labels), bool)
    for cluster, name in match_clusters(y, labels).items():
        agrees |= (labels == cluster) & (y == name)
    return agrees


def calibration_curve(agrees, confidence, bins: int = 10) -> pd.DataFrame:
    """The share of rows that are right, for rows of similar confidence.

    Args:
        agrees: (n,) which rows are right, e.g. `agreement`; of several seeds one after the other.
        confidence: (n,) in 0..1.
        bins: of equal width between 0 and 1.

    Returns:
        DataFrame, a row for each bin that holds rows: rows (their number), confidence and right
        (means over them).
    """
    confidence = np.asarray(confidence, dtype=np.float64)
    place = np.minimum((bins * confidence).astype(int), bins - 1)
    table = pd.DataFrame({"bin": place, "confidence": confidence, "right": agrees})
    named = {"rows": ("right", "size"), "confidence": ("confidence", "mean")}
    return table.groupby("bin").agg(**named, right=("right", "mean")).reset_index(drop=True)

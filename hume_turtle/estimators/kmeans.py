"""k-means in one or joined spaces: a baseline, and where TURTLE's fast recipe starts."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from hume_turtle.estimators.base import SMALL, join_spaces


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

"""k-means in one or joined spaces: a baseline, and where TURTLE's fast recipe starts."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from hume_turtle.core.batching import as_tensor
from hume_turtle.estimators.base import SMALL, join_spaces
from hume_turtle.estimators.projection import SAMPLE, Projection, draw_rows

COMPONENTS = 64  # in which starts are compared, or as many as there are classes
WIDE = 5  # times as many dimensions as that, above which they are


class KMeansBaseline:
    """scikit-learn's k-means in one or joined spaces (see `join_spaces`); the best of `n_init`.

    Wide rows are clustered twice: all starts (k-means++, each to its end) in their leading
    principal components, then the best of them to its end in the rows as they are. So the clusters
    are a local optimum of all dimensions. Against `n_init` starts in all dimensions the inertia
    came out 0 to 0.3 % lower (photographs and mixtures, 768 and 1280 dimensions); ten starts on
    10,000 x 1280 took 1.1 s instead of 29.
    """

    def __init__(self, n_classes: int, *, seed: int = 0, n_init: int = 10):
        self.n_classes, self.seed, self.n_init = n_classes, seed, n_init

    def fit(self, spaces) -> KMeansBaseline:
        """Cluster the rows; `labels_` (n,) holds their clusters.

        Raises ValueError for bad spaces, fewer than 2 classes, and fewer rows than classes.
        """
        features = join_spaces(spaces)  # (n, d)
        if not 2 <= self.n_classes <= len(features):
            raise ValueError(f"n_classes is {self.n_classes}: need 2 to {len(features)} (the rows)")
        # The sums of more than two threads are added in a random order, which changes bits.
        threads = 1 if features.size * self.n_classes < SMALL else 2
        with threadpool_limits(limits=threads, user_api="openmp"):
            dim, init, n_init = max(COMPONENTS, self.n_classes), "k-means++", self.n_init
            if features.shape[1] > WIDE * dim:
                init, n_init = self._best_start(as_tensor(features), dim), 1
            self.model_ = self._cluster(features, init, n_init)
        self.labels_ = self.model_.labels_.astype(np.int64)
        return self

    def _best_start(self, rows: torch.Tensor, dim: int) -> np.ndarray:
        """The centres (C, d) of the best of `n_init` clusterings in `dim` principal components."""
        project = Projection(rows[draw_rows(len(rows), SAMPLE)].float(), dim)
        model = self._cluster(project(rows).numpy(), "k-means++", self.n_init)
        centres = project.restore(torch.from_numpy(model.cluster_centers_))
        return centres.to(rows.dtype).numpy()

    def _cluster(self, features: np.ndarray, init, n_init: int) -> KMeans:
        model = KMeans(self.n_classes, init=init, n_init=n_init, random_state=self.seed)
        return model.fit(features)

    def predict(self, spaces) -> np.ndarray:
        """The nearest cluster (n,) of any rows of the same spaces."""
        features = join_spaces(spaces).astype(self.model_.cluster_centers_.dtype, copy=False)
        return self.model_.predict(features).astype(np.int64)


def kmeans(spaces, n_classes: int, *, seed: int = 0, n_init: int = 10) -> np.ndarray:
    """Cluster labels (n,) by k-means in one or joined spaces; see `KMeansBaseline`."""
    return KMeansBaseline(n_classes, seed=seed, n_init=n_init).fit(spaces).labels_

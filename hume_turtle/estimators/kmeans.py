"""k-means in one or joined spaces: a baseline, and where TURTLE's fast recipe starts."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from hume_turtle.checks import check_dims, check_number
from hume_turtle.estimators.base import SMALL
from hume_turtle.estimators.lloyd import Clusters, cluster
from hume_turtle.estimators.projection import SAMPLE, Projection, draw_rows
from hume_turtle.estimators.rows import JoinedRows, row_blocks

COMPONENTS = 64  # in which starts are compared, or as many as there are classes
WIDE = 5  # times as many dimensions as that, above which they are


class KMeansBaseline:
    """k-means in one or joined spaces (see `JoinedRows`); the best of `n_init` by inertia.

    By scikit-learn, and on a GPU (`device` "cuda", or "auto" where there is one) or where the rows
    are too many to be copied (`JoinedRows.small`) by `lloyd.cluster`, which reads them block by
    block and draws the starts (k-means++) from a sample. faiss and cuML are not used: a result
    must not depend on what happens to be installed. Published by TURTLE: 10 starts, at most 1000
    iterations, seed 42.

    scikit-learn clusters wide rows twice: all starts (k-means++, each to its end) in their leading
    principal components, then the best of them to its end in the rows as they are. So the clusters
    are a local optimum of all dimensions. Against `n_init` starts in all dimensions the inertia
    came out 0 to 0.3 % lower (photographs and mixtures, 768 and 1280 dimensions); ten starts on
    10,000 x 1280 took 1.1 s instead of 29.
    """

    def __init__(
        self, n_classes: int, *, seed: int = 0, n_init: int = 10, max_iter: int = 300, device="cpu"
    ):
        self.n_classes, self.seed, self.n_init = n_classes, seed, n_init
        self.max_iter, self.device = max_iter, device

    def fit(self, spaces) -> KMeansBaseline:
        """Cluster the rows; `labels_` (n,) holds their clusters.

        Raises ValueError for bad spaces, fewer than 2 classes, fewer rows than classes, and fewer
        than one start or iteration.
        """
        check_number("n_init", self.n_init, 1, integer=True)
        check_number("max_iter", self.max_iter, 1, integer=True)
        rows = JoinedRows(spaces, self.device)
        if not 2 <= self.n_classes <= len(rows):
            raise ValueError(f"n_classes is {self.n_classes}: need 2 to {len(rows)} (the rows)")
        if rows.small and rows.device.type == "cpu":
            self.model_ = self._fit_held(rows.whole())
        else:
            starts = {"seed": self.seed, "n_init": self.n_init, "max_iter": self.max_iter}
            self.model_ = cluster(rows, self.n_classes, **starts)
        self.labels_ = self.model_.labels_.astype(np.int64)
        return self

    def _fit_held(self, rows: torch.Tensor) -> KMeans:
        # The sums of more than two threads are added in a random order, which changes bits.
        threads = 1 if rows.numel() * self.n_classes < SMALL else 2
        with threadpool_limits(limits=threads, user_api="openmp"):
            dim, init, n_init = max(COMPONENTS, self.n_classes), "k-means++", self.n_init
            if rows.shape[1] > WIDE * dim:
                init, n_init = self._best_start(rows, dim), 1
            return self._cluster(rows.numpy(), init, n_init)

    def _best_start(self, rows: torch.Tensor, dim: int) -> np.ndarray:
        """The centres (C, d) of the best of `n_init` clusterings in `dim` principal components."""
        project = Projection(rows[draw_rows(len(rows), SAMPLE)].float(), dim)
        model = self._cluster(project(rows).numpy(), "k-means++", self.n_init)
        centres = project.restore(torch.from_numpy(model.cluster_centers_))
        return centres.to(rows.dtype).numpy()

    def _cluster(self, features: np.ndarray, init, n_init: int) -> KMeans:
        settings = {"n_init": n_init, "max_iter": self.max_iter, "random_state": self.seed}
        return KMeans(self.n_classes, init=init, **settings).fit(features)

    def predict(self, spaces) -> np.ndarray:
        """The nearest cluster (n,) of any rows of the same spaces."""
        rows, centres = JoinedRows(spaces, self.device), self.model_.cluster_centers_
        check_dims([rows.shape[1]], [centres.shape[1]])
        if isinstance(self.model_, Clusters):
            return self.model_.predict(rows)
        parts = (z.numpy().astype(centres.dtype) for _, z in row_blocks(rows, self.n_classes))
        return np.concatenate([self.model_.predict(part) for part in parts]).astype(np.int64)


def kmeans(spaces, n_classes: int, **settings) -> np.ndarray:
    """Cluster labels (n,) by k-means in one or joined spaces; see `KMeansBaseline`."""
    return KMeansBaseline(n_classes, **settings).fit(spaces).labels_

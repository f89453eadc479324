"""Overlapping classes for the tests of linear models."""

import numpy as np


def blobs(n_classes=3, n=150, d=6, spread=1.0, seed=0):
    """Gaussian blobs with an offset far from zero: features (n, d) and labels (n,)."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(n_classes, d)) + 5
    labels = np.arange(n) % n_classes
    return centres[labels] + spread * rng.normal(size=(n, d)), labels

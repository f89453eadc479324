"""Shared by all tests: two threads, and small spaces with planted classes."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

torch.set_num_threads(2)


@pytest.fixture
def one_thread():
    """Threads wait for each other longer than small problems take."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def style():
    """The project's style for figures, which are drawn on no screen and closed afterwards."""
    import matplotlib
    import matplotlib.pyplot as plt

    from hume_turtle.reporting.style import set_style

    with matplotlib.rc_context():
        plt.switch_backend("Agg")
        set_style()
        yield
        plt.close("all")


@pytest.fixture(scope="session")
def blobs():
    """`blobs(n, n_classes, dims)`: well-separated classes in every space, and which row is whose.

    Class centres are orthogonal and of length 6, the noise of every coordinate is 0.3.
    """

    def make(n: int, n_classes: int, dims: tuple[int, ...], seed: int = 0):
        rng = np.random.default_rng(seed)
        planted = rng.permutation(np.arange(n) % n_classes)  # (n,)
        spaces = []
        for dim in dims:
            centres = 6 * np.linalg.qr(rng.normal(size=(dim, dim)))[0][:n_classes]
            noise = 0.3 * rng.normal(size=(n, dim))
            spaces.append((centres[planted] + noise).astype(np.float32))
        return spaces, planted

    return make

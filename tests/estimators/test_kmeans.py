"""k-means of wide rows: started in principal components, ended in the rows as they are."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from hume_turtle.estimators import kmeans
from hume_turtle.estimators.kmeans import KMeansBaseline


@pytest.fixture
def few_components(monkeypatch):
    monkeypatch.setattr(kmeans, "COMPONENTS", 6)


def overlapping(n=400, d=60, groups=6, seed=0):
    random = np.random.default_rng(seed)
    centres = random.standard_normal((groups, d))
    return (centres[np.arange(n) % groups] + random.standard_normal((n, d))).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_wide_rows_are_clustered_as_well_as_in_all_dimensions(few_components, dtype):
    rows = overlapping().astype(dtype)
    model = KMeansBaseline(6, seed=0).fit(rows).model_
    plain = KMeans(6, n_init=10, random_state=0).fit(rows)
    assert model.inertia_ <= 1.001 * plain.inertia_
    assert model.n_init == 1  # the last k-means only ends what was started in few dimensions
    assert model.n_iter_ < 10


def test_the_clusters_of_wide_rows_are_an_optimum_of_all_dimensions(few_components):
    rows = overlapping()
    model = KMeansBaseline(6, seed=1).fit(rows)
    means = np.stack([rows[model.labels_ == c].mean(0) for c in range(6)])
    nearest = ((rows[:, None] - means) ** 2).sum(2).argmin(1)
    assert (nearest == model.labels_).mean() > 0.99
    np.testing.assert_array_equal(model.predict(rows), model.labels_)


def test_the_same_seed_clusters_wide_rows_to_the_bit(few_components):
    first, second = (KMeansBaseline(6, seed=3).fit(overlapping()).model_ for _ in range(2))
    np.testing.assert_array_equal(first.cluster_centers_, second.cluster_centers_)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("rows", [np.ones((30, 40)), np.repeat(np.eye(40)[:3], 10, axis=0)])
def test_wide_rows_that_repeat_get_labels(few_components, rows):
    model = KMeansBaseline(4).fit(rows)
    assert np.isfinite(model.model_.cluster_centers_).all()
    assert len(set(model.labels_.tolist())) <= 3


def test_starts_and_iterations_may_be_set():
    rows = overlapping()
    assert KMeansBaseline(6, max_iter=1, n_init=1).fit(rows).model_.n_iter_ == 1
    for name in ("n_init", "max_iter"):
        with pytest.raises(ValueError, match=f"{name}=0"):
            KMeansBaseline(6, **{name: 0}).fit(rows)


def test_rows_of_another_width_are_refused():
    with pytest.raises(ValueError, match="59 dimensions, but the fit used 60"):
        KMeansBaseline(6).fit(overlapping()).predict(overlapping()[:, :59])

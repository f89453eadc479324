"""Our own k-means, for rows that cannot be held, against scikit-learn's from the same centres."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from hume_turtle.estimators import rows
from hume_turtle.estimators.kmeans import KMeansBaseline
from hume_turtle.estimators.lloyd import Clusters, cluster, lloyd, plus_plus
from hume_turtle.estimators.rows import JoinedRows

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def spaces():
    """Twelve overlapping classes, far from zero, in single and half precision."""
    random = np.random.default_rng(0)
    centres, noise = random.normal(size=(12, 9)), random.normal(size=(600, 9))
    a = (5 + centres[np.arange(600) % 12] + noise).astype(np.float32)
    return [a, (a @ random.normal(size=(9, 5))).astype(np.float16)]


@pytest.fixture
def many(monkeypatch):
    """Rows count as too many to be held, and are read about twenty at a time."""
    monkeypatch.setattr(rows, "HELD", 100)
    monkeypatch.setattr(rows, "BLOCK", 70)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("max_iter", [2, 300])
def test_scikit_learns_clusters_from_the_same_centres(many, spaces, count, dtype, max_iter):
    spaces = [spaces[0].astype(dtype), spaces[1]][:count]
    joined = JoinedRows(spaces)
    held = joined[:].numpy()
    mean, limit = joined.mean(), 1e-4 * held.var(0).mean()
    theirs = KMeans(12, init=held[:12], n_init=1, max_iter=max_iter).fit(held)
    start = joined[:12] - mean
    centres, labels, inertia, steps = lloyd(joined.minus(mean), start, max_iter, limit)
    np.testing.assert_array_equal(labels, theirs.labels_)
    np.testing.assert_allclose(centres + mean, theirs.cluster_centers_, atol=1e-5)
    assert inertia == pytest.approx(theirs.inertia_, rel=1e-5)
    assert steps == theirs.n_iter_


def test_empty_clusters_are_seeded_again_as_by_scikit_learn(many, spaces):
    joined = JoinedRows(spaces[0])
    held, mean = joined[:].numpy(), joined.mean()
    init = held[:12].copy()
    init[4:6] = 1e3  # no row is near
    theirs = KMeans(12, init=init, n_init=1, tol=0).fit(held)
    _, labels, inertia, _ = lloyd(joined.minus(mean), torch.from_numpy(init) - mean, 300, 0.0)
    assert len(set(labels.tolist())) == 12
    np.testing.assert_array_equal(labels, theirs.labels_)
    assert inertia == pytest.approx(theirs.inertia_, rel=1e-5)


def test_starts_are_rows_far_from_each_other():
    points = torch.eye(5).repeat(40, 1) + 1e-3 * torch.randn(200, 5)
    for seed in range(5):
        centres = plus_plus(points, 5, np.random.default_rng(seed))
        assert sorted(centres.argmax(1).tolist()) == [0, 1, 2, 3, 4]
        assert all((points == centre).all(1).any() for centre in centres)


def test_the_best_start_is_kept_and_the_same_seed_gives_the_same_bits(many, spaces):
    joined = JoinedRows(spaces)
    runs = [cluster(joined, 12, seed=3, n_init=count) for count in (1, 2, 6, 6)]
    inertias = [run.inertia_ for run in runs]
    assert inertias == sorted(inertias, reverse=True)
    assert inertias[-1] < inertias[0]
    plain = KMeans(12, n_init=6, random_state=0).fit(joined[:].numpy())
    assert inertias[-1] < 1.02 * plain.inertia_
    assert torch.equal(runs[-1].centres, runs[-2].centres)
    assert not torch.equal(cluster(joined, 12, seed=4, n_init=1).centres, runs[0].centres)


def test_many_rows_of_memory_maps(many, spaces, tmp_path):
    for k, space in enumerate(spaces):
        np.save(tmp_path / f"{k}.npy", space)
    mapped = [np.load(tmp_path / f"{k}.npy", mmap_mode="r") for k in range(2)]
    model = KMeansBaseline(12, seed=1, n_init=2, max_iter=1000).fit(mapped)
    assert isinstance(model.model_, Clusters)
    assert model.labels_.dtype == np.int64
    np.testing.assert_array_equal(model.predict(mapped), model.labels_)
    np.testing.assert_array_equal(model.predict([z[:9] for z in spaces]), model.labels_[:9])
    short = KMeansBaseline(12, seed=1, n_init=1, max_iter=1).fit(mapped)
    assert short.model_.n_iter_ == 1
    for n_classes in (1, 601):
        with pytest.raises(ValueError, match=f"n_classes is {n_classes}"):
            KMeansBaseline(n_classes).fit(mapped)
    with pytest.raises(ValueError, match="13 dimensions, but the fit used 14"):
        model.predict([spaces[0], spaces[1][:, :4]])


def test_rows_that_repeat_get_labels(many):
    model = KMeansBaseline(4, n_init=1).fit(np.repeat(np.eye(40)[:3], 10, axis=0))
    assert np.isfinite(model.model_.cluster_centers_).all()
    assert len(set(model.labels_.tolist())) == 3
    assert model.model_.inertia_ == pytest.approx(0, abs=1e-9)

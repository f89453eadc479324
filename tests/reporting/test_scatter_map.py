import numpy as np
import pytest

from hume_turtle.reporting import scatter_map
from hume_turtle.reporting.scatter_map import map_points


def purity(points: np.ndarray, planted: np.ndarray) -> float:
    """The share of rows whose nearest other row on the map is of their class."""
    distance = np.square(points[:, None] - points[None]).sum(-1)
    np.fill_diagonal(distance, np.inf)
    return float(np.mean(planted[distance.argmin(1)] == planted))


def test_classes_stand_together(blobs):
    spaces, planted = blobs(200, 4, (6, 9))
    points = map_points(spaces)
    assert points.shape == (200, 2)
    assert points.dtype == np.float32
    assert purity(points, planted) > 0.98
    np.testing.assert_array_equal(points, map_points(spaces))


def test_rows_outside_the_sample_stand_with_their_class(blobs, monkeypatch, tmp_path):
    monkeypatch.setattr(scatter_map, "SAMPLE", 120)
    monkeypatch.setattr(scatter_map, "BLOCK", 50)
    spaces, planted = blobs(400, 4, (6, 9))
    np.save(tmp_path / "half.npy", spaces[1].astype(np.float16))
    spaces[1] = np.load(tmp_path / "half.npy", mmap_mode="r")
    points = map_points(spaces)
    assert points.shape == (400, 2)
    assert purity(points, planted) > 0.98
    assert len(np.unique(points, axis=0)) == 400  # none hides another
    np.testing.assert_array_equal(points, map_points(spaces))


def test_equal_rows_stand_beside_each_other(monkeypatch):
    monkeypatch.setattr(scatter_map, "SAMPLE", 40)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 5))
    points = map_points(np.concatenate([rows, rows]))
    assert len(np.unique(points, axis=0)) == 100
    apart = np.linalg.norm(points[:50] - points[50:], axis=1)
    assert np.median(apart) < 0.5  # of a map whose root mean square is 1


def test_every_space_counts_whatever_its_scale(blobs):
    (space,), planted = blobs(200, 4, (8,))
    noise = np.random.default_rng(0).normal(size=space.shape).astype(np.float32)
    assert purity(map_points([noise * 1000, space]), planted) > 0.9
    np.testing.assert_allclose(
        np.square(map_points([space * 1e-6])).mean(), 1, rtol=1e-3
    )  # tiny rows are no constant rows


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 30])
def test_few_rows(n):
    rng = np.random.default_rng(0)
    for space in (rng.normal(size=(n, 4)), rng.normal(size=(n, 1)), np.full((n, 3), 7.7)):
        points = map_points([space])
        assert points.shape == (n, 2)
        assert np.isfinite(points).all()
        assert len(np.unique(points, axis=0)) == n


def test_a_constant_space_has_no_say(blobs):
    (space,), planted = blobs(200, 4, (8,))
    constant = np.full((200, 6), 1234.5, np.float32)
    np.testing.assert_array_equal(map_points([space, constant]), map_points([space]))
    assert purity(map_points([space, constant]), planted) > 0.98

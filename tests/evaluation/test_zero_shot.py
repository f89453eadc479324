"""Zero-shot transfer: the class of the largest cosine, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from hume_turtle.evaluation import zero_shot
from hume_turtle.evaluation.zero_shot import ZeroShot


@pytest.fixture
def spaces():
    """Text features (5, 6) and image features (23, 6) of any length."""
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(5, 6))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    return texts, rng.normal(size=(23, 6)) * rng.uniform(0.1, 10, size=(23, 1))


def test_prediction_is_the_largest_cosine(spaces, monkeypatch):
    texts, images = spaces
    cosines = [[i @ t / np.linalg.norm(i) for t in texts] for i in images]
    for block in (zero_shot.BLOCK, 24, 1):
        monkeypatch.setattr(zero_shot, "BLOCK", block)  # rows at a time: all, four, one
        classifier = ZeroShot(texts)
        labels = classifier.predict(images)
        assert labels.dtype == np.int64
        assert labels.tolist() == np.argmax(cosines, axis=1).tolist()


def test_a_factor_common_to_all_images_or_half_precision_changes_no_label(spaces):
    texts, images = spaces
    labels = ZeroShot(texts).predict(images)
    np.testing.assert_array_equal(ZeroShot(3 * texts).predict(7 * images), labels)
    np.testing.assert_array_equal(ZeroShot(texts).predict(images.astype(np.float16)), labels)


def test_rows_may_be_a_memory_map(spaces, tmp_path):
    texts, images = spaces
    np.save(tmp_path / "images.npy", images.astype(np.float32))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(ZeroShot(texts).predict(mapped), ZeroShot(texts).predict(images))


def test_features_of_another_model_or_without_direction_are_refused(spaces):
    texts, images = spaces
    classifier = ZeroShot(texts)
    for bad in (images[:, :5], images[0]):
        with pytest.raises(ValueError, match=r"\(n, 6\)"):
            classifier.predict(bad)
    for value in (0.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"no direction"):
            classifier.predict(np.full((2, 6), value))
    with pytest.raises(ValueError, match=r"\(C, d\)"):
        ZeroShot(texts[0])
    assert classifier.predict(images[:0]).shape == (0,)

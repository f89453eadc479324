"""The digit datasets: counts, splits, backgrounds, class fractions."""

from __future__ import annotations

import numpy as np
import pytest

from hume_turtle.datasets.digits import BACKGROUNDS, BUILDERS, split_rows
from hume_turtle.datasets.registry import load_dataset


def pixels(dataset):
    return np.stack([np.asarray(image) for image in dataset])


def test_the_splits_cover_every_row_once():
    train, test = split_rows(1797, "train"), split_rows(1797, "test")
    assert (len(train), len(test)) == (1198, 599)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(1797))
    assert not np.array_equal(train, np.arange(1198))  # shuffled, as the writers come in order


@pytest.mark.parametrize("name", BUILDERS)
def test_all_is_train_followed_by_test_and_repeats(name):
    train, test, whole = (load_dataset(name, split) for split in ("train", "test", "all"))
    np.testing.assert_array_equal(pixels(whole), np.concatenate([pixels(train), pixels(test)]))
    np.testing.assert_array_equal(whole.labels, np.concatenate([train.labels, test.labels]))
    assert whole.labels.dtype == np.int64
    assert len(whole.class_names) == 10
    again = load_dataset(name, "all")
    assert pixels(again).tobytes() == pixels(whole).tobytes()


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    whole, bunch = load_dataset("digits", "all"), load_digits()
    assert whole[0].mode == "L"
    assert whole[0].size == (8, 8)
    assert pixels(whole).max() == 255
    order = split_rows(1797, "all")
    np.testing.assert_allclose(pixels(whole) / 255 * 16, bunch.images[order], atol=0.04)
    np.testing.assert_array_equal(whole.labels, bunch.target[order])


def test_coloured_backgrounds_are_what_the_attribute_says_and_independent_of_the_digit():
    from sklearn.metrics import normalized_mutual_info_score

    dataset = load_dataset("coloured-digits", "train")
    background = dataset.attributes["background"]
    colours = np.array(list(BACKGROUNDS.values()))
    assert dataset[0].mode == "RGB"
    assert background.shape == (1198,)
    blank = pixels(load_dataset("digits", "train")) == 0  # (n, 8, 8), where no ink is
    expected = np.broadcast_to(colours[background][:, None, None], (1198, 8, 8, 3))
    np.testing.assert_array_equal(pixels(dataset)[blank], expected[blank])
    assert np.bincount(background).min() > 200
    assert normalized_mutual_info_score(background, dataset.labels) < 0.02


@pytest.mark.parametrize("split", ["train", "test"])
def test_unbalanced_classes_fall_geometrically_to_a_fifth(split):
    whole = np.bincount(load_dataset("digits", split).labels)
    kept = np.bincount(load_dataset("unbalanced-digits", split).labels)
    assert kept[0] == whole[0]
    np.testing.assert_allclose(kept / whole, 0.2 ** (np.arange(10) / 9), atol=0.5 / whole.min())


def test_images_and_labels_of_the_unbalanced_set_belong_together():
    whole, part = load_dataset("digits", "all"), load_dataset("unbalanced-digits", "all")
    label = {image.tobytes(): y for image, y in zip(whole, whole.labels, strict=True)}
    assert all(label[image.tobytes()] == y for image, y in zip(part, part.labels, strict=True))


def test_unknown_names_list_what_there_is():
    with pytest.raises(ValueError, match=r"nonsense.*coloured-digits"):
        load_dataset("nonsense", "train")
    with pytest.raises(ValueError, match=r"valid.*train, test, all"):
        load_dataset("digits", "valid")

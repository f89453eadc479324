"""The counts of a dataset beside the papers'."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from hume_turtle.datasets import drawn_splits, torchvision_sets
from hume_turtle.datasets.images import ImageDataset
from hume_turtle.datasets.registry import check_counts
from hume_turtle.storage.names import reported_sizes


def dataset(name: str, split: str, n: int, n_classes: int) -> ImageDataset:
    names = tuple(str(label) for label in range(n_classes))
    return ImageDataset(name, split, range(n), np.zeros(n, np.int64), names)


@pytest.fixture
def silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(("split", "n"), [("train", 10000), ("test", 5000)])
def test_the_papers_counts_give_no_warning(split, n, silent):
    check_counts(dataset("eurosat", split, n, 10))


@pytest.mark.parametrize(
    ("split", "n", "classes"), [("train", 9999, 10), ("test", 10000, 10), ("test", 5000, 9)]
)
def test_a_warning_reports_other_counts_with_both_numbers(split, n, classes):
    expected = {"train": 10000, "test": 5000}[split]
    message = f"'eurosat'.*'{split}'.* {n} images of {classes} .* {expected} images of 10 "
    with pytest.warns(UserWarning, match=message):
        check_counts(dataset("eurosat", split, n, classes))


@pytest.mark.parametrize("name", ["birdsnap", "cifar100-20", "digits"])
def test_what_has_no_fixed_count_gives_no_warning(name, silent):
    check_counts(dataset(name, "train", 3, 2))


@pytest.mark.parametrize("module", [torchvision_sets, drawn_splits])
def test_adapters_have_the_reported_names(module):
    extra = {"cifar100-20", "stl10-unlabelled"}  # HUME's, and what its MoCo learns from
    assert set(module.BUILDERS) - extra <= set(reported_sizes())

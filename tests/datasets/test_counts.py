"""Counts beside the papers'."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from hume_turtle.datasets import counts, drawn_splits, pcam, torchvision_sets
from hume_turtle.datasets.counts import check_counts, reported_sizes, sizes_path
from hume_turtle.datasets.images import ImageDataset


def dataset(name: str, split: str, n: int, n_classes: int) -> ImageDataset:
    names = tuple(str(label) for label in range(n_classes))
    return ImageDataset(name, split, range(n), np.zeros(n, np.int64), names)


@pytest.fixture
def silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(("split", "n"), [("train", 10000), ("test", 5000), ("all", 15000)])
def test_the_papers_counts_pass_in_silence(split, n, silent):
    check_counts(dataset("eurosat", split, n, 10))


@pytest.mark.parametrize(
    ("split", "n", "classes"), [("train", 9999, 10), ("test", 10000, 10), ("all", 15000, 9)]
)
def test_other_counts_are_said_with_both_numbers(split, n, classes):
    expected = {"train": 10000, "test": 5000, "all": 15000}[split]
    message = f"'eurosat'.*'{split}'.* {n} images of {classes} .* {expected} images of 10 "
    with pytest.warns(UserWarning, match=message):
        check_counts(dataset("eurosat", split, n, classes))


@pytest.mark.parametrize("name", ["birdsnap", "cifar100-20", "digits"])
def test_what_no_count_is_demanded_of_passes_in_silence(name, silent):
    check_counts(dataset(name, "train", 3, 2))


@pytest.mark.parametrize("module", [torchvision_sets, pcam, drawn_splits])
def test_adapters_have_the_reported_names(module):
    extra = {"cifar100-20", "stl10-unlabelled"}  # HUME's, and what its MoCo learns from
    assert set(module.BUILDERS) - extra <= set(reported_sizes())


def test_an_installed_package_reads_its_own_copy(tmp_path, monkeypatch):
    checkout = sizes_path()
    assert checkout.parts[-3:] == ("data", "reported", "dataset_sizes.csv")
    package = tmp_path / "site-packages" / "hume_turtle"
    (package / "reported").mkdir(parents=True)
    copy = shutil.copy(checkout, package / "reported")
    monkeypatch.setattr(counts, "__file__", str(package / "counts.py"))
    assert sizes_path() == Path(copy)

"""PatchCamelyon's HDF5 files in DataLoader workers, and without h5py (the rest: with the trees)."""

from __future__ import annotations

import multiprocessing
import pickle
import sys

import pytest

from hume_turtle.datasets.torchvision_sets import H5Images, pcam
from tests.helpers.dataset_trees import pcam as write_pcam
from tests.helpers.dataset_trees import shades_of


@pytest.fixture
def dataset(tmp_path):
    pytest.importorskip("h5py")
    write_pcam(tmp_path)
    return pcam("train", tmp_path, False)


def test_images_survive_pickling_with_their_file_open_and_carry_no_pixels(dataset):
    before = shades_of(dataset)
    content = pickle.dumps(dataset.images)
    assert len(content) < 2000
    assert shades_of(pickle.loads(content)) == before == [10, 20, 30, 40]


def read_back(queue, images):
    queue.put(shades_of(images))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_process_opens_the_file_for_itself(dataset):
    part = dataset.images.parts[0]
    shades_of(part)  # opens the file here, before the fork
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=read_back, args=(queue, part))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert queue.get() == [10, 20, 30]
    assert shades_of(part) == [10, 20, 30]


def test_images_are_named_in_messages_and_rows_beyond_the_file_refused(dataset):
    assert dataset.source(3).endswith("valid_x.h5, image 0")
    part = dataset.images.parts[0]
    assert isinstance(part, H5Images)
    with pytest.raises(IndexError):
        part[3]


def test_without_h5py_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match="pip install h5py"):
        pcam("train", tmp_path, False)

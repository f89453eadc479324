"""The unfinished file: written anywhere, read in pieces, and never taken for another."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from hume_turtle.extraction.journal import Journal, create, pieces

PLAN = {"dtype": "float16", "images": 2500, "dimensions": 3}


def test_rows_written_in_any_order_are_a_npy_file(tmp_path):
    rows = np.random.default_rng(0).normal(size=(2500, 3)).astype(np.float16)
    journal = Journal(tmp_path / "train.npy")
    journal.begin(PLAN)
    for start in (2000, 0, 1000):
        journal.write(PLAN, start, rows[start : start + 1000])
    np.testing.assert_array_equal(np.load(journal.partial, mmap_mode="r"), rows)
    read = list(pieces(journal.partial))
    assert [len(piece) for piece in read] == [1024, 1024, 452]
    np.testing.assert_array_equal(np.concatenate(read), rows)
    skipped = [0, 1023, 1024, 2499]
    kept = np.load(journal.keep(PLAN, skipped))
    np.testing.assert_array_equal(kept, np.delete(rows, skipped, axis=0))
    assert journal.keep(PLAN, []) == journal.partial


def test_the_header_is_that_of_numpy(tmp_path):
    create(tmp_path / "ours", "float32", 7, 5)
    with (tmp_path / "numpys").open("wb") as file:
        np.save(file, np.zeros((7, 5), np.float32))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "numpys").read_bytes()


def test_a_plan_without_its_rows_is_none(tmp_path):
    journal = Journal(tmp_path / "train.npy")
    assert journal.plan() is None
    journal.begin(PLAN)
    journal.record(0, 5, [4, 4], [(3, "torn")])
    assert journal.plan() == PLAN
    assert journal.finished() == {5: {"block": 5, "sizes": [4, 4], "skipped": [[3, "torn"]]}}
    os.truncate(journal.partial, 100)
    assert journal.plan() is None
    journal.begin(PLAN)
    assert journal.finished() == {}


def test_a_full_disk_is_an_error_before_any_work(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="no room for 15128 bytes"):
        Journal(tmp_path / "train.npy").begin(PLAN)


def test_a_file_system_that_cannot_reserve_is_no_error(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.EOPNOTSUPP, "unknown")

    monkeypatch.setattr(os, "posix_fallocate", unknown)
    Journal(tmp_path / "train.npy").begin(PLAN)
    assert Journal(tmp_path / "train.npy").plan() == PLAN

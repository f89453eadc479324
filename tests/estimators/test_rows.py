"""Joined rows: the same numbers whichever part is read, and nothing copied that is large."""

import numpy as np
import pytest
import torch

from hume_turtle.estimators import rows
from hume_turtle.estimators.rows import JoinedRows, row_blocks


@pytest.fixture
def spaces():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(50, 7)), random.normal(size=(50, 4)).astype(np.float16)
    b[3] = 0
    return [a.astype(np.float32), b]


@pytest.mark.parametrize("count", [1, 2])
def test_parts_have_the_bits_of_the_whole(spaces, count, monkeypatch):
    monkeypatch.setattr(rows, "BLOCK", 11)
    joined = JoinedRows(spaces[:count])
    whole = joined[:]
    assert whole.shape == joined.shape
    for width in (1, 40):
        parts = list(row_blocks(joined, width))
        assert len(parts) > 5
        assert torch.equal(torch.cat([part for _, part in parts]), whole)
        assert all(torch.equal(whole[at], part) for at, part in parts)
    order = np.random.default_rng(1).permutation(50)[:20]
    assert torch.equal(joined.take(order)[5:9], whole[order][5:9])
    assert torch.equal(joined.take(order).take(np.arange(3))[:], whole[order[:3]])
    assert torch.equal(joined.minus(whole[0])[4:6], whole[4:6] - whole[0])
    torch.testing.assert_close(joined.mean(), whole.mean(0))


def test_double_precision_stays_and_half_becomes_single(spaces):
    a, b = spaces
    for space, dtype in (
        (a.astype(np.float64), torch.float64),
        ([b, a.astype(np.float64)], torch.float64),
        (b, torch.float32),
        (torch.from_numpy(b).bfloat16(), torch.float32),
    ):
        assert JoinedRows(space).dtype == JoinedRows(space)[:].dtype == dtype


def test_spaces_are_not_copied(spaces, tmp_path):
    np.save(tmp_path / "a.npy", spaces[0])
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    joined = JoinedRows([mapped])
    assert joined[10:].data_ptr() == mapped.ctypes.data + mapped[:10].nbytes
    assert JoinedRows(np.asfortranarray(mapped))[:].is_contiguous()

"""Rows gathered into buffers: the right rows, whatever holds them, and no copy of the data."""

import numpy as np
import pytest
import torch

from hume_turtle.core import batching
from hume_turtle.core.batching import Batches, as_tensor

CPU = torch.device("cpu")


@pytest.mark.parametrize("chunk", [1, 10, 1 << 20])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_batch_is_its_rows_with_a_constant(monkeypatch, dtype, chunk):
    monkeypatch.setattr(batching, "CHUNK", chunk)
    draw = np.random.default_rng(0)
    spaces = [draw.standard_normal((20, d)).astype(dtype) for d in (3, 5)]
    loader = Batches(spaces, 6, CPU, torch.float32)
    for _ in range(2):
        rows = torch.from_numpy(draw.permutation(20)[:6])
        for space, buffer in zip(spaces, loader.load(rows)):
            assert buffer.shape == (6, space.shape[1] + 1)
            flat = buffer.numpy()
            np.testing.assert_array_equal(flat[:, :-1], space[rows].astype(np.float32))
            assert (flat[:, -1] == 1).all()


def test_all_rows_are_loaded_once():
    space = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
    loader = Batches([space], 50, CPU, torch.bfloat16)
    (buffer,) = loader.load(None)
    assert buffer.dtype == torch.bfloat16
    expected = torch.from_numpy(space).bfloat16()
    assert torch.equal(buffer[:, :-1], expected)
    assert loader.load(None)[0].data_ptr() == buffer.data_ptr()


def layouts():
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    frozen = array.copy()
    frozen.flags.writeable = False
    return {
        "plain": array,
        "read-only": frozen,
        "transposed": array.T.copy().T,
        "strided": np.repeat(array, 2, axis=1)[:, ::2],
        "reversed": array[::-1].copy()[::-1],
        "tensor": torch.from_numpy(array),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", layouts())
def test_any_layout_gives_the_same_rows(name):
    loader = Batches([layouts()[name]], 2, CPU, torch.float32)
    (buffer,) = loader.load(torch.tensor([3, 1]))
    assert buffer[:, :-1].tolist() == [[9, 10, 11], [3, 4, 5]]


def test_arrays_are_not_copied():
    array = np.zeros((4, 3), np.float32)
    assert as_tensor(array).data_ptr() == array.ctypes.data

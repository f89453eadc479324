"""On the CPU a graphed function is called; on a GPU its replay gives the same numbers."""

import pytest
import torch

from hume_turtle.core.cuda_graphs import Graphed


def counter(device):
    state = torch.zeros(3, device=device)
    return Graphed(lambda: state.add_(1) * 2, torch.device(device))


def test_every_call_runs_the_function():
    step = counter("cpu")
    assert [step()[0].item() for _ in range(6)] == [2, 4, 6, 8, 10, 12]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_replays_go_on_where_the_eager_calls_stopped():
    step = counter("cuda")
    results = [step() for _ in range(6)]
    assert [result[0].item() for result in results] == [2, 4, 6, 8, 10, 12]

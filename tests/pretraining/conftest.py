"""One thread for all tests of pretraining."""

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_torch_thread():
    """Threads wait for each other longer than networks as small as these take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

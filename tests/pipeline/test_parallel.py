"""Jobs in worker processes: order, errors and lost processes."""

import os
import time

import pytest
import torch

from hume_turtle.pipeline import parallel
from hume_turtle.pipeline.parallel import in_parallel


@pytest.fixture(autouse=True)
def two_workers(monkeypatch):
    monkeypatch.setattr(parallel, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def describe(wait: float, name: str):
    time.sleep(wait)
    return os.getpid(), torch.get_num_threads(), name


def fail(text: str):
    raise ValueError(text)


def die(text: str):
    os._exit(1)


def test_jobs_run_on_one_thread_each_and_results_keep_their_order():
    found = in_parallel(describe, [(0.3, "a"), (0, "b"), (0, "c")], "jobs")
    assert [name for *_, name in found] == ["a", "b", "c"]
    assert {threads for _, threads, _ in found} == {1}
    assert os.getpid() not in {pid for pid, *_ in found}


def test_with_a_gpu_jobs_run_in_this_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert in_parallel(describe, [(0, "a")] * 2, "jobs") == [(os.getpid(), 1, "a")] * 2


def test_no_jobs():
    assert in_parallel(fail, [], "jobs") == []


def test_an_error_is_raised_here_and_the_other_jobs_are_stopped():
    start = time.monotonic()
    with pytest.raises(ValueError, match="this one"):
        in_parallel(_fail_or_wait, [("wait",), ("this one",)], "jobs")
    assert time.monotonic() - start < 20


def _fail_or_wait(text: str):
    if text == "wait":
        time.sleep(60)
    fail(text)


def test_a_lost_worker_is_an_error():
    with pytest.raises(RuntimeError, match="networks: a worker process was killed"):
        in_parallel(die, [("x",), ("y",)], "networks")

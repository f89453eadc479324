"""Independent jobs on all cores, each on one thread, or one after another on all threads.

So their bits do not depend on how many cores there are.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import torch
from joblib import cpu_count
from threadpoolctl import threadpool_limits

from hume_turtle.progress import progress


def in_parallel(
    function: Callable, jobs: list[tuple], label: str, *, threads: int = 1, large: bool = False
) -> list:
    """Call `function(*job)` for every job in worker processes; results in order.

    Where there is a GPU, and for `large` data, of which one job fills the memory, the jobs run one
    after another in this process, on so many threads.

    Raises:
        RuntimeError: if a worker process was lost. What a job raises is raised here, and the
            jobs that still run are stopped.
    """
    alone = large or torch.cuda.is_available()
    workers = min(len(jobs), cpu_count())
    if alone or workers <= 1:
        threads = threads if alone else 1
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            return [function(*job) for job in progress(jobs, len(jobs), label)]
    with ProcessPoolExecutor(workers, initializer=_start_worker) as pool:
        try:
            running = [pool.submit(function, *job) for job in jobs]
            for done in progress(as_completed(running), len(jobs), label):
                done.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            if isinstance(error, BrokenProcessPool):
                what = "was killed, perhaps because the memory was full"
                raise RuntimeError(f"{label}: a worker process {what}") from error
            raise
        return [done.result() for done in running]


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    torch.set_num_threads(1)
    threadpool_limits(1)

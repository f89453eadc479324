"""Embeddings of whole datasets by frozen encoders, at any size: `extract`.

The rows of a split are cut into blocks of `BATCHES` batches. A block's rows go to their place in
the unfinished file, then its line into the journal (journal.py); so memory does not grow with the
dataset, and after a kill the same call goes on with the blocks that are missing. Several
processes (distributed.py) share the blocks of the same grid and write into the same file.

Same bytes: a row's last bits depend on how many images are computed at once. That number is part
of the plan, and a resumed run or one of several processes takes it from there: on machines of one
kind the file is the same to the byte as that of an uninterrupted run by one process. Where a
batch did not fit into memory and was halved, the number is no longer in our hands; the sidecar
then lists under `halved` from which row on it was which, and a resumed run begins with the
smallest so far. `batch_size="auto"` looks at the free memory once, when a file is begun; name a
number to get the same bits on another day.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hume_turtle.checks import check_choice
from hume_turtle.core.precision import pick_device
from hume_turtle.datasets.images import ImageDataset
from hume_turtle.encoders.encoder import Encoder
from hume_turtle.extraction.distributed import Processes
from hume_turtle.extraction.journal import Journal
from hume_turtle.extraction.loading import Encoding, load_batches
from hume_turtle.extraction.plan import (
    BATCHES,
    PRECISIONS,
    batches_of,
    begin,
    complete,
    describe,
    differing,
    missing_blocks,
    smallest,
)
from hume_turtle.storage.embeddings import check_rows, embedding_path

STORED = {"float32": torch.float32, "float16": torch.float16}
MOST_READERS = 16  # of the automatic choice
POLL = 0.2  # seconds between looks at what other processes have done


def extract(
    dataset: ImageDataset,
    encoder: Encoder,
    root: str | Path,
    *,
    precision: str = "fp32",
    dtype: str | None = None,
    batch_size: int | str = "auto",
    workers: int | str = "auto",
    device: str | torch.device = "auto",
    unreadable: str = "stop",
    restart: bool = False,
    progress: bool = True,
    timeout: float = 1800.0,
) -> Path:
    """Embed every image of a split, in order, unscaled, into the cache under `root`; the file.

    The file and its sidecar appear whole or not at all. Killed at any point, the same call goes
    on where it was; called again when all is done, it returns at once. Under `torchrun` all
    processes call it alike and share the work, on a file system that all of them see.

    Args:
        dataset: (n,) images of one split.
        encoder: is moved to the device and, for fp16 and bf16, its weights are rounded, in place.
        precision: that the encoder computes in: "fp32", "fp16" or "bf16".
        dtype: of the stored rows, "float32" or "float16"; by default float32 for fp32 and
            float16 for the other two.
        batch_size: images computed at once; "auto" takes what fits into a GPU's free memory.
            Halved where it does not fit after all.
        workers: processes that read images; 0 reads them in this one; "auto" takes the cores.
        device: "auto" (this process's GPU where there is one), "cpu", "cuda", ...
        unreadable: what to do about an image that cannot be read: "stop" with an error that
            names it, or "skip" it: its row is left out and listed in the sidecar (`kept_rows`).
        restart: discard what was begun or made with other settings instead of refusing.
        progress: a progress bar with images a second and the time left.
        timeout: seconds without a finished block after which other processes are given up.

    Raises:
        ValueError: for bad settings, an empty dataset, an image that cannot be read, NaN and
            infinite values, and where a file begun or made with other settings is in the way.
        RuntimeError: where another process stopped or went silent.
    """
    check_choice("precision", precision, tuple(PRECISIONS))
    dtype = dtype or ("float32" if precision == "fp32" else "float16")
    check_choice("dtype", dtype, tuple(STORED))
    check_choice("unreadable", unreadable, ("stop", "skip"))
    check_count("batch_size", batch_size, 1)
    check_count("workers", workers, 0)
    if len(dataset) == 0:
        raise ValueError(f"dataset {dataset.name!r}, split {dataset.split!r}, has no images")
    processes = Processes.join(timeout)
    device = place(encoder, precision, own_device(device, processes))
    identity = describe(dataset, encoder, precision, dtype, device)
    path = embedding_path(root, dataset.name, encoder.name, dataset.split)
    journal = Journal(path)

    def prepare():
        return begin(journal, dataset, encoder, identity, batch_size, unreadable, restart, device)

    begun = processes.first(prepare)
    if begun is None:
        return path
    plan, finished = begun  # finished before anyone begins: all share out the same blocks
    try:
        if difference := differing(plan, identity):
            raise ValueError(f"the first process has {difference}")
        share = missing_blocks(finished, plan)[processes.rank :: processes.count]
        encoding = Encoding(encoder, device, smallest(finished, plan), STORED[dtype])
        count = reader_count(workers, len(share) * BATCHES, processes)
        done = work(journal, plan, dataset, encoding, share, count, unreadable, processes.rank)
        for _ in watched(done, plan, share, dataset, encoder, progress and processes.rank == 0):
            if processes.count > 1:
                stop_with_the_others(journal)
        wait_for_the_others(journal, plan, timeout)
        processes.meet()  # nobody looks at the journal any more
    except BaseException as error:
        journal.fail(processes.rank, error)
        raise
    processes.first(lambda: complete(journal, plan, dataset))
    return path


def check_count(name: str, value: int | str, least: int) -> None:
    if value != "auto" and (not isinstance(value, int) or value < least):
        raise ValueError(f'{name} must be "auto" or at least {least}, got {value!r}')


def own_device(device: str | torch.device, processes: Processes) -> torch.device:
    """The named device; of several GPUs, the one of this process."""
    device = pick_device(device)
    if device.type == "cuda":
        if device.index is None:
            device = torch.device("cuda", processes.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
    return device


def place(encoder: Encoder, precision: str, device: torch.device) -> torch.device:
    """Bring the encoder to the device and precision; the device. Rounded weights stay rounded."""
    wanted = PRECISIONS[precision]
    for weight in encoder.network.parameters():
        if weight.dtype in (torch.float16, torch.bfloat16) and weight.dtype != wanted:
            raise ValueError(
                f"encoder {encoder.name!r} has been rounded to {weight.dtype} already: "
                f"load it anew for {precision}"
            )
    encoder.to(device) if precision == "fp32" else encoder.to(device, wanted)
    return device


def reader_count(workers: int | str, batches: int, processes: Processes) -> int:
    """Loader processes: by default this process's part of the cores, none for a few batches."""
    if workers != "auto":
        return min(workers, batches)
    if batches <= BATCHES:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MOST_READERS, cores // processes.local_count, batches)


def work(
    journal: Journal,
    plan: dict[str, Any],
    dataset: ImageDataset,
    encoding: Encoding,
    blocks: list[int],
    workers: int = 0,
    unreadable: str = "stop",
    rank: int = 0,
) -> Iterator[int]:
    """Compute blocks and write them; the number of images after each batch."""
    encoder = encoding.encoder
    loader = load_batches(
        dataset.images,
        encoder.preprocess,
        [batch for block in blocks for batch in batches_of(block, plan)],
        workers,
        PRECISIONS[plan["precision"]],
        pin=encoding.device.type == "cuda",
    )
    encoded = iter(encoding(loader))
    for block in blocks:
        batches = batches_of(block, plan)
        start = batches[0].start
        rows = np.zeros((batches[-1].stop - start, plan["dimensions"]), plan["dtype"])
        sizes, skipped = [], []
        for planned in batches:
            batch, found, size = next(encoded)
            check_rows(batch, found, encoder, plan["dimensions"], dataset, unreadable == "skip")
            if len(found):
                rows[np.asarray(batch.rows) - start] = found
            sizes.append(size)
            skipped += batch.unreadable
            yield len(planned)
        journal.write(plan, start, rows)
        journal.record(rank, block, sizes, skipped)


def watched(done: Iterator[int], plan, share: list[int], dataset, encoder, show: bool):
    """The same numbers, with a progress bar: images a second, and the time left."""
    from tqdm import tqdm

    total = sum(len(batch) for block in share for batch in batches_of(block, plan))
    label = f"{dataset.name} {dataset.split} {encoder.name}"
    with tqdm(total=total, desc=label, unit="img", disable=None if show else True) as bar:
        for count in done:
            bar.update(count)
            yield count


def stop_with_the_others(journal: Journal) -> None:
    """Raise RuntimeError where another process has stopped."""
    for failure in journal.failures():
        raise RuntimeError(failure.read_text(encoding="utf-8"))


def wait_for_the_others(journal: Journal, plan: dict[str, Any], timeout: float) -> None:
    """Until all blocks are finished. Raises RuntimeError where another process fails or sleeps."""
    known, since = -1, time.monotonic()
    while missing := len(missing_blocks(journal.finished(), plan)):
        stop_with_the_others(journal)
        if missing != known:
            known, since = missing, time.monotonic()
        elif time.monotonic() - since > timeout:
            raise RuntimeError(
                f"no process has finished a block for {timeout:.0f} seconds, and {missing} are "
                "missing; what is finished is kept: run the same call again"
            )
        time.sleep(POLL)

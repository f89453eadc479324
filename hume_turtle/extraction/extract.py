"""Embeddings of whole datasets by frozen encoders, at any size: `extract`.

The rows of a split are cut into blocks, each a file of its own (blocks.py), so memory does not
grow with the dataset. After a kill the same call computes only the blocks that are missing;
several processes (distributed.py) share the blocks. At the end rank 0 joins them.

Same bytes: a row's last bits depend on how many images are computed at once. That number is part
of the plan, and a resumed run or one of several processes takes it from there: on machines of one
kind the file is the same to the byte as that of an uninterrupted run by one process, unless a
batch did not fit into memory and was halved.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import cpu_count

from hume_turtle.checks import check_choice, check_number
from hume_turtle.core.precision import pick_device
from hume_turtle.datasets.images import ImageDataset
from hume_turtle.encoders.encoder import DTYPES, Encoder
from hume_turtle.extraction.blocks import BATCHES, Blocks, batches_of, block_count, read_json
from hume_turtle.extraction.distributed import barrier, from_env, on_rank_zero
from hume_turtle.extraction.identity import circumstances, differences, identity
from hume_turtle.extraction.loading import check_rows, encode_batches, first_image, load_batches
from hume_turtle.progress import progress
from hume_turtle.storage.embeddings import embedding_path


def extract(
    images: ImageDataset,
    encoder: Encoder,
    root: str | Path,
    *,
    existing: str = "resume",
    precision: str = "fp32",
    batch_size: int | str = "auto",
    workers: int | str = "auto",
    device: str | torch.device = "auto",
    unreadable: str = "stop",
) -> Path:
    """Embed every image of a split, in order, unscaled, into the cache under `root`; the file.

    The file appears whole or not at all. Killed at any point, the same call resumes; called again
    when all is done, it returns at once. Under `torchrun` all processes call it alike and share
    the work, on a file system that all of them see.

    Args:
        encoder: is moved to the device and, for fp16 and bf16, rounded (`Encoder.to`), in place.
        existing: what to do about an embedding that exists, finished or not: "resume" keeps one
            of the same identity (identity.py) and refuses another, "update" keeps one of the same
            identity and replaces another, "replace" computes anew in any case. An old file stays
            until the new one is whole.
        precision: that the encoder computes in: "fp32", stored as float32, "fp16" or "bf16", both
            stored as float16.
        batch_size: images computed at once; "auto" is that of the blocks to resume, else 256 on a
            GPU and 64 on a CPU. Halved where it does not fit into memory.
        workers: DataLoader workers that read images; 0 reads them in this process.
        unreadable: what to do about an image that cannot be read: "stop" with an error that
            names it, or "skip" it: it has no row and is listed in the sidecar (`kept_rows`).

    Raises:
        ValueError: for bad settings, an empty dataset, an image that cannot be read, NaN and
            infinite values, and where an embedding of another identity exists.
        ConnectionError: where another process has ended.
    """
    check_choice("existing", existing, ("resume", "update", "replace"))
    check_choice("precision", precision, tuple(DTYPES))
    check_choice("unreadable", unreadable, ("stop", "skip"))
    for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0)):
        check_number(name, value, least, integer=True, auto=True)
    if len(images) == 0:
        raise ValueError(f"dataset {images.name!r}, split {images.split!r}, has no images")
    rank, count = from_env()
    device = place(encoder, precision, device)
    wanted = identity(images, encoder, precision)
    if batch_size != "auto":
        wanted["batch_size"] = int(batch_size)
    blocks = Blocks(embedding_path(root, images.name, encoder.name, images.split))
    begun = on_rank_zero(
        lambda: begin(blocks, images, encoder, device, wanted, existing, unreadable)
    )
    if begun is None:
        return blocks.path
    plan, missing = begun
    if difference := differences(plan, wanted):
        raise ValueError(f"rank 0 has {difference}")
    share = missing[rank::count]
    workers = worker_count(workers, len(share) * BATCHES)
    done = compute(blocks, plan, images, encoder, device, share, workers, unreadable)
    show(done, plan, share, f"{images.name} {images.split} {encoder.name}", rank)
    barrier()
    on_rank_zero(lambda: blocks.join(plan, images))
    return blocks.path


def place(encoder: Encoder, precision: str, device: str | torch.device) -> torch.device:
    """Move the encoder to the device, of several GPUs this process's, and precision; the device.

    Raises ValueError where the weights have been rounded to another precision already.
    """
    device = pick_device(device)
    if device.type == "cuda":
        if device.index is None:
            local_rank = int(os.environ.get("LOCAL_RANK", 0))
            device = torch.device("cuda", local_rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
    if encoder.dtype not in (torch.float32, DTYPES[precision]):
        raise ValueError(
            f"encoder {encoder.name!r} has been rounded to {encoder.dtype} already: "
            f"load it anew for {precision}"
        )
    encoder.to(device) if precision == "fp32" else encoder.to(device, DTYPES[precision])
    return device


def worker_count(workers: int | str, batches: int) -> int:
    """DataLoader workers: by default this process's part of the cores, none for a few batches."""
    if workers != "auto":
        return min(workers, batches)
    if batches <= BATCHES:
        return 0
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(16, cpu_count() // sharing, batches)


def begin(
    blocks: Blocks, images: ImageDataset, encoder: Encoder, device, wanted, existing, unreadable
) -> tuple[dict[str, Any], list[int]] | None:
    """The plan, begun earlier or now, and its missing blocks; None where all is finished."""
    here, sidecar, plan = circumstances(encoder, device), None, None
    if existing != "replace":
        plan = read_json(blocks.plan_path)
        sidecar = read_json(blocks.path.with_suffix(".json")) if blocks.path.exists() else None
    if usable(sidecar, wanted, here, blocks.path, existing):
        check_skipped(sidecar["skipped"], unreadable, blocks.path)
        if plan is None or not differences(plan, wanted):
            blocks.remove()
        return None
    if usable(plan, wanted, here, blocks.folder, existing):
        check_skipped(blocks.skipped(blocks.finished(), images), unreadable, blocks.folder)
    else:
        example = first_image(images, encoder, DTYPES[wanted["precision"]])
        dimensions = encoder.dim or encoder.encode(example[None].to(device)).shape[1]
        size = wanted.get("batch_size", default_batch_size(device))
        plan = {**wanted, "batch_size": size, "dimensions": dimensions, **here}
        blocks.begin(plan)
    return plan, sorted({*range(block_count(plan))} - {*blocks.finished()})


def default_batch_size(device: torch.device) -> int:
    """Larger ones gain neither device anything."""
    return 64 if device.type == "cpu" else 256


def usable(found: dict | None, wanted: dict, here: dict, path: Path, existing: str) -> bool:
    """Whether what was found is what is wanted.

    Warns where it was made on another device or by other versions of libraries. Raises ValueError
    where it has another identity and is not to be replaced.
    """
    if found is None:
        return False
    difference = differences(found, wanted)
    if difference and existing == "resume":
        raise ValueError(
            f"{path} already exists with other settings: {difference}; pass --overwrite (in "
            f'Python existing="update"), or another folder'
        )
    made, now = (
        {"device": each.get("device"), **each.get("versions", {})} for each in (found, here)
    )
    if not difference and (other := differences(made, now)):
        warnings.warn(f"{path} is kept; it was made with {other}", stacklevel=2)
    return not difference


def check_skipped(skipped: list[dict], unreadable: str, path: Path) -> None:
    if skipped and unreadable == "stop":
        raise ValueError(f"{path} is without {skipped[0]['path']}, which could not be read")


def compute(
    blocks: Blocks,
    plan: dict[str, Any],
    images: ImageDataset,
    encoder: Encoder,
    device: torch.device,
    numbers: list[int],
    workers: int = 0,
    unreadable: str = "stop",
) -> Iterator[int]:
    """Compute blocks and write them; the number of images after each batch."""
    loader = load_batches(
        images.images,
        encoder.preprocess,
        [batch for number in numbers for batch in batches_of(number, plan)],
        workers,
        DTYPES[plan["precision"]],
        pin=device.type == "cuda",
    )
    dtype = getattr(torch, plan["dtype"])
    encoded = encode_batches(loader, encoder, device, plan["batch_size"], dtype)
    for number in numbers:
        rows, skipped = [np.empty((0, plan["dimensions"]), plan["dtype"])], []
        for planned in batches_of(number, plan):
            batch, found = next(encoded)
            check_rows(batch, found, encoder, plan["dimensions"], images, unreadable == "skip")
            if batch.rows:
                rows.append(found)
            skipped += batch.unreadable
            yield len(planned)
        blocks.write(number, np.concatenate(rows), skipped)


def show(done: Iterator[int], plan: dict, share: list[int], label: str, rank: int) -> None:
    """Run to the end; rank 0 shows its images done, their total, rate and time left."""
    total = sum(len(batch) for number in share for batch in batches_of(number, plan))
    options = {"disable": True} if rank else {}
    with progress(total=total, label=label, unit="img", **options) as bar:
        for images in done:
            bar.update(images)

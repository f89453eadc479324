"""How near extraction comes to the encoder's own speed: `benchmark`.

Both are measured side by side: the encoder alone on one batch of prepared tensors that is on the
device already, and what `extract` does: images read and preprocessed by DataLoader workers, copied
to the device, encoded, copied back and written to the disk.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from hume_turtle.benchmarks.methods import now
from hume_turtle.datasets.images import ImageDataset, JoinedImages
from hume_turtle.encoders.encoder import DTYPES, Encoder
from hume_turtle.extraction.blocks import BATCHES, Blocks, block_count
from hume_turtle.extraction.extract import compute, default_batch_size, place, worker_count
from hume_turtle.extraction.loading import IN_FLIGHT, first_image


def benchmark(
    dataset: ImageDataset,
    encoder: Encoder,
    *,
    precision: str = "fp32",
    batch_size: int | str = "auto",
    workers: int | str = "auto",
    device: str | torch.device = "auto",
    seconds: float = 20.0,
    rounds: int = 3,
) -> str:
    """Measure both in turn, `rounds` times, each for `seconds`; a line with the medians.

    No embedding is kept. The images are repeated where they do not last that long. What the
    workers had ready before the clock starts is not counted.
    """
    device = place(encoder, precision, device)
    example = first_image(dataset, encoder, DTYPES[precision])
    if batch_size == "auto":
        batch_size = default_batch_size(device)
    prepared = example.to(device).expand(batch_size, *example.shape).contiguous()
    plan = {
        "batch_size": batch_size,
        "precision": precision,
        "dtype": "float32" if precision == "fp32" else "float16",
        "dimensions": encoder.encode(prepared[:1]).shape[1],
    }
    rate(encoder, prepared, seconds / 10)  # the first calls are slow
    found = []
    for _ in range(rounds):
        alone = rate(encoder, prepared, seconds)
        batches = int(1 + 1.5 * alone * seconds / batch_size)
        count = worker_count(workers, batches)
        # Each worker makes a batch and has two ready, which is the DataLoader's default.
        ready = 3 * count + IN_FLIGHT + BATCHES
        plan["images"] = (batches + ready) * batch_size
        copies = -(-plan["images"] // len(dataset))
        repeated = replace(dataset, images=JoinedImages(*[dataset.images] * copies))
        whole = extraction_rate(plan, repeated, encoder, device, count, ready, seconds)
        found.append((alone, whole))
    alone, whole = (median(rates) for rates in zip(*found))
    return (
        f"encoder alone {alone:.1f} images/s, extraction {whole:.1f} images/s: ratio "
        f"{whole / alone:.3f} (target 0.9), batches of {batch_size}, {count} DataLoader workers"
    )


def rate(encoder: Encoder, images: torch.Tensor, seconds: float) -> float:
    """Images a second of the encoder on one batch that is on its device."""
    batches, start = 0, now(images.device)
    while (spent := now(images.device) - start) < seconds or batches == 0:
        for _ in range(BATCHES):  # as many in a row as extraction has
            encoder.encode(images)
        batches += BATCHES
    return batches * len(images) / spent


def extraction_rate(
    plan: dict, dataset: ImageDataset, encoder: Encoder, device, workers: int, ready: int, seconds
) -> float:
    """Images a second of extraction into a temporary folder, after the first `ready` batches."""
    with tempfile.TemporaryDirectory() as folder:
        blocks = Blocks(Path(folder) / "rows.npy")
        blocks.begin(plan)
        numbers = list(range(block_count(plan)))
        done = compute(blocks, plan, dataset, encoder, device, numbers, workers)
        for _ in range(ready):
            next(done)
        images, start = 0, time.perf_counter()
        for count in done:
            images += count
            if (spent := time.perf_counter() - start) >= seconds:
                break
        done.close()
    return images / spent

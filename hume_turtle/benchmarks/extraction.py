"""How near extraction comes to what the machine can do with the same encoder: `benchmark`.

Three things are measured side by side:

- what `extract` does: images read and preprocessed by DataLoader workers, copied to the device,
  encoded, copied back and written to the disk;
- a plain loop, as anybody would write it: a DataLoader with as many workers, and the encoder;
- the encoder alone, on one batch of prepared tensors that is on the device already.

On a CPU the preparation of images takes its share of the same cores, in both of the first two.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median

import torch
from joblib import cpu_count
from torch.utils.data import DataLoader

from hume_turtle.benchmarks.methods import now
from hume_turtle.datasets.images import ImageDataset, JoinedImages
from hume_turtle.encoders.encoder import DTYPES, Encoder
from hume_turtle.extraction.blocks import BATCHES, Blocks, block_count
from hume_turtle.extraction.extract import compute, default_batch_size, place, worker_count
from hume_turtle.extraction.loading import IN_FLIGHT, first_image


class Prepared(torch.utils.data.Dataset):
    """Preprocessed images and nothing else."""

    def __init__(self, dataset: ImageDataset, encoder: Encoder) -> None:
        self.images, self.preprocess = dataset.images, encoder.preprocess

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.preprocess(self.images[row])


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
    """Measure all three in turn, `rounds` times, each for `seconds`; the medians, in words.

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
    alone_rate(encoder, prepared, seconds / 10)  # the first calls are slow
    found = []
    for _ in range(rounds):
        alone = alone_rate(encoder, prepared, seconds)
        batches = int(1 + 1.5 * alone * seconds / batch_size)
        count = worker_count(workers, batches)
        # Each worker makes a batch and has two ready, which is the DataLoader's default.
        ready = 3 * count + IN_FLIGHT + BATCHES
        plan["images"] = (batches + ready) * batch_size
        copies = -(-plan["images"] // len(dataset))
        repeated = replace(dataset, images=JoinedImages(*[dataset.images] * copies))
        with tempfile.TemporaryDirectory() as folder:
            extraction = extracted(plan, repeated, encoder, device, count, Path(folder))
            whole = rate(extraction, ready, seconds)
        loader = DataLoader(Prepared(repeated, encoder), batch_size, num_workers=count)
        found.append((whole, rate(plain_loop(loader, encoder, device), ready, seconds), alone))
    whole, plain, alone = (median(rates) for rates in zip(*found))
    cost = preparation_seconds(dataset, encoder)
    return (
        f"extraction {whole:.1f} images/s, batches of {batch_size}, {count} DataLoader workers\n"
        f"plain loop {plain:.1f} images/s: ratio {whole / plain:.3f} (target 0.9)\n"
        f"encoder alone {alone:.1f} images/s: ratio {whole / alone:.3f}; preparing the images "
        f"takes extraction {100 * cost * whole / cpu_count():.0f} % of {cpu_count()} cores"
    )


def alone_rate(encoder: Encoder, images: torch.Tensor, seconds: float) -> float:
    """Images a second of the encoder on one batch that is on its device."""
    batches, start = 0, now(images.device)
    while (spent := now(images.device) - start) < seconds or batches == 0:
        for _ in range(BATCHES):  # as many in a row as extraction has
            encoder.encode(images)
        batches += BATCHES
    return batches * len(images) / spent


def extracted(
    plan: dict, dataset: ImageDataset, encoder: Encoder, device, workers: int, folder: Path
) -> Iterator[int]:
    """Extraction into a folder; the number of images after each batch."""
    blocks = Blocks(folder / "rows.npy")
    blocks.begin(plan)
    yield from compute(
        blocks, plan, dataset, encoder, device, list(range(block_count(plan))), workers
    )


def plain_loop(loader: Iterable[torch.Tensor], encoder: Encoder, device) -> Iterator[int]:
    """A user's own loop; the number of images after each batch."""
    for images in loader:
        yield len(encoder.encode(images.to(device)).cpu())


def rate(done: Iterator[int], ready: int, seconds: float) -> float:
    """Images a second of a loop that tells of each batch, after the first `ready` ones."""
    for _ in islice(done, ready):
        pass
    images, start = 0, time.perf_counter()
    for count in done:
        images += count
        if (spent := time.perf_counter() - start) >= seconds:
            break
    done.close()
    return images / spent


def preparation_seconds(dataset: ImageDataset, encoder: Encoder) -> float:
    """CPU time to read and preprocess an image, the mean over a few."""
    images = Prepared(dataset, encoder)
    count, start = min(len(images), 100), time.process_time()
    for row in range(count):
        images[row]
    return (time.process_time() - start) / count

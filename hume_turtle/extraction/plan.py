"""What an extraction is to do, and which file stands for it.

A plan is a description of everything that the rows follow from, and the batch size. Its rows are
cut into blocks of `BATCHES` batches. The first process makes or finds the plan (`begin`) and,
when all blocks are there, gives the file its name (`complete`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hume_turtle.datasets.images import ImageDataset
from hume_turtle.encoders.encoder import Encoder
from hume_turtle.extraction.journal import Journal
from hume_turtle.extraction.loading import Images, pick_batch_size
from hume_turtle.storage.embeddings import LIBRARIES, file_statistics

BATCHES = 4  # of a block: what a kill can cost, and a process's smallest share
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
OPTIONAL_LIBRARIES = {"open_clip": "open_clip_torch", "timm": "timm", "torchvision": "torchvision"}
PROBES = 16  # images whose content tells one dataset from another of the same names


def describe(dataset, encoder: Encoder, precision: str, dtype: str, device) -> dict[str, Any]:
    """What the rows follow from, but for the batch size."""
    return as_json(
        {
            "dataset": dataset.name,
            "split": dataset.split,
            "encoder": encoder.name,
            "settings": encoder.settings,
            "preprocess": re.sub(r" at 0x[0-9a-f]+", "", repr(encoder.preprocess)),
            "weights_sha256": weights_sha256(encoder.network),
            "precision": precision,
            "dtype": dtype,
            "device": device.type,
            "images": len(dataset),
            "images_sha256": images_sha256(dataset),
            "versions": versions(encoder),
        }
    )


def as_json(content: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(content))


def weights_sha256(network: torch.nn.Module) -> str:
    """SHA-256 of all weights and buffers, names and shapes included.

    All of them, not a sample: some seconds for a billion parameters.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(content.numpy())
    return digest.hexdigest()


def images_sha256(dataset: ImageDataset) -> str:
    """SHA-256 of where the images come from, and of the pixels of a few spread over the dataset.

    Names count without the folder that they have in common, so a dataset can be moved. No label
    enters.
    """
    names = (dataset.source(row) for row in range(len(dataset)))
    first = last = next(names)
    for name in names:
        first, last = min(first, name), max(last, name)
    cut = len(os.path.commonprefix([first, last]))  # noqa: RUF071  by characters: never an error
    digest = hashlib.sha256()
    for row in range(len(dataset)):
        digest.update(dataset.source(row)[cut:].encode(errors="surrogateescape") + b"\0")
    for row in np.unique(np.linspace(0, len(dataset) - 1, PROBES).astype(int)):
        try:
            digest.update(np.asarray(dataset[int(row)]).tobytes())
        except Exception:  # unreadable; `work` says so
            digest.update(b"unreadable")
    return digest.hexdigest()


def versions(encoder: Encoder) -> dict[str, str]:
    """Of the libraries that can change an embedding of this encoder."""
    parts = [*encoder.network.modules(), encoder.preprocess]
    parts += getattr(encoder.preprocess, "transforms", [])
    roots = {type(each).__module__.partition(".")[0] for each in parts}
    optional = [name for root, name in OPTIONAL_LIBRARIES.items() if root in roots]
    return {library: version(library) for library in sorted([*LIBRARIES, *optional])}


def differing(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """In words, what is not as wanted; empty where all is."""
    keys = [key for key in wanted if found.get(key) != wanted[key]]
    return "; ".join(f"{key} {found.get(key)!r} instead of {wanted[key]!r}" for key in keys)


def missing_blocks(finished: dict[int, dict], plan: dict[str, Any]) -> list[int]:
    return [block for block in range(block_count(plan)) if block not in finished]


def smallest(finished: dict[int, dict], plan: dict[str, Any]) -> int:
    """Images to compute at once: of the plan, or as few as had to be so far."""
    sizes = [size for block in finished.values() for size in block["sizes"]]
    return min([plan["batch_size"], *sizes])


def block_count(plan: dict[str, Any]) -> int:
    return -(-plan["images"] // (BATCHES * plan["batch_size"]))


def batches_of(block: int, plan: dict[str, Any]) -> list[range]:
    """The rows of each batch of a block."""
    size = plan["batch_size"]
    start = block * BATCHES * size
    end = min(start + BATCHES * size, plan["images"])
    return [range(at, min(at + size, end)) for at in range(start, end, size)]


def begin(
    journal, dataset, encoder, identity, batch_size, unreadable, restart, device
) -> tuple[dict[str, Any], dict[int, dict]] | None:
    """The plan and its finished blocks, begun earlier or now; None where all is done."""
    wanted = identity if batch_size == "auto" else {**identity, "batch_size": batch_size}
    for leftover in journal.failures():
        leftover.unlink()
    sidecar, plan = finished_sidecar(journal.path), journal.plan()
    if usable(sidecar, wanted, journal.path, restart):
        check_skipped(sidecar["skipped"], unreadable, journal.path)
        if plan is None or not differing(plan, wanted):
            journal.remove()
        return None
    if usable(plan, wanted, journal.partial, restart):
        check_skipped(skipped_of(journal.finished(), dataset), unreadable, journal.partial)
        if journal.sidecar() is None:
            return plan, journal.finished()
        journal.finish(journal.sidecar())
        return None
    example = first_image(dataset, encoder, precision=PRECISIONS[identity["precision"]])
    if batch_size == "auto":
        batch_size = pick_batch_size(encoder, example, device)
    dimensions = encoder.dim or encoder.encode(example[None].to(device)).shape[1]
    plan = {**identity, "batch_size": batch_size, "dimensions": dimensions}
    journal.begin(plan)
    return plan, {}


def usable(found: dict | None, wanted: dict, path: Path, restart: bool) -> bool:
    """Whether what was found is what is wanted. Raises ValueError where it is in the way."""
    if found is None:
        return False
    difference = differing(found, wanted)
    if difference and not restart:
        raise ValueError(
            f"{path} has {difference}: give restart=True to make it anew, or another root"
        )
    return not difference


def check_skipped(skipped: list[dict], unreadable: str, path: Path) -> None:
    if skipped and unreadable == "stop":
        raise ValueError(f"{path} lacks {skipped[0]['path']}, which could not be read")


def finished_sidecar(path: Path) -> dict[str, Any] | None:
    sidecar = path.with_suffix(".json")
    if not (path.exists() and sidecar.exists()):
        return None
    return json.loads(sidecar.read_text(encoding="utf-8"))


def first_image(dataset: ImageDataset, encoder: Encoder, precision: torch.dtype) -> torch.Tensor:
    """The first preprocessed image that can be read. Raises ValueError where there is none."""
    images = Images(dataset.images, encoder.preprocess)
    for row in range(len(images)):
        _, image = images[row]
        if not isinstance(image, str):
            return image.to(precision) if image.is_floating_point() else image
    raise ValueError(f"no image of {dataset.name!r} can be read; {dataset.source(0)}: {image}")


def complete(journal: Journal, plan: dict[str, Any], dataset: ImageDataset) -> None:
    """All blocks are there: drop the skipped rows, describe the file, and give it its name."""
    blocks = journal.finished()
    skipped = skipped_of(blocks, dataset)
    if len(skipped) == plan["images"]:
        raise ValueError(f"no image of {dataset.name!r} can be read; {skipped[0]['error']}")
    file = journal.keep(plan, [each["row"] for each in skipped])
    halved = sizes_by_row(blocks, plan)
    journal.finish(
        {
            **plan,
            **({"halved": halved} if len(halved) > 1 or halved[0][1] < plan["batch_size"] else {}),
            "rows": plan["images"] - len(skipped),
            "skipped": skipped,
            **file_statistics(file),
        }
    )


def skipped_of(blocks: dict[int, dict], dataset: ImageDataset) -> list[dict[str, Any]]:
    """The images left out: row, path and error of each."""
    found = sorted(tuple(each) for block in blocks.values() for each in block["skipped"])
    return [{"row": row, "path": dataset.source(row), "error": error} for row, error in found]


def sizes_by_row(blocks: dict[int, dict], plan: dict[str, Any]) -> list[list[int]]:
    """[row, images computed at once from there on] wherever the number changes."""
    sizes = [size for _, block in sorted(blocks.items()) for size in block["sizes"]]
    changes = [i for i, size in enumerate(sizes) if i == 0 or size != sizes[i - 1]]
    return [[i * plan["batch_size"], sizes[i]] for i in changes]

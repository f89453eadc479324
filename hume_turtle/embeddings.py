"""The embedding cache: one .npy a (dataset, space, split) and a JSON sidecar that says what it is.

    <root>/<dataset>/<space>/<split>.npy     (n, d) float32
    <root>/<dataset>/<space>/<split>.json    encoder, settings, counts, versions, checksum

Scale: TURTLE's step sizes act on features of order one, so every space is stored with unit root
mean square per element on its training split: one scalar a space, taken from the training
embeddings, applied to every split and recorded in the sidecar as `scale`. Directions, angles and
relative distances are untouched.

True labels are files of their own, in a folder of the caller's choice, so that a stage that fits
never depends on them. Nothing here carries a time stamp: the same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hume_turtle.datasets import ImageDataset, load_dataset
from hume_turtle.encoders import Encoder
from hume_turtle.files import atomic_write

LIBRARIES = ("numpy", "pillow", "scikit-learn", "torch")  # whose versions can change an embedding


def embed(
    dataset: ImageDataset, encoder: Encoder, batch_size: int = 256, device: str = "cpu"
) -> np.ndarray:
    """Encode every image of a dataset, in order, unscaled: (n, d) float32.

    Raises ValueError for an empty dataset, a batch size below 1, rows of another width than the
    encoder states, and NaN or infinite values.
    """
    if len(dataset) == 0:
        raise ValueError(f"dataset {dataset.name!r}, split {dataset.split!r}, has no images")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    encoder.to(device)
    batches = []
    for start in range(0, len(dataset), batch_size):
        rows = range(start, min(start + batch_size, len(dataset)))
        batch = torch.stack([encoder.preprocess(dataset[row]) for row in rows])
        batches.append(encoder.encode(batch.to(device)).cpu().numpy())
    rows = np.concatenate(batches)  # (n, d)
    if encoder.dim is not None and rows.shape[1] != encoder.dim:
        raise ValueError(f"encoder {encoder.name!r} gives {rows.shape[1]}, not {encoder.dim}")
    if not np.isfinite(rows).all():
        raise ValueError(f"encoder {encoder.name!r} gave NaN or infinite values")
    return rows


def unit_rms_scale(embedding: np.ndarray) -> float:
    """The factor that brings (n, d) to unit root mean square per element; 1 for all zeros."""
    rms = float(np.sqrt(np.mean(np.square(embedding, dtype=np.float64))))
    return 1 / rms if rms > 0 else 1.0


def embed_splits(
    root: str | Path,
    dataset: str,
    encoder: Encoder,
    splits: Sequence[str] = ("train", "test"),
    *,
    data_root: str | Path | None = None,
    batch_size: int = 256,
    device: str = "cpu",
) -> list[Path]:
    """Embed splits of a dataset, at the scale of its training split, and save them under `root`."""
    unscaled = {
        split: embed(load_dataset(dataset, split, data_root), encoder, batch_size, device)
        for split in dict.fromkeys(("train", *splits))
    }
    scale = unit_rms_scale(unscaled["train"])
    return [
        save_embedding(root, dataset, split, unscaled[split] * np.float32(scale), encoder, scale)
        for split in splits
    ]


def embedding_path(root: str | Path, dataset: str, space: str, split: str) -> Path:
    """`<root>/<dataset>/<space>/<split>.npy`. Raises ValueError for a name that leaves the root."""
    return Path(root) / part(dataset) / part(space) / f"{part(split)}.npy"


def part(name: str) -> str:
    """The name, if it can be one part of a path; else a ValueError."""
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise ValueError(f"{name!r} cannot be a part of a path")
    return name


def save_embedding(
    root: str | Path,
    dataset: str,
    split: str,
    embedding: np.ndarray,
    encoder: Encoder,
    scale: float = 1.0,
) -> Path:
    """Write (n, d) rows as float32 and their sidecar, whole or not at all; the .npy's path.

    The space is the encoder's name. scale: the factor already applied to what the encoder gave.
    """
    if embedding.ndim != 2:
        raise ValueError(f"an embedding is (n, d), got shape {embedding.shape}")
    path = embedding_path(root, dataset, encoder.name, split)
    content = npy_bytes(np.asarray(embedding, np.float32))
    sidecar = {
        "dataset": dataset,
        "split": split,
        "encoder": encoder.name,
        "settings": encoder.settings,
        "scale": scale,
        "rows": embedding.shape[0],
        "dimensions": embedding.shape[1],
        "versions": {library: version(library) for library in LIBRARIES},
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    with atomic_write(path) as file:
        file.write(content)
    with atomic_write(path.with_suffix(".json"), "w") as file:
        file.write(json.dumps(sidecar, indent=2) + "\n")
    return path


def load_embedding(
    root: str | Path,
    dataset: str,
    space: str,
    split: str,
    mmap: bool = False,
    verify: bool = False,
) -> np.ndarray:
    """The saved rows, (n, d) float32; mmap opens them read-only without reading them.

    verify: also compare the file's SHA-256 with the sidecar's. Raises FileNotFoundError where
    a file is missing, ValueError where the two disagree.
    """
    path = embedding_path(root, dataset, space, split)
    sidecar = load_sidecar(root, dataset, space, split)
    if not path.exists():
        raise FileNotFoundError(f"no embedding at {path}")
    if verify and file_sha256(path) != sidecar["sha256"]:
        raise ValueError(f"{path} is not the file its sidecar describes: the checksums differ")
    rows = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    stated = (sidecar["rows"], sidecar["dimensions"])
    if rows.shape != stated:
        raise ValueError(f"{path} has shape {rows.shape}, its sidecar states {stated}")
    return rows


def load_sidecar(root: str | Path, dataset: str, space: str, split: str) -> dict[str, Any]:
    """What an embedding is. Raises ValueError where the file lacks what every sidecar states."""
    path = embedding_path(root, dataset, space, split).with_suffix(".json")
    if not path.exists():
        raise FileNotFoundError(f"no sidecar at {path}")
    sidecar = json.loads(path.read_text())
    lacking = [key for key in ("rows", "dimensions", "sha256") if key not in sidecar]
    if lacking:
        raise ValueError(f"{path} does not state {', '.join(lacking)}")
    return sidecar


def labels_path(root: str | Path, dataset: str, split: str, kind: str = "") -> Path:
    """`<root>/<dataset>/<split>.npy`, or `<split>-<kind>.npy` for another labeling."""
    name = f"{split}-{kind}" if kind else split
    return Path(root) / part(dataset) / f"{part(name)}.npy"


def save_labels(
    root: str | Path, dataset: str, split: str, labels: np.ndarray, kind: str = ""
) -> Path:
    """Write (n,) integer labels as int64, whole or not at all; the file's path.

    kind: the name of another labeling of the same images, as in `ImageDataset.attributes`.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels are (n,) integers, got shape {labels.shape} of {labels.dtype}")
    path = labels_path(root, dataset, split, kind)
    with atomic_write(path) as file:
        file.write(npy_bytes(labels.astype(np.int64)))
    return path


def load_labels(root: str | Path, dataset: str, split: str, kind: str = "") -> np.ndarray:
    """The saved labels, (n,) int64. Raises FileNotFoundError where there are none."""
    path = labels_path(root, dataset, split, kind)
    if not path.exists():
        raise FileNotFoundError(f"no labels at {path}")
    return np.load(path, allow_pickle=False)


def npy_bytes(array: np.ndarray) -> bytes:
    """The array as an .npy file's bytes."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()

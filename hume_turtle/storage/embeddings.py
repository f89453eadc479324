"""The embedding cache: one .npy per (dataset, space, split) and a JSON sidecar that describes it.

    <root>/<dataset>/<space>/<split>.npy     (n, d) float32 or float16, as the encoder gave them
    <root>/<dataset>/<space>/<split>.json    encoder, settings, counts, versions, checksum

Scale: TURTLE's step sizes act on features of order one. `load_spaces` brings every space to unit
root mean square per element on its training split, or on the test split where there is no other:
one scalar per space, from the `mean_square` in that split's sidecar, applied to every split.
Directions, angles and relative distances are untouched, and the files hold what the encoder gave.

True labels are files of their own, in a folder of the caller's choice, so that a stage that fits
never depends on them. Nothing here carries a time stamp: the same input gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hume_turtle.checks import check_choice
from hume_turtle.storage.files import atomic_write, file_sha256
from hume_turtle.storage.names import SPLITS

STATED = ("rows", "dimensions", "mean_square", "skipped", "sha256")  # by every sidecar
ROWS = 1024  # read at once for the mean square


def embedding_path(root: str | Path, dataset: str, space: str, split: str) -> Path:
    """`<root>/<dataset>/<space>/<split>.npy`. Raises ValueError for a name that leaves the root."""
    return Path(root) / part(dataset) / part(space) / f"{part(split)}.npy"


def part(name: str) -> str:
    """The name, if it can be one part of a path; else a ValueError."""
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise ValueError(f"{name!r} cannot be a part of a path")
    return name


def save_embedding(
    root: str | Path, dataset: str, split: str, embedding: np.ndarray, encoder, **stated
) -> Path:
    """Write (n, d) unscaled rows as float32 and their sidecar, whole or not at all; the .npy.

    encoder: whose `name` is the space's, and whose `settings` the sidecar holds.
    stated: what else the sidecar says, or says otherwise.
    """
    if embedding.ndim != 2:
        raise ValueError(f"an embedding is (n, d), got shape {embedding.shape}")
    path = embedding_path(root, dataset, encoder.name, split)
    with atomic_write(path) as file:
        np.save(file, np.ascontiguousarray(embedding, np.float32))
    described = {
        "dataset": dataset,
        "split": split,
        "encoder": encoder.name,
        "settings": encoder.settings,
        "dtype": "float32",
        "rows": embedding.shape[0],
        "dimensions": embedding.shape[1],
        "skipped": [],
    }
    write_sidecar(path, {**described, **file_statistics(path), **stated})
    return path


def write_sidecar(path: Path, content: dict[str, Any]) -> None:
    """Write the sidecar of the embedding at `path`; `content` holds at least `STATED`."""
    with atomic_write(path.with_suffix(".json"), "w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2) + "\n")


def file_statistics(path: Path) -> dict[str, Any]:
    """Mean square per element and SHA-256 of a .npy file of rows, read in pieces.

    The sum is taken in float64, always over the same pieces in the same order.
    """
    rows, total = np.load(path, mmap_mode="r", allow_pickle=False), 0
    for start in range(0, len(rows), ROWS):
        total += float(np.sum(np.square(rows[start : start + ROWS], dtype=np.float64)))
    return {"mean_square": total / max(rows.size, 1), "sha256": file_sha256(path)}


def load_embedding(
    root: str | Path,
    dataset: str,
    space: str,
    split: str,
    mmap: bool = False,
    verify: bool = False,
) -> np.ndarray:
    """The saved rows, (n, d), unscaled; mmap opens them read-only without reading them.

    verify: also compare the file's SHA-256 with the sidecar's. Raises FileNotFoundError where
    a file is missing, ValueError where the two disagree.
    """
    path = embedding_path(root, dataset, space, split)
    sidecar = load_sidecar(root, dataset, space, split)
    if verify and file_sha256(path) != sidecar["sha256"]:
        raise ValueError(f"{path} is not the file its sidecar describes: the checksums differ")
    rows = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    stated = (sidecar["rows"], sidecar["dimensions"])
    if rows.shape != stated:
        raise ValueError(f"{path} has shape {rows.shape}, its sidecar states {stated}")
    return rows


def load_sidecar(root: str | Path, dataset: str, space: str, split: str) -> dict[str, Any]:
    """What an embedding is. Raises ValueError where a key that every sidecar states is missing."""
    path = embedding_path(root, dataset, space, split).with_suffix(".json")
    if not path.exists():
        raise FileNotFoundError(f"no sidecar at {path}")
    sidecar = json.loads(path.read_text(encoding="utf-8"))
    missing = [key for key in STATED if key not in sidecar]
    if missing:
        raise ValueError(f"{path} does not state {', '.join(missing)}")
    return sidecar


def is_imported(root: str | Path, dataset: str, space: str, splits: Sequence[str] = SPLITS) -> bool:
    """Whether all these splits exist and were imported from a released archive (released/)."""
    try:
        sidecars = [load_sidecar(root, dataset, space, split) for split in splits]
    except FileNotFoundError:
        return False
    return all("source" in sidecar.get("settings", {}) for sidecar in sidecars)


def load_spaces(
    root: str | Path, dataset: str, spaces: Sequence[str], split: str, scale: str = "unit-rms"
) -> list[np.ndarray]:
    """The rows of one split in several spaces, (n, d_k) each: row i is the same image in all.

    scale: "unit-rms" brings each space to unit root mean square per element on its training
    split, by one factor, and returns float32 arrays; where a space has a test split alone, the
    factor is that split's. "none" returns read-only memory maps of the files, float32 or float16.

    Raises FileNotFoundError where a file is missing, ValueError where other images were
    skipped in one space than in another.
    """
    check_choice("scale", scale, ("unit-rms", "none"))
    kept_rows_of(root, dataset, spaces, split)
    if scale == "none":
        return [load_embedding(root, dataset, space, split, mmap=True) for space in spaces]
    scaling = [scaling_split(root, dataset, space) for space in spaces]
    squares = [load_sidecar(root, dataset, *of)["mean_square"] for of in zip(spaces, scaling)]
    return [
        load_embedding(root, dataset, space, split) * np.float32(1 / np.sqrt(mean_square or 1))
        for space, mean_square in zip(spaces, squares)
    ]


def scaling_split(root: str | Path, dataset: str, space: str) -> str:
    """The split whose mean square scales a space: train, or test where it is the only one."""
    there = [s for s in SPLITS if embedding_path(root, dataset, space, s).exists()]
    return "test" if there == ["test"] else "train"


def kept_rows(sidecar: dict[str, Any]) -> np.ndarray:
    """Which images of the dataset the rows of an embedding are, (rows,) int64.

    All of them but those that could not be read; a labeling of the dataset is brought to the
    embedding's rows by `labels[kept_rows(sidecar)]`.
    """
    skipped = [each["row"] for each in sidecar["skipped"]]
    return np.delete(np.arange(sidecar["rows"] + len(skipped)), np.array(skipped, int))


def kept_rows_of(root: str | Path, dataset: str, spaces: Sequence[str], split: str) -> np.ndarray:
    """`kept_rows` of spaces that have to agree. Raises ValueError where they do not."""
    kept = [kept_rows(load_sidecar(root, dataset, space, split)) for space in spaces]
    for space, rows in zip(spaces, kept):
        if not np.array_equal(rows, kept[0]):
            differing = sorted(set(rows.tolist()) ^ set(kept[0].tolist()))
            raise ValueError(
                f"{dataset} {split}: the rows of {spaces[0]} and {space} are not the same images; "
                f"image {differing[0]} is in one of them only ({len(differing)} such)"
            )
    return kept[0]


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
        np.save(file, np.ascontiguousarray(labels, np.int64))
    return path


def load_labels(root: str | Path, dataset: str, split: str, kind: str = "") -> np.ndarray:
    """The saved labels, (n,) int64. Raises FileNotFoundError where there are none."""
    path = labels_path(root, dataset, split, kind)
    if not path.exists():
        raise FileNotFoundError(f"no labels at {path}")
    return np.load(path, allow_pickle=False)

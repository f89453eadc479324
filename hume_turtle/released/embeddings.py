"""HUME's released embeddings and labels, from its archive into the embedding cache."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hume_turtle.released.archives import Array, open_archive, read_blocks, read_header
from hume_turtle.released.layouts import (
    Imported,
    matching,
    our_dataset,
    our_space,
    unknown_spaces,
)
from hume_turtle.released.staging import staging
from hume_turtle.storage.embeddings import embedding_path, labels_path

SPLITS = {"train": "train", "test": "test", "traintest": "all"}
EMBEDDING = re.compile(r"(?:.*/)?representations/([^/]+)/([^/]+?)(traintest|train|test)(_l2)?\.npy")
LABELS = re.compile(r"(?:.*/)?labels/([^/]+?)(traintest|train|test)_targets\.npy")


@dataclass(frozen=True)
class Planned:
    """An array of HUME's data.zip and what it becomes; the space of labels is ""."""

    array: Array
    dataset: str
    space: str
    split: str
    unit_length: bool

    @property
    def place(self) -> Path:
        if self.space:
            return embedding_path("embeddings", self.dataset, self.space, self.split)
        return labels_path("labels", self.dataset, self.split)

    @property
    def files(self) -> list[Path]:
        return [self.place, self.place.with_suffix(".json")] if self.space else [self.place]


def import_hume_embeddings(
    archive: str | Path, output: str | Path, *, overwrite: bool = False
) -> Imported:
    """HUME's data.zip to an embedding cache and labels: `<output>/embeddings`, `<output>/labels`.

    Rows are stored as they are, float32 and unscaled. Of a space's two variants the raw one is
    taken, the one with rows of unit length (`_l2`) where the raw one lacks a split; the sidecar
    says which. `traintest` becomes the split "all" where train or test is missing, else it is
    left out. Arrays go from the archive to the disk a block at a time.

    Args:
        archive: with `representations/<space>/<dataset><split>[_l2].npy` and
            `labels/<dataset><split>_targets.npy`, under any folder.
        output: folder that gets both.
        overwrite: replace files that are there.

    Raises:
        FileNotFoundError: if there is no archive.
        ValueError: for an archive that is not safe, whole or so laid out, arrays of other kinds or
            unequal rows, and files that are there already. Nothing is left behind.
    """
    with open_archive(archive) as opened:
        planned, notes = _plan_embeddings(opened, archive)
        places = [file for each in planned for file in each.files]
        size = sum(math.prod(each.array.shape) * (4 if each.space else 8) for each in planned)
        with staging(output, places, overwrite, size) as folder:
            for each in planned:
                statistics = _copy_array(opened, each, folder / each.place)
                if each.space:
                    text = json.dumps(_sidecar(each, statistics), indent=2) + "\n"
                    (folder / each.place).with_suffix(".json").write_text(text, encoding="utf-8")
    return Imported([Path(output, place) for place in places], notes)


def _plan_embeddings(archive: zipfile.ZipFile, name: str | Path) -> tuple[list[Planned], list[str]]:
    """Which arrays become what; every header is read, no element is."""
    found, notes = matching(archive, [EMBEDDING, LABELS], name)
    named: dict[tuple[str, str, bool], dict[str, zipfile.ZipInfo]] = {}
    for info, match in found:
        if match.re is EMBEDDING:
            space, dataset, split, l2 = match.groups()
        else:
            (dataset, split), space, l2 = match.groups(), "", None
        splits = named.setdefault((our_dataset(dataset), space, bool(l2)), {})
        if SPLITS[split] in splits:
            raise ValueError(f"{name} has {info.filename!r} twice, in different folders")
        splits[SPLITS[split]] = info
    notes += unknown_spaces([space for _, space, _ in named if space])
    planned = []
    for dataset, space in dict.fromkeys(key[:2] for key in named):
        raw, unit = (named.get((dataset, space, l2), {}) for l2 in (False, True))
        splits = max(raw, unit, key=lambda s: ({"train", "test"} <= s.keys(), len(s)))
        wanted = splits.keys() - ({"all"} if {"train", "test"} <= splits.keys() else set())
        for split in sorted(wanted):
            ndim, kinds = (2, "f") if space else (1, "iu")
            array = read_header(archive, splits[split], ndim, kinds)
            our = our_space(space) if space else ""
            planned.append(Planned(array, dataset, our, split, splits is unit))
    left = len(found) - len(planned)
    if left:
        notes.append(f"{left} arrays left out: the same rows joined, or scaled to unit length")
    _check_rows(planned)
    return planned, notes


def _check_rows(planned: list[Planned]) -> None:
    """Raise ValueError unless all arrays of a dataset's split have the same rows."""
    first: dict[tuple[str, str], Array] = {}
    for each in planned:
        other = first.setdefault((each.dataset, each.split), each.array)
        if other.shape[0] != each.array.shape[0]:
            raise ValueError(
                f"member {each.array.info.filename!r} has {each.array.shape[0]} rows, but "
                f"{other.info.filename!r} has {other.shape[0]}"
            )


def _copy_array(archive: zipfile.ZipFile, planned: Planned, path: Path) -> dict:
    """Write embeddings as float32, labels as int64, a block at a time; what a sidecar states.

    That is `mean_square`, per element, and `sha256`, of the file.
    """
    array, dtype = planned.array, "<f4" if planned.space else "<i8"
    buffer = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    digest, total = hashlib.sha256(buffer.getvalue()), 0.0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(buffer.getvalue())
        for block in read_blocks(archive, array):
            with np.errstate(over="ignore"):
                block = block.astype(dtype)
            if not np.isfinite(block).all():
                raise ValueError(f"member {array.info.filename!r} holds NaN or infinite values")
            total += float(np.sum(np.square(block, dtype=np.float64)))
            digest.update(block)
            file.write(block)
    return {"mean_square": total / math.prod(array.shape), "sha256": digest.hexdigest()}


def _sidecar(planned: Planned, statistics: dict) -> dict:
    rows, dimensions = planned.array.shape
    source = planned.array.info.filename
    return {
        "dataset": planned.dataset,
        "split": planned.split,
        "encoder": planned.space,
        "settings": {"source": source, "unit_length": planned.unit_length},
        "dtype": "float32",
        "rows": rows,
        "dimensions": dimensions,
        "skipped": [],  # images without a row: none that is known
        "versions": {},  # of the libraries that made it: not known
        **statistics,
    }

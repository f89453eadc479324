"""HUME's released embeddings and labels, from its archive into the embedding cache."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hume_turtle.released.archives import open_archive, open_array, unpacked
from hume_turtle.released.layouts import Imported, matching, translation
from hume_turtle.storage.embeddings import (
    embedding_path,
    file_statistics,
    labels_path,
    write_sidecar,
)
from hume_turtle.storage.files import new_files

SPLITS = {"train": "train", "test": "test", "traintest": "all"}
EMBEDDING = re.compile(r"(?:.*/)?representations/([^/]+)/([^/]+?)(traintest|train|test)(_l2)?\.npy")
LABELS = re.compile(r"(?:.*/)?labels/([^/]+?)(traintest|train|test)_targets\.npy")


class Array(NamedTuple):
    """A member of HUME's data.zip and what it becomes; the space of labels is ""."""

    info: zipfile.ZipInfo
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
    archive: str | Path,
    output: str | Path,
    overwrite: bool = False,
    rename: Mapping[str, str] | None = None,
) -> Imported:
    """HUME's data.zip to an embedding cache and labels: `<output>/embeddings`, `<output>/labels`.

    Rows are stored as they are, float32 and unscaled. Of a space's two variants the raw one is
    imported, or the one with rows of unit length (`_l2`) where the raw one has no file for a split;
    the sidecar says which. `traintest` becomes the split "all" where train or test is missing and
    is skipped otherwise. Memory does not grow with the arrays.

    archive: with `representations/<space>/<dataset><split>[_l2].npy` and
        `labels/<dataset><split>_targets.npy`, under any folder; arrays may be stored by columns.
    rename: names of its datasets and spaces to ours, where they are not the documented ones.
    Raises as `importers.import_released`, also for arrays of other kinds or unequal rows.
    """
    with open_archive(archive) as opened:
        arrays, notes = _choose(opened, archive, rename or {})
        places = [file for array in arrays for file in array.files]
        sizes = [array.info.file_size for array in arrays]
        rows: dict[tuple[str, str], int] = {}  # of a dataset's split
        with new_files(output, places, overwrite, sum(sizes) + max(sizes)) as folder:
            for array in arrays:
                n = _convert(opened, array, folder)
                if rows.setdefault((array.dataset, array.split), n) != n:
                    raise ValueError(
                        f"member {array.info.filename!r} has {n} rows, another array of "
                        f"{array.dataset} {array.split} has {rows[array.dataset, array.split]}"
                    )
    return Imported([Path(output, place) for place in places], notes)


def _choose(
    archive: zipfile.ZipFile, name: str | Path, rename: Mapping[str, str]
) -> tuple[list[Array], list[str]]:
    """Which members become what, by their names alone, and notes about the others."""
    found, notes = matching(archive, [EMBEDDING, LABELS], name)
    named: dict[tuple[str, str, bool], dict[str, zipfile.ZipInfo]] = {}
    for info, match in found:
        if match.re is EMBEDDING:
            space, dataset, split, l2 = match.groups()
        else:
            (dataset, split), space, l2 = match.groups(), "", None
        splits = named.setdefault((dataset, space, bool(l2)), {})
        if SPLITS[split] in splits:
            raise ValueError(f"{name} has {info.filename!r} twice, in different folders")
        splits[SPLITS[split]] = info
    datasets, spaces, _ = zip(*named)
    ours = translation(name, datasets, filter(None, spaces), rename)
    arrays = []
    for dataset, space in dict.fromkeys(key[:2] for key in named):
        raw, unit = (named.get((dataset, space, l2), {}) for l2 in (False, True))
        splits = max(raw, unit, key=lambda s: ({"train", "test"} <= s.keys(), len(s)))
        wanted = splits.keys() - ({"all"} if {"train", "test"} <= splits.keys() else set())
        names = ours[dataset], ours[space] if space else ""
        arrays += [Array(splits[s], *names, s, splits is unit) for s in sorted(wanted)]
    if skipped := len(found) - len(arrays):
        notes.append(f"skipped {skipped} arrays: the same rows joined, or scaled to unit length")
    return arrays, notes


def _convert(archive: zipfile.ZipFile, array: Array, folder: Path) -> int:
    """Write embeddings as float32 with their sidecar, or labels as int64; the number of rows."""
    name, path = array.info.filename, folder / array.place
    ndim, kinds, dtype = (2, "f", "<f4") if array.space else (1, "iu", "<i8")
    path.parent.mkdir(parents=True, exist_ok=True)
    with unpacked(archive, array.info, folder) as member, np.errstate(over="ignore"):
        source = open_array(member, name, ndim, kinds)  # (n, d) or (n,)
        copy = np.lib.format.open_memmap(path, "w+", dtype, source.shape)
        copy[:] = source  # through a small buffer; row by row, however `source` is stored
        copy.flush()
    if array.space:
        statistics = file_statistics(path)
        if not np.isfinite(statistics["mean_square"]):
            raise ValueError(f"member {name!r} holds NaN or infinite values")
        described = {
            "dataset": array.dataset,
            "split": array.split,
            "encoder": array.space,
            "settings": {"source": name, "unit_length": array.unit_length},
            "dtype": "float32",
            "rows": source.shape[0],
            "dimensions": source.shape[1],
            "skipped": [],  # images without a row: none that is known
            "versions": {},  # of the libraries that made it: not known
        }
        write_sidecar(path, {**described, **statistics})
    return len(source)

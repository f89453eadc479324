"""The files of arrays that commands read and write: rows of spaces, and labels.

    .npy            opened as a memory map
    .npz            of one array, or one by its name: `file.npz:name`
    .pt, .pth       a tensor, or a dictionary of one, or one by its name: `file.pt:name`
    .parquet, .csv  a column for each dimension, or one of lists; a first column of text names rows

Nothing in a file is run.
"""

from __future__ import annotations

import csv
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np

from hume_turtle.storage.files import atomic_write

ARCHIVES = (".npz", ".pt", ".pth")  # may hold several arrays
TABLES = (".parquet", ".csv")
COUNTERS = ("unnamed: 0", "index", "id", "row")  # a first column that only numbers the rows
ANSWERS = ("label", "labels", "class", "target")  # headers of what no fit may see
MARK = "\ufeff".encode().decode("latin-1")  # that some programs put before UTF-8
CHUNK = 4096  # rows read at once from a memory map


class Content(NamedTuple):
    """An array, and the names of its rows where the file has them."""

    values: np.ndarray
    names: list[str] | None = None


def open_arrays(paths: Sequence[str], ndim: int) -> list[np.ndarray]:
    """Arrays of the same rows: spaces (n, d_k) for ndim 2, labelings (n,) for 1.

    Raises FileNotFoundError and ValueError that name the file.
    """
    return [content.values for content in _open_all(paths, ndim)]


def open_spaces(
    paths: Sequence[str], constant: bool = False
) -> tuple[list[np.ndarray], list[str] | None]:
    """K spaces (n, d_k) to be labelled, and the names of their rows where a file has them.

    constant: accept rows that are all the same.

    Raises what `open_arrays` does; ValueError also for a file that is given twice, NaN and
    infinite values, no rows, rows that are all the same, and other names in one file than in
    another.
    """
    contents = _open_all(paths, 2)
    places = [Path(path).resolve() for path in paths]
    for i, path in enumerate(paths):
        if places[i] in places[:i]:
            raise ValueError(f"{path} is given twice: give each space once")
        check_rows(path, contents[i].values, constant)
    named = [(path, content.names) for path, content in zip(paths, contents) if content.names]
    for path, names in named[1:]:
        for row, (one, other) in enumerate(zip(named[0][1], names)):
            if one != other:
                raise ValueError(
                    f"row {row} is {one!r} in {named[0][0]}, but {other!r} in {path}: "
                    "give files of the same images in the same order"
                )
    return [content.values for content in contents], named[0][1] if named else None


def _open_all(paths: Sequence[str], ndim: int) -> list[Content]:
    contents = [_open(path, ndim) for path in paths]
    first = len(contents[0].values)
    for path, content in zip(paths, contents):
        if len(content.values) != first:
            raise ValueError(
                f"{path} has {len(content.values)} rows, but {paths[0]} has {first}: "
                "give files of the same images in the same order"
            )
    return contents


def _open(path: str, ndim: int) -> Content:
    file, member = file_and_member(path)
    if not Path(file).is_file():
        raise FileNotFoundError(f"no file {file}")
    suffix = Path(file).suffix.lower()
    if suffix not in READERS:
        raise ValueError(f"{path}: cannot read {suffix or 'this'}; files read: {' '.join(READERS)}")
    array, names = READERS[suffix](file, member)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path} holds {array.dtype}, not numbers")
    if suffix in TABLES and ndim == 1 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != ndim:
        wanted = {1: "one, (n,)", 2: "two, (n, d)"}[ndim]
        raise ValueError(f"{path} has {array.ndim} dimensions, {array.shape}, not {wanted}")
    return Content(array, names)


def file_and_member(path: str) -> tuple[str, str | None]:
    """The file and the array in it that `file.npz:name` names; a file of that very name first."""
    file, colon, member = path.rpartition(":")
    if colon and not Path(path).exists() and file.lower().endswith(ARCHIVES):
        return file, member
    return path, None


def read_npy(path: str, member: str | None) -> Content:
    try:
        return Content(np.lib.format.open_memmap(path, mode="r"))
    except ValueError as error:
        raise ValueError(f"{path} is not an .npy file of numbers: {error}") from None


def read_npz(path: str, member: str | None) -> Content:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz file")
    with np.load(path, allow_pickle=False) as archive:
        name = chosen(path, archive.files, member)
        try:
            return Content(np.asarray(archive[name]))
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path}: {name} cannot be read: {error}") from None


def read_torch(path: str, member: str | None) -> Content:
    import torch

    try:  # mmap: the older of the two formats has none
        options = {"map_location": "cpu", "weights_only": True, "mmap": zipfile.is_zipfile(path)}
        content = torch.load(path, **options)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError) as error:
        fault = shorten(str(error).partition(". ")[0], 150)
        fault = "damaged, or of another kind" if isinstance(error, LookupError) else fault
        raise ValueError(f"{path} is not a file of tensors alone: {fault}") from None
    if not (torch.is_tensor(content) and member is None):
        named = content.items() if isinstance(content, Mapping) else ()
        tensors = {str(name): value for name, value in named if torch.is_tensor(value)}
        content = tensors[chosen(path, list(tensors), member)]
    content = content.to_dense() if content.layout is not torch.strided else content
    content = content.float() if content.dtype is torch.bfloat16 else content
    return Content(content.detach().numpy())


def chosen(path: str, names: Sequence[str], member: str | None) -> str:
    """The array to read: the one that is named, or the only one."""
    listed = shorten(", ".join(names), 150)
    if not names:
        raise ValueError(f"{path} holds no array")
    if member is None and len(names) > 1:
        raise ValueError(f"{path} holds several arrays ({listed}): name one, as {path}:{names[0]}")
    if member is not None and member not in names:
        raise ValueError(f"{path} has no array {member!r}; it has {listed}")
    return names[0] if member is None else member


def read_parquet(path: str, member: str | None) -> Content:
    import pandas as pd
    import pyarrow  # else pandas raises an error that does not name the package

    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a .parquet file: {shorten(str(error), 150)}") from None
    return of_table(path, frame)


def read_csv(path: str, member: str | None) -> Content:
    import pandas as pd

    header, separator = layout(path)
    options = {"header": 0 if header else None, "sep": separator, "low_memory": False}
    try:
        with open(path, encoding="latin-1", newline="") as file:  # a character for every byte
            file.seek(len(MARK) if file.read(len(MARK)) == MARK else 0)
            frame = pd.read_csv(file, **options)
    except ValueError as error:  # of pandas' parser
        raise ValueError(f"{path} cannot be read: {shorten(str(error), 150)}") from None
    frame.columns = [from_bytes(name) if header else i + 1 for i, name in enumerate(frame.columns)]
    return of_table(path, frame, from_bytes)


def from_bytes(text: Any) -> str:
    """Text of a .csv file, which is UTF-8, or in a name any bytes."""
    return str(text).encode("latin-1").decode("utf-8", "surrogateescape")


def layout(path: str) -> tuple[bool, str]:
    """Whether a .csv file has a header, and what parts its columns.

    A first line of numbers is a row of data, unless they count the columns from 0, as pandas'
    own header does.
    """
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        line = file.readline()
    if "\0" in line:
        raise ValueError(f"{path} is not text in UTF-8: save it as such")
    separator = max(",;\t", key=line.count)
    first = next(csv.reader([line], delimiter=separator), None)
    if not first:
        raise ValueError(f"{path} is empty")
    cells = first if is_number(first[0]) else first[1:]  # the first may be a name
    counts = len(cells) > 1 and cells == [str(i) for i in range(len(cells))]
    return counts or not cells or not all(map(is_number, cells)), separator


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def of_table(path: str, frame, text: Callable[[Any], str] = str) -> Content:
    """The numbers of a table (n, d), and its rows' names, each by `text` of the cell."""
    import pandas as pd

    if not len(frame):
        raise ValueError(f"{path} is empty: it has no rows")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas saved it as a first column
        frame = frame.reset_index(names=frame.index.name or "index")
    names = None
    if names_rows(frame.iloc[:, 0], str(frame.columns[0])):
        column, frame = frame.iloc[:, 0], frame.iloc[:, 1:]
        names = ["" if missing else text(name) for name, missing in zip(column, column.isna())]
        names = None if names == [str(i) for i in range(len(names))] else names  # it says nothing
    if not frame.shape[1]:
        raise ValueError(f"{path} has no column of numbers")
    for header in map(str, frame.columns):
        if frame.shape[1] > 1 and header.lower() in ANSWERS:
            raise ValueError(
                f"{path}: column {header!r} looks like the answer, which no fit may see: leave it "
                "out, and give it as a file of its own to what takes labels"
            )
    return Content(numbers_of(path, frame), names)


def names_rows(column, header: str) -> bool:
    """Whether a first column names the rows: text that is not numbers with a slip, or a counter."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return header.lower() in COUNTERS and column.is_unique
    numbers = pd.to_numeric(column, errors="coerce") if not holds_lists(column) else column
    return bool(numbers.notna().mean() <= 0.5)


def holds_lists(column) -> bool:
    return isinstance(column.iloc[0], (list, tuple, np.ndarray))


def numbers_of(path: str, frame) -> np.ndarray:
    """Columns of numbers, or one of lists, as one array (n, d); a single column keeps its type."""
    import pandas as pd

    for name, column in frame.items():
        if holds_lists(column):
            return of_lists(path, name, frame)
        if not pd.api.types.is_numeric_dtype(column):
            wrong = pd.to_numeric(column, errors="coerce").isna() & column.notna()
            row = int(np.argmax(wrong))
            cell = shorten(repr(column.iloc[row]), 60)
            raise ValueError(
                f"{path}: column {name!r} holds {cell} in row {row}, not a number: leave the "
                "column out or make it numbers; only the first may be text, to name the rows"
            )
    if frame.shape[1] == 1:
        return frame.to_numpy()
    with np.errstate(over="ignore"):
        return frame.to_numpy(np.float32, na_value=np.nan)


def of_lists(path: str, name: str, frame) -> np.ndarray:
    if frame.shape[1] > 1:
        raise ValueError(f"{path}: column {name!r} holds lists: leave the columns beside it out")
    try:
        return np.array(frame[name].tolist())
    except ValueError:
        raise ValueError(f"{path}: the lists of column {name!r} differ in length") from None


READERS: dict[str, Callable[[str, str | None], Content]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".pt": read_torch,
    ".pth": read_torch,
    ".parquet": read_parquet,
    ".csv": read_csv,
}


def check_rows(path: str, space: np.ndarray, constant: bool = False) -> None:
    """Raise ValueError for a space (n, d) without rows, with NaN, or of one row repeated.

    path: what the space is called in the message.
    constant: accept the last.
    """
    if 0 in space.shape:
        raise ValueError(f"{path} is empty: its shape is {space.shape}")
    bad, varies = [], constant
    for start in range(0, len(space), CHUNK):
        part = space[start : start + CHUNK]
        with np.errstate(over="ignore"):
            wrong = ~np.isfinite(part.astype(np.float32, copy=False))
        if wrong.any():
            bad += (start + np.nonzero(wrong)[0]).tolist()
        varies = varies or bool((part != space[0]).any())
    if bad:
        count = f"{len(bad)} of {space.size}"
        where = f"the first in row {bad[0]}"
        raise ValueError(f"{path} has NaN or infinite values ({count}), {where}")
    if not varies and len(space) > 1:
        raise ValueError(f"{path}: all {len(space)} rows are the same, so there are no classes")


def write_labels(path: str, labels: np.ndarray, classes: Iterable[int]) -> None:
    """Write labels (n,) as int64, whole or not at all, and print the rows of each class."""
    with atomic_write(path) as file:
        np.save(file, labels.astype(np.int64))
    print(f"{path}: {rows_of_each(labels, classes)}")


def rows_of_each(labels: np.ndarray, classes: Iterable[int]) -> str:
    counts = " ".join(str(np.count_nonzero(labels == c)) for c in classes)
    return f"{len(labels)} rows labelled; rows of each class: {counts}"

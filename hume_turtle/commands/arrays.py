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
COUNTERS = ("", "index", "id", "row")  # headers of a first column that only numbers the rows
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
    places = [str(Path(path).resolve()) for path in paths]
    for i, path in enumerate(paths):
        if places[i] in places[:i]:
            raise ValueError(f"{path} is given twice: give each space once")
        check_rows(path, contents[i].values, constant)
    named = [(path, content.names) for path, content in zip(paths, contents) if content.names]
    for path, names in named[1:]:
        _check_same_names(path, names, *named[0])
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
    content = READERS[suffix](file, member)
    array = content.values
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path} holds {array.dtype}, not numbers")
    if suffix in TABLES and ndim == 1 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != ndim:
        wanted = {1: "one, (n,)", 2: "two, (n, d)"}[ndim]
        raise ValueError(f"{path} has {array.ndim} dimensions, {array.shape}, not {wanted}")
    return Content(array, content.names)


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

    content = _load_tensors(path)
    if torch.is_tensor(content) and member is None:
        return Content(_as_numpy(path, content))
    named = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): value for name, value in named if torch.is_tensor(value)}
    return Content(_as_numpy(path, tensors[chosen(path, list(tensors), member)]))


def _load_tensors(path: str) -> Any:
    """What `torch.save` wrote, as a memory map where the file allows it."""
    import torch

    options = {"map_location": "cpu", "weights_only": True}
    try:
        if zipfile.is_zipfile(path):
            return torch.load(path, mmap=True, **options)
        return torch.load(path, **options)  # the older format
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError) as error:
        fault = shorten(str(error).partition(". ")[0], 150)
        raise ValueError(f"{path} is not a file of tensors alone: {fault}") from None


def _as_numpy(path: str, tensor) -> np.ndarray:
    import torch

    if tensor.layout is not torch.strided:
        raise ValueError(f"{path} holds a sparse tensor: save it as a dense one")
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()


def chosen(path: str, names: Sequence[str], member: str | None) -> str:
    """The array to read: the one that is named, or the only one."""
    if not names:
        raise ValueError(f"{path} holds no array")
    if member is None and len(names) > 1:
        listed = shorten(", ".join(names), 150)
        raise ValueError(f"{path} holds several arrays ({listed}): name one, as {path}:{names[0]}")
    if member is not None and member not in names:
        raise ValueError(f"{path} has no array {member!r}; it has {shorten(', '.join(names), 150)}")
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
            if file.read(len(MARK)) != MARK:
                file.seek(0)
            frame = pd.read_csv(file, **options)
    except ValueError as error:  # of pandas' parser
        raise ValueError(f"{path} cannot be read: {shorten(str(error), 150)}") from None
    return of_table(path, frame, from_bytes)


def from_bytes(text: Any) -> str:
    """Text of a .csv file, which is UTF-8, or in a name any bytes."""
    return str(text).encode("latin-1").decode("utf-8", "surrogateescape")


def layout(path: str) -> tuple[bool, str]:
    """Whether a .csv file has a header, and what parts its columns.

    A first line of numbers is a row of data, unless they count the columns from 0, as pandas'
    own header does.
    """
    options = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": ""}
    with open(path, **options) as file:
        line = file.readline()
        if "\0" in line:
            raise ValueError(f"{path} is not text in UTF-8: save it as such")
        separator = max(",;\t", key=line.count)
        file.seek(0)
        try:
            first = next(csv.reader(file, delimiter=separator), None)
        except csv.Error as error:
            raise ValueError(f"{path} is not a .csv file: {error}") from None
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
    """The numbers of a table (n, d), and its rows' names; text: of a cell or header."""
    import pandas as pd

    if not len(frame):
        raise ValueError(f"{path} is empty: it has no rows")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas saved it as a first column
        frame = frame.reset_index(names=frame.index.name or "")
    headers = ["" if str(name).startswith("Unnamed: ") else text(name) for name in frame.columns]
    headless = [isinstance(name, int) for name in frame.columns]
    shown = [f"column {i + 1}" if no or not name else f"column {name!r}"
             for i, (name, no) in enumerate(zip(headers, headless))]  # fmt: skip
    names, start = None, 0
    if len(headers) and names_rows(frame.iloc[:, 0], headers[0], headless[0]):
        names, start = row_names(frame.iloc[:, 0], text), 1
    numbers, shown, headers = frame.iloc[:, start:], shown[start:], headers[start:]
    if not len(headers):
        raise ValueError(f"{path} has no column of numbers")
    for header in headers:
        if len(headers) > 1 and header.lower() in ANSWERS:
            raise ValueError(
                f"{path}: column {header!r} looks like the answer, which no fit may see: leave it "
                "out, and give it as a file of its own to what takes labels"
            )
    return Content(numbers_of(path, numbers, shown, text), names)


def names_rows(column, header: str, headless: bool) -> bool:
    """Whether a first column names the rows: text that is not numbers with a slip, or a counter."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return not headless and header.lower() in COUNTERS and column.is_unique
    if holds_lists(column):
        return False
    return bool(pd.to_numeric(column, errors="coerce").notna().mean() <= 0.5)


def row_names(column, text: Callable[[Any], str]) -> list[str] | None:
    """The names; None where they count the rows from 0, which says nothing."""
    names = ["" if missing else text(name) for name, missing in zip(column, column.isna())]
    return None if names == [str(i) for i in range(len(names))] else names


def holds_lists(column) -> bool:
    return isinstance(column.iloc[0], (list, tuple, np.ndarray))


def numbers_of(path: str, frame, shown: list[str], text: Callable[[Any], str]) -> np.ndarray:
    """Columns of numbers, or one of lists, as one array (n, d); a single column keeps its type."""
    import pandas as pd

    for name, (_, column) in zip(shown, frame.items()):
        if holds_lists(column):
            if frame.shape[1] > 1:
                raise ValueError(f"{path}: {name} holds lists: leave the columns beside it out")
            return of_lists(path, name, column)
        if not pd.api.types.is_numeric_dtype(column):
            wrong = pd.to_numeric(column, errors="coerce").isna() & column.notna()
            row = int(np.argmax(wrong))
            cell = shorten(repr(text(column.iloc[row])), 60)
            raise ValueError(
                f"{path}: {name} holds {cell} in row {row}, not a number: leave the column out or "
                "make it numbers; of text only the first column may be, to name the rows"
            )
    if frame.shape[1] == 1:
        return frame.to_numpy()
    with np.errstate(over="ignore"):
        return frame.to_numpy(np.float32, na_value=np.nan)


def of_lists(path: str, name: str, column) -> np.ndarray:
    lengths = {len(each) if hasattr(each, "__len__") else 0 for each in column}
    if len(lengths) > 1:
        raise ValueError(f"{path}: the lists of {name} differ in length")
    return np.array(column.tolist())


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
    bad, first, varies = 0, None, constant
    for start in range(0, len(space), CHUNK):
        part = space[start : start + CHUNK]
        with np.errstate(over="ignore"):
            wrong = ~np.isfinite(part.astype(np.float32, copy=False))
        if wrong.any() and first is None:
            first = start + int(np.argmax(wrong.any(axis=1)))
        bad += np.count_nonzero(wrong)
        varies = varies or bool((part != space[0]).any())
    if bad:
        raise ValueError(f"{path}: {bad} values are NaN or infinite, the first in row {first}")
    if not varies:
        raise ValueError(f"{path}: all {len(space)} rows are the same, so there are no classes")


def _check_same_names(path: str, names: list[str], first_path: str, first: list[str]) -> None:
    for row, (one, other) in enumerate(zip(first, names)):
        if one != other:
            raise ValueError(
                f"row {row} is {one!r} in {first_path}, but {other!r} in {path}: "
                "give files of the same images in the same order"
            )


def write_labels(path: str, labels: np.ndarray, classes: Iterable[int]) -> None:
    """Write labels (n,) as int64, whole or not at all, and print the rows of each class."""
    with atomic_write(path) as file:
        np.save(file, labels.astype(np.int64))
    print(f"{path}: {rows_of_each(labels, classes)}")


def rows_of_each(labels: np.ndarray, classes: Iterable[int]) -> str:
    counts = " ".join(str(np.count_nonzero(labels == c)) for c in classes)
    return f"{len(labels)} rows labelled; rows of each class: {counts}"

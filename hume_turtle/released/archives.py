"""Zip archives, arrays and checkpoints from elsewhere, read without being trusted.

Nothing is unpickled, no member's name becomes a path, and no declared size is believed: an archive
is refused as a whole if any member leaves it, is not a plain file or is larger than it may be.
"""

from __future__ import annotations

import io
import math
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch

MAX_BYTES = 256 << 30  # all members of an archive, uncompressed
MAX_CHECKPOINT = 256 << 20  # bytes of one checkpoint, which is read into memory
MAX_RATIO = 100  # of uncompressed to compressed bytes, for members above RATIO_FROM:
RATIO_FROM = 16 << 20  # small arrays of sorted labels compress further than that
BLOCK = 1 << 20  # elements of an array that are in memory at a time

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


@contextmanager
def open_archive(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive whose members have been checked (see `check_members`).

    Raises FileNotFoundError where there is no file, ValueError for one that is not a whole zip
    archive or that holds what an archive of plain files never does.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no archive at {path}")
    with path.open("rb") as file, open_zip(file, str(path), MAX_BYTES) as archive:
        yield archive


@contextmanager
def open_zip(file: IO[bytes], name: str, limit: int) -> Iterator[zipfile.ZipFile]:
    """The archive in an open file; `name` is what messages call it."""
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:  # a damaged directory raises errors of a dozen kinds
        raise ValueError(f"{name} is not a whole zip archive: {error}") from error
    with archive:
        check_members(archive, name, limit)
        yield archive


def check_members(archive: zipfile.ZipFile, name: str, limit: int) -> None:
    """Raise ValueError unless every member is a plain file or folder inside the archive.

    limit: on the bytes of all members together, uncompressed.
    """
    seen: set[str] = set()
    for info in archive.infolist():
        if fault := _fault(info):
            raise ValueError(f"{name}: member {info.orig_filename!r} {fault}")
        key = info.filename.rstrip("/").casefold()  # as file systems without case would see it
        if key in seen:
            raise ValueError(f"{name}: member {info.filename!r} is there twice")
        seen.add(key)
    total = sum(info.file_size for info in archive.infolist())
    if total > limit:
        raise ValueError(f"{name} would unpack to {total} bytes; at most {limit} are read")


def _fault(info: zipfile.ZipInfo) -> str:
    """What is wrong with a member, or nothing."""
    name = info.orig_filename  # before zipfile cuts it at a NUL
    parts = name.removesuffix("/").split("/")
    if "\\" in name or "\0" in name or re.match("[A-Za-z]:", name):
        return "has a name that is no portable path"
    if {"", ".", ".."} & set(parts):
        return "has a path that is absolute or leaves the archive"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a plain file"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"has compression method {info.compress_type}; stored and deflated are read"
    if info.file_size > max(RATIO_FROM, MAX_RATIO * info.compress_size):
        return f"declares {info.file_size} bytes in {info.compress_size} compressed ones"
    return ""


def plain_files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files of an archive, without what macOS adds to it."""
    return [
        info
        for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith("__MACOSX/")
    ]


@contextmanager
def open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """A member as a stream; ValueError where it is damaged."""
    try:
        with archive.open(info) as stream:
            yield stream
    except DAMAGED as error:
        raise ValueError(f"member {info.filename!r} is damaged: {error}") from error


def read_exactly(stream: IO[bytes], size: int, name: str) -> bytes:
    """The next `size` bytes; ValueError where there are fewer."""
    content = stream.read(size)
    if len(content) != size:
        raise ValueError(f"member {name!r} is cut off: {len(content)} of {size} bytes were left")
    return content


@dataclass(frozen=True)
class Array:
    """An .npy member of an archive, of which only the header has been read.

    Attributes:
        info: the member.
        shape: of the array, rows first.
        dtype: of its elements, as stored.
        start: bytes before the first element.
    """

    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int


def read_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, ndim: int, kinds: str) -> Array:
    """What an .npy member is; no element is read.

    Args:
        archive: that holds it.
        info: the member.
        ndim: dimensions that it must have.
        kinds: kinds of dtype that it may have, such as "f" or "iu".

    Raises:
        ValueError: for another file, shape or dtype, objects, columns first (Fortran order), or a
            member whose size is not that of its array.
    """
    name = info.filename
    with open_member(archive, info) as stream:
        try:
            readers = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            shape, fortran, dtype = readers[np.lib.format.read_magic(stream)](stream)
            start = stream.tell()
        except DAMAGED:
            raise
        except Exception as error:  # a header made to be wrong raises many kinds of errors
            raise ValueError(f"member {name!r} is not an .npy file: {error}") from error
    if dtype.hasobject:
        raise ValueError(
            f"member {name!r} holds Python objects, which only running code could read"
        )
    if dtype.kind not in kinds or dtype.itemsize > 8:
        raise ValueError(f"member {name!r} has dtype {dtype}; kind {' or '.join(kinds)} is needed")
    if len(shape) != ndim or min(shape) < 1:
        raise ValueError(f"member {name!r} has shape {shape}; {ndim} dimension(s) are needed")
    if fortran and ndim > 1:
        raise ValueError(f"member {name!r} is stored by columns; by rows (C order) is needed")
    size = start + math.prod(shape) * dtype.itemsize
    if info.file_size != size:
        raise ValueError(f"member {name!r} has {info.file_size} bytes; its header states {size}")
    return Array(info, shape, dtype, start)


def read_blocks(archive: zipfile.ZipFile, array: Array) -> Iterator[np.ndarray]:
    """All elements of an array in order, at most `BLOCK` at a time, each block (elements,)."""
    with open_member(archive, array.info) as stream:
        read_exactly(stream, array.start, array.info.filename)
        left = math.prod(array.shape)
        while left:
            count = min(BLOCK, left)
            size = count * array.dtype.itemsize
            yield np.frombuffer(read_exactly(stream, size, array.info.filename), array.dtype)
            left -= count


def read_checkpoint(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> dict:
    """The dict that a PyTorch checkpoint holds; only tensors and plain containers are read.

    Raises ValueError for anything else, or a file that is not in PyTorch's zip format.
    """
    name = info.filename
    if info.file_size > MAX_CHECKPOINT:
        raise ValueError(f"member {name!r} has {info.file_size} bytes, above {MAX_CHECKPOINT}")
    with open_member(archive, info) as stream:
        content = read_exactly(stream, info.file_size, name)
    if not content.startswith(b"PK\x03\x04"):
        raise ValueError(f"member {name!r} is not a checkpoint in PyTorch's zip format")
    with open_zip(io.BytesIO(content), name, MAX_CHECKPOINT) as inner:
        # PyTorch would take it for a TorchScript program; before 2.6, whatever weights_only says.
        if any(path.endswith("constants.pkl") for path in inner.namelist()):
            raise ValueError(f"member {name!r} is a program, not a checkpoint")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch's message would advise to switch the protection off
        raise ValueError(f"member {name!r} is damaged or holds more than tensors") from error
    if not isinstance(state, dict):
        raise ValueError(f"member {name!r} holds a {type(state).__name__}, not a dict of tensors")
    return state


def as_matrix(value, name: str, ndim: int = 2) -> np.ndarray:
    """A tensor of a checkpoint as a float32 array, if it is what it seems.

    Raises ValueError for other values, other dimensions, none or not finite elements, and tensors
    that claim more elements than were stored.
    """
    plain = (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.is_floating_point()
    )
    if not plain or value.dim() != ndim or not value.numel():
        raise ValueError(f"{name} is not a tensor of {ndim} dimension(s) of real numbers")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ValueError(f"{name} of shape {tuple(value.shape)} claims more than was stored")
    array = value.detach().float().numpy()
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are NaN or infinite")
    return array

"""Zip archives, arrays and checkpoints from elsewhere, read without being trusted.

Nothing is unpickled, no member's name becomes a path, and no declared size is believed: an archive
is refused as a whole if a member leaves it, is not a plain file or is larger than it may be.
"""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

MAX_BYTES = 256 << 30  # all members of an archive, uncompressed
MAX_CHECKPOINT = 256 << 20  # bytes of one checkpoint, which is read into memory
MAX_RATIO = 100  # of uncompressed to compressed bytes, for members above RATIO_FROM:
RATIO_FROM = 16 << 20  # small arrays of sorted labels compress further than that

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


@contextmanager
def open_archive(
    path: str | Path, name: str = "", limit: int | None = None
) -> Iterator[zipfile.ZipFile]:
    """A zip archive in which every member is a plain file or folder inside it.

    name: what messages call it; its path by default.
    limit: on the bytes of all members together, uncompressed; `MAX_BYTES` by default.
    Raises FileNotFoundError if there is no such file, ValueError if it is not a complete zip
    archive or has a member that is refused.
    """
    name = name or str(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"no archive at {path}")
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # a damaged directory raises errors of a dozen kinds
        raise ValueError(f"{name} is not a complete zip archive: {error}") from error
    with archive:
        seen: set[str] = set()
        for info in archive.infolist():
            if fault := _fault(info):
                raise ValueError(f"{name}: member {info.orig_filename!r} {fault}")
            key = info.filename.rstrip("/").casefold()  # as file systems without case would see it
            if key in seen:
                raise ValueError(f"{name}: member {info.filename!r} appears twice")
            seen.add(key)
        total = sum(info.file_size for info in archive.infolist())
        limit = MAX_BYTES if limit is None else limit
        if total > limit:
            raise ValueError(f"{name} would unpack to {total} bytes; the limit is {limit}")
        yield archive


def _fault(info: zipfile.ZipInfo) -> str:
    """What is wrong with a member, or nothing."""
    name = info.orig_filename  # before zipfile cuts it at a NUL
    if "\\" in name or "\0" in name or re.match("[A-Za-z]:", name):
        return "has a name that is not a portable path"
    if {"", ".", ".."} & set(name.removesuffix("/").split("/")):
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


@contextmanager
def unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path) -> Iterator[Path]:
    """A member as a file in `folder`, deleted when the block ends; ValueError if damaged."""
    path = folder / ".member"  # no name of ours starts with a dot
    try:
        with archive.open(info) as stream, path.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)  # never more than the declared size
        if path.stat().st_size != info.file_size:
            raise EOFError("it is shorter than declared")
        yield path
    except DAMAGED as error:
        raise ValueError(f"member {info.filename!r} is damaged: {error}") from error
    finally:
        path.unlink(missing_ok=True)


def open_array(path: Path, name: str, ndim: int, kinds: str) -> np.memmap:
    """An unpacked .npy member as a read-only memory map, of a dtype such as "f" or "iu".

    Raises ValueError for another file, shape or dtype, Python objects, or a file whose size is not
    that of its array.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a malicious header raises errors of many kinds
        raise ValueError(f"member {name!r} is not an .npy file of numbers: {error}") from error
    if array.dtype.kind not in kinds:
        raise ValueError(f"member {name!r} has dtype {array.dtype}, not kind {' or '.join(kinds)}")
    if array.ndim != ndim or not array.size:
        raise ValueError(f"member {name!r} has shape {array.shape}, not {ndim} dimension(s)")
    size = array.offset + array.nbytes
    if path.stat().st_size != size:
        raise ValueError(f"member {name!r} has {path.stat().st_size} bytes; its header says {size}")
    return array


def read_checkpoint(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path) -> dict:
    """The dict that a PyTorch checkpoint holds; only tensors and plain containers are read.

    folder: where the member is unpacked for a moment.
    Raises ValueError for anything else, or a file that is not in PyTorch's zip format.
    """
    name = f"member {info.filename!r}"
    if info.file_size > MAX_CHECKPOINT:
        raise ValueError(f"{name} has {info.file_size} bytes, above {MAX_CHECKPOINT}")
    with unpacked(archive, info, folder) as path:
        with open_archive(path, name, MAX_CHECKPOINT) as inner:
            # PyTorch would take it for a TorchScript program; before 2.6, despite weights_only.
            if any(file.endswith("constants.pkl") for file in inner.namelist()):
                raise ValueError(f"{name} is a program, not a checkpoint")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # PyTorch's message would advise to switch the protection off
            raise ValueError(f"{name} is damaged or holds more than tensors") from error
    if not isinstance(state, dict):
        raise ValueError(f"{name} holds a {type(state).__name__}, not a dict of tensors")
    return state


def as_matrix(value, name: str, ndim: int = 2) -> np.ndarray:
    """A tensor of a checkpoint as a float32 array, if it is what it seems.

    Raises ValueError for other values or dimensions, no elements, NaN or infinite elements, and
    tensors that claim more elements than were stored.
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

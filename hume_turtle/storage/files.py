"""Files that appear whole or not at all, and their checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "wb", **options) -> Iterator[IO]:
    """Open a file that takes its name only when the block ends without an error.

    The content goes to `<path>.partial` beside it, which replaces `path` once it has reached the
    disk, and is removed on any error, an interrupt included. Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def new_files(
    root: str | Path, places: Sequence[str | Path], overwrite: bool = False, size: int = 0
) -> Iterator[Path]:
    """A temporary folder whose files move to `root` when the block ends without an error.

    The block writes every file of `places`, paths relative to `root`, to the same path under the
    temporary folder, which is on the same disk. After an error in the block every file under
    `root` is what it was.

    overwrite: replace existing files instead of refusing.
    size: bytes that the block may write.
    Raises ValueError before the block if a file already exists, two places are the same or the
    disk has too little free space.
    """
    root = Path(root).absolute()
    twice = [str(place) for place, count in Counter(places).items() if count > 1]
    if twice:
        raise ValueError(f"more than one file would become {', '.join(twice)}")
    refuse_existing(root, places, overwrite)
    near = next(folder for folder in (root, *root.parents) if folder.is_dir())
    free = shutil.disk_usage(near).free
    if size > free:
        raise ValueError(f"{size} bytes are needed, but {near} has {free} free")
    with tempfile.TemporaryDirectory(prefix=".new-", dir=near) as folder:
        yield Path(folder)
        refuse_existing(root, places, overwrite)  # other programs may have written meanwhile
        for place in places:
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(folder, place), root / place)


def refuse_existing(root: Path, places: Sequence[str | Path], overwrite: bool) -> None:
    """Raise ValueError for a file that exists, unless it is to be replaced, and for a folder."""
    for path in (root / place for place in places):
        if path.is_dir():
            raise ValueError(f"{path} is a folder, and a file is to be written: give another name")
        if os.path.lexists(path) and not overwrite:
            raise ValueError(f"{path} already exists; pass --overwrite (overwrite=True)")


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()

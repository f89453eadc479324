"""Many files that appear together or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def staging(
    root: str | Path, places: Sequence[Path], overwrite: bool = False, size: int = 0
) -> Iterator[Path]:
    """A temporary folder inside `root` whose files move to `root` when the block ends well.

    The block writes every file of `places`, paths relative to `root`, to the same path under the
    folder that it is given. On any error, an interrupt included, `root` is again what it was.

    Args:
        root: made where it is missing.
        places: what will be written.
        overwrite: replace files that are there, instead of refusing.
        size: bytes that will be written, compared with what the disk has free.

    Raises:
        ValueError: before the block, if a file is there already, two places are the same or the
            disk has too little room.
    """
    root = Path(root)
    twice = [str(place) for place, count in Counter(places).items() if count > 1]
    if twice:
        raise ValueError(f"more than one member would become {', '.join(twice)}")
    _refuse_existing(root, places, overwrite)
    made: list[Path] = []
    folder = None
    try:
        _make_folder(root, made)
        free = shutil.disk_usage(root).free
        if size > free:
            raise ValueError(f"{size} bytes are to be written, but {root} has {free} free")
        folder = Path(tempfile.mkdtemp(prefix=".staging-", dir=root))
        new, old = folder / "new", folder / "old"
        new.mkdir()
        yield new
        _refuse_existing(root, places, overwrite)  # what came meanwhile is not ours to replace
        _publish(root, places, new, old, made)
    except BaseException:
        _remove(folder)
        for path in reversed(made):
            with contextlib.suppress(OSError):  # others may have put files there
                path.rmdir()
        raise
    _remove(folder)


def _refuse_existing(root: Path, places: Sequence[Path], overwrite: bool) -> None:
    for place in places:
        path = root / place
        if path.is_dir() or (os.path.lexists(path) and not overwrite):
            raise ValueError(f"{path} is there already: nothing was imported (see overwrite)")


def _publish(root: Path, places: Sequence[Path], new: Path, old: Path, made: list[Path]) -> None:
    """Move what was there to `old` and what is new to its place; on an error, move all back."""
    begun: list[Path] = []
    try:
        for place in places:
            begun.append(place)
            _make_folder((root / place).parent, made)
            if os.path.lexists(root / place):
                (old / place).parent.mkdir(parents=True, exist_ok=True)
                os.replace(root / place, old / place)
            os.replace(new / place, root / place)
    except BaseException:
        for place in begun:
            if not (new / place).exists() and (root / place).exists():
                os.replace(root / place, new / place)
            if os.path.lexists(old / place):
                os.replace(old / place, root / place)
        raise


def _make_folder(path: Path, made: list[Path]) -> None:
    """Make a folder and its parents, noting each new one in `made`, parents first."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        made.append(folder)
        folder.mkdir()


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)

"""How the authors' released archives are laid out and named, and how an import writes its files.

Sources: the READMEs of https://github.com/mlbio-epfl/hume and https://github.com/mlbio-epfl/turtle
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hume_turtle.storage.embeddings import part
from hume_turtle.storage.names import slug

# The authors' names to ours, and which of ours there are. HUME's archive is documented for MoCo and
# DINO only, and not for CIFAR-100-20: other names need `rename`.
DATASETS = {
    **{name: name for name in ("food101", "cifar10", "cifar100", "birdsnap", "sun397", "cars")},
    **{name: name for name in ("aircraft", "dtd", "pets", "caltech101", "flowers", "mnist")},
    **{name: name for name in ("fer2013", "stl10", "eurosat", "resisc45", "gtsrb", "kitti")},
    **{name: name for name in ("country211", "pcam", "ucf101", "kinetics700", "clevr")},
    **{name: name for name in ("hatefulmemes", "sst", "imagenet")},
    "cifar10020": "cifar100-20",
    "imagenet1000": "imagenet",
}
SPACES = {
    "mocov2": "moco",
    "moco": "moco",
    "bit": "bit",
    "clip": "clip",
    "dino": "dino",
    "clipRN50": "clip-rn50",
    "clipRN101": "clip-rn101",
    "clipRN50x4": "clip-rn50x4",
    "clipRN50x16": "clip-rn50x16",
    "clipRN50x64": "clip-rn50x64",
    "clipvitB32": "clip-vit-b-32",
    "clipvitB16": "clip-vit-b-16",
    "clipvitL14": "clip-vit-l-14",
    "dinov2": "dinov2-vit-g-14",
}


class Imported(NamedTuple):
    """The files that an import wrote, and notes about skipped members."""

    paths: list[Path]
    notes: list[str]


def ours(name: str) -> str:
    """The authors' name of a dataset or space as this project writes it.

    Raises ValueError if nothing remains of it.
    """
    return part((DATASETS | SPACES).get(name, slug(name)))


def translation(
    archive: str | Path, datasets: Iterable[str], spaces: Iterable[str], rename: Mapping[str, str]
) -> dict[str, str]:
    """The authors' names of datasets and spaces in an archive to ours.

    rename: {theirs: ours}, which comes before what is known about a name.
    Raises ValueError for a name that is neither known nor renamed, with all that were found, and
    for a renamed one that is not in the archive.
    """
    kinds = [("dataset", set(datasets), DATASETS), ("space", set(spaces), SPACES)]
    names = set().union(*(theirs for _, theirs, _ in kinds))
    found = "; ".join(f"{kind}s {str(sorted(theirs))[1:-1]}" for kind, theirs, _ in kinds if theirs)
    if absent := sorted(rename.keys() - names):
        raise ValueError(f"{archive} has no {str(absent)[1:-1]} to rename; found {found}")
    faults = []
    for kind, theirs, known in kinds:
        unknown = sorted(n for n in theirs - rename.keys() if ours(n) not in known.values())
        flags = " ".join(f"--rename {name!r}=OURS" for name in unknown)
        choices = ", ".join(sorted(set(known.values())))
        faults += [f"pass {flags} with a {kind} such as {choices}, or a new name"] * bool(unknown)
    if faults:
        raise ValueError(f"{archive} has unknown names: found {found}; {'; '.join(faults)}")
    return {name: part(rename[name]) if name in rename else ours(name) for name in names}


def matching(
    archive: zipfile.ZipFile,
    layouts: list[re.Pattern],
    name: str | Path,
    beside: re.Pattern | None = None,
) -> tuple[list[tuple[zipfile.ZipInfo, re.Match]], list[str]]:
    """The members of one of the layouts, sorted by name, and a note about the skipped ones.

    beside: of members that are read together with those found, and are not skipped.
    """
    found, skipped = [], []
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        if info.is_dir() or info.filename.startswith("__MACOSX/"):
            continue
        matches = [match for layout in layouts if (match := layout.fullmatch(info.filename))]
        if matches:
            found.append((info, matches[0]))
        elif not (beside and beside.fullmatch(info.filename)):
            skipped.append(info.filename)
    if not found:
        wanted = " or ".join(layout.pattern for layout in layouts)
        raise ValueError(f"{name} has no member of the layout {wanted}")
    return found, [f"skipped {len(skipped)} other members: {skipped[0]!r}, …"] if skipped else []


@contextmanager
def new_files(
    root: str | Path, places: Sequence[Path], overwrite: bool = False, size: int = 0
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
        raise ValueError(f"more than one member would become {', '.join(twice)}")
    refuse_existing(root, places, overwrite)
    near = next(folder for folder in (root, *root.parents) if folder.is_dir())
    free = shutil.disk_usage(near).free
    if size > free:
        raise ValueError(f"the import needs {size} bytes, but {near} has {free} free")
    with tempfile.TemporaryDirectory(prefix=".import-", dir=near) as folder:
        yield Path(folder)
        refuse_existing(root, places, overwrite)  # other programs may have written meanwhile
        for place in places:
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(folder, place), root / place)


def refuse_existing(root: Path, places: Sequence[Path], overwrite: bool) -> None:
    for path in (root / place for place in places):
        if path.is_dir() or (os.path.lexists(path) and not overwrite):
            raise ValueError(f"{path} already exists; pass --overwrite (overwrite=True)")

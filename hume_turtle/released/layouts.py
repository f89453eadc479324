"""How the authors' released archives are laid out and named.

Sources: the READMEs of https://github.com/mlbio-epfl/hume and https://github.com/mlbio-epfl/turtle
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from hume_turtle.storage.embeddings import part
from hume_turtle.storage.names import reported_sizes, slug

# The authors' names to ours, and which of ours there are. HUME's archive is documented for MoCo and
# DINO only, and not for CIFAR-100-20: other names need `rename`.
DATASETS = {
    **{name: name for name in reported_sizes()},
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


def space_names(
    archive: str | Path, folders: Iterable[tuple[str, int]], rename: Mapping[str, str]
) -> dict[tuple[str, int], list[str]]:
    """The authors' names of the spaces that folders are named after, joined by `_`.

    A name may hold `_` too. Where a folder can be split in several ways, the names are those of
    the one way in which all are known or renamed.

    folders: their names and of how many spaces they are.
    Raises ValueError, with all that were found, where there is no such way or more than one.
    """
    ways = {(joined, count): _ways(joined, count, rename) for joined, count in folders}
    if faults := sorted({folder for folder, found in ways.items() if len(found) != 1}):
        every = str(sorted({joined for joined, _ in ways}))[1:-1]
        unclear = ", ".join(f"{joined!r} into {count}" for joined, count in faults)
        raise ValueError(
            f"{archive} has unknown names: found spaces joined by _ {every}; no single way to "
            f"split {unclear} known ones: pass --rename THEIRS=OURS for each name that is not known"
        )
    return {folder: found[0] for folder, found in ways.items()}


def _ways(joined: str, count: int, rename: Mapping[str, str]) -> list[list[str]]:
    parts = joined.split("_")
    if count in (1, len(parts)):  # known or not: `translation` says so
        return [[joined] if count == 1 else parts]
    return list(_splits(parts, count, rename))


def _splits(parts: list[str], count: int, rename: Mapping[str, str]) -> Iterator[list[str]]:
    """Every way to join the parts to `count` names that are known or renamed."""
    if not count and not parts:
        yield []
    for size in range(1, len(parts) + 1) if count else ():
        name = "_".join(parts[:size])
        if name in {*SPACES, *SPACES.values(), *rename}:
            yield from ([name, *rest] for rest in _splits(parts[size:], count - 1, rename))

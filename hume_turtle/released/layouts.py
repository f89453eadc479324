"""How the authors' released archives are laid out and named.

Sources: the READMEs of https://github.com/mlbio-epfl/hume and https://github.com/mlbio-epfl/turtle
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from hume_turtle.released.archives import plain_files
from hume_turtle.reporting.reported import slug
from hume_turtle.storage.embeddings import part

# The authors' names to ours, where they differ by more than slug() mends.
DATASETS = {"cifar10020": "cifar100-20", "imagenet1000": "imagenet"}
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
    """The files that an import wrote, and what a person should know about names and leftovers."""

    paths: list[Path]
    notes: list[str]


def our_dataset(name: str) -> str:
    """The authors' name of a dataset as this project writes it; ValueError if nothing is left."""
    return part(DATASETS.get(name, slug(name)))


def our_space(name: str) -> str:
    """The authors' name of a space as this project writes it; ValueError if nothing is left."""
    return part(SPACES.get(name, slug(name)))


def unknown_spaces(spaces: list[str]) -> list[str]:
    """A note for each of the authors' names that is not in `SPACES`."""
    unknown = sorted(set(spaces) - SPACES.keys())
    return [f"space {name!r} is not known here: kept as {our_space(name)!r}" for name in unknown]


def matching(
    archive: zipfile.ZipFile, layouts: list[re.Pattern], name: str | Path
) -> tuple[list[tuple[zipfile.ZipInfo, re.Match]], list[str]]:
    """The files of one of the layouts, sorted by name, and a note about the others."""
    found, others = [], []
    for info in sorted(plain_files(archive), key=lambda info: info.filename):
        matches = [match for layout in layouts if (match := layout.fullmatch(info.filename))]
        if matches:
            found.append((info, matches[0]))
        else:
            others.append(info.filename)
    if not found:
        wanted = " or ".join(layout.pattern for layout in layouts)
        raise ValueError(f"{name} has no member of the layout {wanted}")
    notes = [f"{len(others)} other members left out, {others[0]!r} the first"] if others else []
    return found, notes

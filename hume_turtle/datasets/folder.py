"""Image folders of the user's own, and the listing of folders that all datasets of files share.

    <folder>/train/<class>/*.jpg, <folder>/test/<class>/*.jpg     both splits, with classes
    <folder>/train/*.jpg, <folder>/test/*.jpg                     both splits, without
    <folder>/<class>/*.jpg                                        one split, "train", with classes
    <folder>/*.jpg                                                one split, "train", without

Without class sub-folders no labels are known: `labels` is None and `class_names` is empty.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from textwrap import shorten
from urllib.error import URLError

import numpy as np

from hume_turtle.datasets.images import FileImages, ImageDataset

PREFIX = "folder:"
IMAGE_SUFFIXES = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff")
IMAGE_SUFFIXES += (".webp",)
RESULTS_OF_CLUSTER = ("model.json", "contact-sheet.png")
READ = f" (suffixes read: {' '.join(IMAGE_SUFFIXES)})"
# What parsers of lists, pickles, .mat and HDF5 files raise for damaged ones
DAMAGE = (ValueError, LookupError, TypeError, EOFError, OSError, pickle.UnpicklingError)
SPLIT_WORDS = {"train", "test", "val", "valid", "validation"}  # of these only two are read


def listing(folder: str | Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES):
    """Names of the sub-folders and of the files with those suffixes, in any case, both sorted.

    Hidden ones are skipped. No file is opened.
    """
    folders, files = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.name.lower().endswith(suffixes):
                files.append(entry.name)
    return sorted(folders), sorted(files)


def images_below(folder: str | Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[str]:
    """Paths of all images below a folder, at any depth, sorted; hidden ones are skipped.

    Links to folders are followed, but no folder is listed twice. Results of the command `cluster`
    are no images: a folder with its model.json and contact-sheet.png is passed over.
    """
    waiting, seen, found = [os.fspath(folder)], set(), []
    while waiting:
        place = waiting.pop()
        real = os.path.realpath(place)
        if real in seen:
            continue
        seen.add(real)
        if all(os.path.exists(os.path.join(place, name)) for name in RESULTS_OF_CLUSTER):
            continue
        folders, files = listing(place, suffixes)
        found += [os.path.join(place, file) for file in files]
        waiting += [os.path.join(place, name) for name in reversed(folders)]
    return sorted(found)


def class_files(
    folder: str | Path, classes: Sequence[str], suffixes: tuple[str, ...] = IMAGE_SUFFIXES
) -> list[list[str]]:
    """For each class the sorted paths of the files in the sub-folder of its name."""
    places = [os.path.join(folder, name) for name in classes]
    return [[os.path.join(place, file) for file in listing(place, suffixes)[1]] for place in places]


def labelled(files: Sequence[Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """Files by class as one list, class after class, and their labels (n,) int64."""
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(part) for part in files])
    return [path for part in files for path in part], labels


def absent(paths: Sequence[str | Path]) -> list[str]:
    """Those of the paths where there is no file or folder; every folder is listed once."""
    paths = [os.fspath(path) for path in paths]
    places = {os.path.dirname(path) for path in paths}
    found = {os.path.join(p, f) for p in places if os.path.isdir(p) for f in os.listdir(p)}
    return [path for path in paths if path not in found]


def and_more(paths: Sequence[str]) -> str:
    """What to say after the first of the paths that are missing."""
    return "is missing" if len(paths) == 1 else f"and {len(paths) - 1} more are missing"


@contextmanager
def reading(name: str, path: str | Path, *others: type[Exception]) -> Iterator[None]:
    """Turn what a parser raises for a damaged file, or one of `others`, into a line with its path.

    What the system raises (a file is missing, may not be read) and the network passes.
    """
    try:
        yield
    except (*DAMAGE, *others) as error:
        if isinstance(error, URLError) or getattr(error, "errno", None) is not None:
            raise
        first = str(error).partition(". ")[0]  # PyTorch goes on to advise against its own check
        fault = shorten(f"{type(error).__name__}: {first}", 150)
        raise ValueError(
            f"dataset {name!r}: {path} cannot be read ({fault}), so it is damaged or was cut "
            "short; remove it and fetch it again"
        ) from error


def find_folder(name: str, root: Path | None) -> Path | None:
    """The folder that a dataset's name stands for, or None if it stands for none.

    "folder:<path>" is that path, or that path under `root` where the first is no folder; any other
    name is the folder of that name directly under `root`.
    Raises FileNotFoundError if "folder:<path>" is in neither place.
    """
    if not name.startswith(PREFIX):
        directly = name == Path(name).name and not name.startswith(".") and name != ""
        return root / name if root and directly and (root / name).is_dir() else None
    path = Path(name.removeprefix(PREFIX)).expanduser()
    places = list(dict.fromkeys([path] if root is None else [path, root / path]))
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"{name!r}: there is no folder {' or '.join(map(str, places))}")


def image_folder(folder: Path, split: str, name: str | None = None) -> ImageDataset:
    """The images of a folder in one of the layouts above, class after class, files sorted.

    split: "train", "test" or "all". A folder without train/ has no "test": nothing is drawn
        from it at random, so that every image of the user's gets a label.
    name: of the dataset; the folder's own where it is not given.
    Raises ValueError for a layout that is mixed or deeper than classes; FileNotFoundError for a
    split that does not exist and where there are no images.
    """
    parts = split_folders(folder)
    if split != "all" and split not in parts:
        raise FileNotFoundError(
            f"{folder} has no split {split!r}: put those images into {folder / split}. "
            f"Images outside of train/ and test/ are all 'train'"
        )
    classes = classes_of(parts["train"])
    wanted = parts.values() if split == "all" else [parts[split]]
    paths, labels = zip(*(labelled(files_of(part, classes)) for part in wanted))
    name = name or folder.resolve().name
    labels = np.concatenate(labels) if classes else None
    return ImageDataset(name, split, FileImages([*chain(*paths)]), labels, tuple(classes))


def split_folders(folder: Path) -> dict[str, Path]:
    """Where the images of each split lie; a folder without train/ is its own "train"."""
    folders, files = listing(folder)
    words = {name for name in folders if name.lower() in SPLIT_WORDS}
    split = words and (len(words) == len(folders) or ("train" in words and len(words) > 1))
    if not split:  # a single class may well be called "train", beside "bus" and "tram"
        return {"train": folder}
    if "train" not in words or not set(folders) <= {"train", "test"} or files:
        found = [f"{name}/" for name in folders] + files[:1]
        raise ValueError(
            f"{folder} has a mixed layout: {', '.join(found)}. "
            f"Beside train/ only test/ is read: rename or move what is not one of them"
        )
    return {name: folder / name for name in sorted(folders, reverse=True)}  # train, then test


def classes_of(folder: Path) -> list[str]:
    """The names of the class sub-folders, sorted; none where the images lie in `folder` itself."""
    classes, files = listing(folder)
    if classes and files:
        raise ValueError(
            f"{folder} has a mixed layout: images lie in it ({files[0]}, ...) and it has "
            f"sub-folders ({classes[0]}/, ...). Put all images in class sub-folders, or none"
        )
    return classes


def files_of(folder: Path, classes: list[str]) -> list[list[str]]:
    """The paths of the images of each class; of all images as one class if there are none."""
    own = classes_of(folder)
    loose = [str(folder / file) for file in listing(folder)[1]]
    if (classes and loose) or (own and not classes):
        raise ValueError(f"{folder}: class sub-folders in only one of train/ and test/")
    if not loose and not own:
        raise FileNotFoundError(f"{folder}: no images{READ}")
    by_class = dict(zip(own, class_files(folder, own)))
    for name, files in by_class.items():
        if name not in classes:
            raise ValueError(f"{folder / name}: the training images have no class {name!r}")
        for deeper in listing(folder / name)[0]:
            raise ValueError(f"{folder / name / deeper} lies deeper than a class sub-folder")
        if not files:
            raise FileNotFoundError(f"{folder / name}: a class without images{READ}")
    return [by_class.get(name, []) for name in classes] if classes else [loose]

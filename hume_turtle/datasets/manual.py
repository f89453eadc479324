"""Datasets of files that require a manual download: the error says from where, and to where.

Labels come from file names and lists; of birdsnap alone, images are opened to build the dataset.
Within a split the rows stand class after class with files sorted, as torchvision's ImageFolder has
them, except where an official list gives the order.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hume_turtle.datasets.folder import (
    IMAGE_SUFFIXES,
    absent,
    and_more,
    class_files,
    labelled,
    listing,
    reading,
)
from hume_turtle.datasets.images import ArrayImages, Builder, FileImages, ImageDataset, of_files

RESISC45_SEED = 42  # of TURTLE's program
BIRDSNAP_SEED = 0
BIRDSNAP_TEST = 5  # images per class
FER2013_COLUMNS = ["emotion", "pixels", "Usage"]  # as in fer2013.csv
FER2013_TEST_MD5 = "8576e0f5a806d7b337d6eeda66d71dc0"  # of the test_split.csv of TURTLE's program
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # FER2013's 0 to 6


class Manual(NamedTuple):
    """A dataset that requires a manual download.

    Attributes:
        source: where to get it.
        layout: what must lie in its folder.
        checked: the counts that are then checked.
        files: in its folder, without which it is incomplete; "a or b" is one of the two.
        place: the name of its folder under the root of all datasets, where it is another.
    """

    name: str
    source: str
    layout: str
    checked: str
    files: tuple[str, ...]
    place: str = ""

    @property
    def folder(self) -> str:
        return self.place or self.name

    def under(self, root: Path | None) -> Path:
        """The dataset's folder. Raises ValueError without a root, FileNotFoundError if missing."""
        if root is None:
            raise ValueError(f"dataset {self.name!r} lies on disk: pass root, its parent folder")
        if not (root / self.folder).is_dir():
            raise self.missing(root / self.folder, "is missing")
        return root / self.folder

    def require(self, folder: Path, files: Iterable[str]) -> list[str]:
        """The full paths of files in the dataset's folder, all of which exist, each folder listed
        once. Raises FileNotFoundError with the first that is missing and their number."""
        paths = [os.path.join(folder, file) for file in files]
        if gone := absent(paths):
            raise self.missing(gone[0], and_more(gone))
        return paths

    def missing(self, path: str | Path, what: str) -> FileNotFoundError:
        return FileNotFoundError(
            f"dataset {self.name!r}: {path} {what}. Manual download required:\n"
            f"From: {self.source}.\n"
            f"To: {self.folder}/ under the root of the datasets, with {self.layout} in it.\n"
            f"Then checked: {self.checked}."
        )


CARS = Manual(
    "cars",
    "Kaggle, dataset jessicali9530/stanford-cars-dataset (the images; Stanford's own page is "
    "gone), and from the issue github.com/pytorch/vision/issues/7545 the archive car_devkit.tgz "
    "and the file cars_test_annos_withlabels.mat",
    "cars_train/*.jpg, cars_test/*.jpg (Kaggle's archive nests each once more: move the images "
    "up), devkit/cars_train_annos.mat, devkit/cars_meta.mat and cars_test_annos_withlabels.mat",
    "8144 train and 8041 test images of 196 classes",
    (
        "cars_train",
        "cars_test",
        "devkit/cars_train_annos.mat",
        "devkit/cars_meta.mat",
        "cars_test_annos_withlabels.mat",
    ),
    place="stanford_cars",
)
FER2013 = Manual(
    "fer2013",
    "Kaggle, competition challenges-in-representation-learning-facial-expression-recognition-"
    "challenge, archive fer2013.tar.gz or file icml_face_data.csv (train.csv and test.csv alone "
    "do not serve: the test labels are not in them)",
    "fer2013.csv or icml_face_data.csv",
    "28709 train and 3589 test images of 7 classes",
    ("fer2013.csv or icml_face_data.csv",),
)
RESISC45 = Manual(
    "resisc45",
    "the archive NWPU-RESISC45.rar, linked from "
    "gcheng-nwpu.github.io (direct: 1drv.ms/u/s!AmgKYzARBl5ca3HNaHIlzp_IXjs)",
    "NWPU-RESISC45/<class>/<class>_001.jpg to _700.jpg",
    "25200 train and 6300 test images of 45 classes",
    ("NWPU-RESISC45",),
)
HATEFULMEMES = Manual(
    "hatefulmemes",
    "Kaggle, dataset parthplc/facebook-hateful-meme-dataset (folder data/), or DrivenData, "
    "competition Hateful Memes, after accepting its licence",
    "train.jsonl, dev.jsonl and img/*.png",
    "8500 train and 500 test images of 2 classes",
    ("train.jsonl", "dev.jsonl", "img"),
)
BIRDSNAP = Manual(
    "birdsnap",
    "thomasberg.org/datasets/birdsnap/1.1/birdsnap.tgz, and the images that its get_birdsnap.py "
    "(Python 2) downloads",
    "download/images/<species>/*.jpg",
    "500 classes; TURTLE had 37221 train and 2500 test images, but many of the links are dead, "
    "so the number of images is reported, not required",
    ("download/images",),
)
IMAGENET = Manual(
    "imagenet",
    "image-net.org, challenge ILSVRC 2012, after registration: ILSVRC2012_img_train.tar, "
    "ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, unpacked, those inside the first too",
    "train/<wnid>/*.JPEG and val/<wnid>/*.JPEG; or val/*.JPEG as in the archive, with "
    "ILSVRC2012_devkit_t12/data/meta.mat and .../ILSVRC2012_validation_ground_truth.txt "
    "or torchvision's meta.bin",
    "1281167 train and 50000 test images of 1000 classes",
    ("train", "val"),
)

MANUAL = {each.name: each for each in (CARS, FER2013, RESISC45, HATEFULMEMES, BIRDSNAP, IMAGENET)}


def cars(split: str, root: Path | None, download: bool) -> ImageDataset:
    """Stanford Cars: the standard split, in the order of the annotation files."""
    from scipy.io.matlab import MatReadError
    from torchvision.datasets import StanfordCars

    folder = CARS.under(root)
    name = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}[split]
    CARS.require(folder, [name, "devkit/cars_meta.mat", f"cars_{split}"])
    with reading("cars", f"{folder / name} or {folder / 'devkit/cars_meta.mat'}", MatReadError):
        part = StanfordCars(root, split)
    paths, labels = zip(*part._samples)
    CARS.require(folder / f"cars_{split}", [os.path.basename(path) for path in paths])
    return of_files("cars", split, paths, labels, part.classes)


def fer2013(split: str, root: Path | None, download: bool) -> ImageDataset:
    """FER2013's faces, 48×48 grey: "Training" to train, one of the two halves of the rest to test.

    The challenge has two test sets of 3589 images, PublicTest and PrivateTest. Of TURTLE's half
    its program states only the checksum of the file, so the half whose rows give that checksum is
    taken, and the other is in no split. Where neither does, a warning reports it, and it is the
    private one, which decided the challenge.
    """
    import pandas as pd

    folder = FER2013.under(root)
    known = [name for name in ("fer2013.csv", "icml_face_data.csv") if (folder / name).exists()]
    path = FER2013.require(folder, known[:1] or ["fer2013.csv"])[0]
    # One of the two files has spaces in its header.
    with reading("fer2013", path):
        table = pd.read_csv(path, skipinitialspace=True, usecols=FER2013_COLUMNS)
    usage = "Training" if split == "train" else published_half(table)
    rows = table[table["Usage"] == usage]
    pixels = [face(text, f"{path}, line {row + 2}") for row, text in rows["pixels"].items()]
    images = ArrayImages(np.array(pixels, np.uint8).reshape(-1, 48, 48))
    return ImageDataset("fer2013", split, images, rows["emotion"].to_numpy(np.int64), EMOTIONS)


def published_half(table) -> str:
    """The `Usage` of TURTLE's test images, known by the checksum of its file of them.

    How that file was written is not known: each half is written in all likely ways. Warns
    (UserWarning) where none has the checksum.
    """
    orders = (FER2013_COLUMNS, FER2013_COLUMNS[:2], ["emotion", "Usage", "pixels"])
    for half in ("PrivateTest", "PublicTest"):
        rows = table[table["Usage"] == half].astype(str)
        # Perhaps a first column of numbers: of the rows in the whole file, or in the half.
        numbers = ([], [rows.index.astype(str)], [[*map(str, range(len(rows)))]])
        for columns, number, end in product(orders, numbers, ("\n", "\r\n")):
            header = ",".join([*("" for _ in number), *columns])
            lines = map(",".join, zip(*number, *(rows[name] for name in columns)))
            text = end.join([header, *lines, ""])
            if hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() == FER2013_TEST_MD5:
                return half
    warnings.warn(
        "dataset 'fer2013': neither half of the test images has the checksum of TURTLE's file of "
        "them, so which one it took stays open; 'PrivateTest' is taken",
        UserWarning,
        stacklevel=4,
    )
    return "PrivateTest"


def face(text: str, place: str) -> np.ndarray:
    """The (48, 48) uint8 pixels that a text of 2304 numbers gives, row by row."""
    try:
        values = np.fromstring(text, np.int16, sep=" ")  # a tenth of the time of split and int
    except ValueError:
        values = np.empty(0)
    if values.size != 48 * 48 or values.min() < 0 or values.max() > 255:
        raise ValueError(f"{place}: these are not 2304 pixels from 0 to 255")
    return values.astype(np.uint8).reshape(48, 48)


def resisc45(split: str, root: Path | None, download: bool) -> ImageDataset:
    """RESISC45: 80 % of each class to train, the rest to test, drawn with seed 42.

    One generator goes through the sorted classes and shuffles the sorted files of each. This is
    the split of TURTLE's program, image by image, as long as the archive's files are complete.
    """
    folder = RESISC45.under(root) / "NWPU-RESISC45"
    RESISC45.require(folder.parent, [folder.name])
    classes = listing(folder)[0]
    generator, chosen = random.Random(RESISC45_SEED), []
    for files in class_files(folder, classes):
        generator.shuffle(files)
        n_train = int(0.8 * len(files))
        chosen.append(sorted(files[:n_train] if split == "train" else files[n_train:]))
    return of_files("resisc45", split, *labelled(chosen), readable(classes))


def hatefulmemes(split: str, root: Path | None, download: bool) -> ImageDataset:
    """Hateful Memes, the images alone: train to train, dev to test, whose labels are public."""
    folder = HATEFULMEMES.under(root)
    path = HATEFULMEMES.require(folder, [{"train": "train.jsonl", "test": "dev.jsonl"}[split]])[0]
    with reading("hatefulmemes", path), open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if line.strip()]
        rows.sort(key=lambda row: (row["label"], row["img"]))
    paths = HATEFULMEMES.require(folder, [row["img"] for row in rows])
    labels = [row["label"] for row in rows]
    return of_files("hatefulmemes", split, paths, labels, ("not hateful", "hateful"))


def birdsnap(split: str, root: Path | None, download: bool) -> ImageDataset:
    """Birdsnap: 5 images of each class to test, drawn with seed 0, the rest to train.

    What cannot be read is dropped before the draw and is in no split, as in TURTLE's program; a
    warning reports it. So every image is opened, once in a process.
    TURTLE's split cannot be had: its program drew from files in the order of its disk. Ours draws
    as it does from the sorted names of the files found, so it is the same wherever the same images
    could be downloaded, and known not to be theirs.
    Raises ValueError for a class that has no more images than the test needs.
    """
    folder = BIRDSNAP.under(root) / "download" / "images"
    BIRDSNAP.require(folder.parent, [folder.name])
    classes = listing(folder)[0]
    suffixes = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix != ".gif")  # "not available"
    found = class_files(folder, classes, suffixes)
    dropped = undecodable(tuple((path, os.stat(path).st_mtime_ns) for path in chain(*found)))
    if dropped:
        warnings.warn(
            f"dataset 'birdsnap': {len(dropped)} images cannot be read and are in no split, "
            f"the first {min(dropped)}",
            UserWarning,
            stacklevel=3,
        )
    generator, chosen = random.Random(BIRDSNAP_SEED), []
    for name, files in zip(classes, found):
        files = [path for path in files if path not in dropped]
        if len(files) <= BIRDSNAP_TEST:
            raise ValueError(
                f"{folder / name}: {len(files)} readable images, 5 of them for the test"
            )
        test = set(generator.sample(files, BIRDSNAP_TEST))
        chosen.append([path for path in files if (path in test) == (split == "test")])
    return of_files("birdsnap", split, *labelled(chosen), readable(classes))


@lru_cache(maxsize=1)  # one reading for both splits and all encoders of a process
def undecodable(files: tuple[tuple[str, int], ...]) -> frozenset[str]:
    """Those of the image files, each with its time of change, that cannot be decoded.

    Raises OSError where the system, not the image, is at fault: files that may not be read.
    """
    images = FileImages(path for path, _ in files)

    def fails(row: int) -> bool:
        try:
            images[row]
        except (MemoryError, ImportError):  # the machine's fault, not the image's
            raise
        except Exception as error:  # decoders raise nearly anything on corrupt files
            if getattr(error, "errno", None) is not None:  # of the system, not of a decoder
                raise
            return True
        return False

    with ThreadPoolExecutor() as threads:  # Pillow decodes outside Python's lock
        failed = threads.map(fails, range(len(files)))
        return frozenset(path for (path, _), fail in zip(files, failed) if fail)


def readable(folders: list[str]) -> list[str]:
    return [name.replace("_", " ") for name in folders]


def imagenet(split: str, root: Path | None, download: bool) -> ImageDataset:
    """ImageNet 2012: train to train, val to test; classes in the order of their sorted wnids.

    Class names are the synonyms in the devkit's or torchvision's file; the wnids without either.
    Folders are listed, no image is opened.
    """
    folder = IMAGENET.under(root)
    part = {"train": "train", "test": "val"}[split]
    IMAGENET.require(folder, [part])
    words, truth = devkit(folder)
    places = [folder / name for name in ("train", "val") if (folder / name).is_dir()]
    wnids = sorted({wnid for place in places for wnid in listing(place)[0]} or words)
    own, flat = listing(folder / part)
    if split == "test" and flat and not own:
        by_class = by_truth(folder / part, flat, truth, wnids)
    else:
        by_class = dict(zip(own, class_files(folder / part, own)))
    paths, labels = labelled([by_class.get(wnid, []) for wnid in wnids])
    if not paths:
        raise IMAGENET.missing(folder / part, "has no images")
    class_names = [words.get(wnid, wnid) for wnid in wnids]
    return of_files("imagenet", split, paths, labels, class_names)


def by_truth(
    folder: Path, files: list[str], truth: list[str], wnids: list[str]
) -> dict[str, list[str]]:
    """Paths by wnid of ILSVRC2012_val_00000001.JPEG and so on, `truth` the wnid of each number."""
    if not truth:
        raise IMAGENET.missing(folder, "has no class sub-folders and there is no devkit")
    by_class: dict[str, list[str]] = {wnid: [] for wnid in wnids}
    for file in files:
        number = re.fullmatch(r"ILSVRC2012_val_(\d{8})\.\w+", file)
        if not number or not 1 <= int(number[1]) <= len(truth):
            raise ValueError(f"{folder / file} is none of the {len(truth)} validation images")
        wnid = truth[int(number[1]) - 1]
        if wnid not in by_class:
            raise ValueError(f"{folder / file} is of class {wnid}, which train/ does not have")
        by_class[wnid].append(str(folder / file))
    return by_class


def devkit(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Class names by wnid, and the wnid of each validation image; empty without such files."""
    data = folder / "ILSVRC2012_devkit_t12" / "data"
    if (data / "meta.mat").exists():
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        truth = data / "ILSVRC2012_validation_ground_truth.txt"
        with reading("imagenet", data, MatReadError):
            synsets = loadmat(data / "meta.mat", squeeze_me=True)["synsets"]
            leaves = synsets[synsets["num_children"] == 0]  # the other 860 stand above the classes
            wnid = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in leaves}
            lines = truth.read_text().split() if truth.exists() else []
            words = {str(row["WNID"]): str(row["words"]) for row in leaves}
            return words, [wnid[int(line)] for line in lines]
    if (folder / "meta.bin").exists():
        import torch

        with reading("imagenet", folder / "meta.bin", RuntimeError):
            words, truth = torch.load(folder / "meta.bin", weights_only=True)
        return {wnid: ", ".join(names) for wnid, names in words.items()}, list(truth)
    return {}, []


BUILDERS: dict[str, Builder] = {
    "cars": cars,
    "fer2013": fer2013,
    "resisc45": resisc45,
    "hatefulmemes": hatefulmemes,
    "birdsnap": birdsnap,
    "imagenet": imagenet,
}

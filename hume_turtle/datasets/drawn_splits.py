"""The datasets whose split is drawn: Caltech-101, EuroSAT, KITTI and CLEVR.

Files are sorted before anything is drawn, and each draw is written as TURTLE's public program
makes it, from generators whose streams are frozen (NumPy's RandomState, Python's random).
Where there are fewer files than the papers had, all of them are drawn.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from pathlib import Path

import numpy as np

from hume_turtle.datasets.images import Builder, ImageDataset, of_files
from hume_turtle.datasets.torchvision_sets import fetch, missing, require, samples
from hume_turtle.storage.names import SPLITS

SEED = 42
VEHICLES = ("Car", "Van", "Truck")
DISTANCES = (0.0, 8.0, 20.0)  # metres, where all classes of `kitti` but the last end
KITTI_CLASSES = ("no car, van or truck", "up to 8 m", "up to 20 m", "over 20 m")


def caltech101(split: str, root: Path | None, download: bool) -> ImageDataset:
    """Caltech-101 with its background class: 30 images per class train, all others test.

    `numpy.random.seed(42)` and `choice` for each class, as TURTLE's program draws them from the
    sorted files: the same images in the same order.
    """
    from torchvision.datasets import ImageFolder

    fetch("caltech101", root, download)  # whose own list omits the background class
    part = ImageFolder(Path(root, "caltech101", "101_ObjectCategories"))
    paths, labels = samples(part)
    train = np.concatenate(draw_per_class(labels, 30))
    rows = {"train": train, "test": np.setdiff1d(np.arange(len(labels)), train)}[split]
    return of_rows("caltech101", split, paths, labels, rows, part.classes)


def eurosat(split: str, root: Path | None, download: bool) -> ImageDataset:
    """EuroSAT (RGB): of each class 1500 images, the first 1000 train, the other 500 test.

    `numpy.random.seed(42)` and `choice` for each class, as TURTLE's program draws them from the
    sorted files: the same images in the same order.
    """
    part = fetch("eurosat", root, download)
    paths, labels = samples(part)
    drawn = [np.split(rows, [len(rows) * 2 // 3]) for rows in draw_per_class(labels, 1500)]
    rows = np.concatenate([halves[SPLITS.index(split)] for halves in drawn])
    return of_rows("eurosat", split, paths, labels, rows, part.classes)


def kitti(split: str, root: Path | None, download: bool) -> ImageDataset:
    """KITTI's training images by the distance of the nearest vehicle; 80 % train, 20 % test.

    Vehicles are cars, vans and trucks. The distance is the third coordinate of an object's
    location in its label file: metres ahead of the camera. The classes are TURTLE's: no vehicle or
    the nearest not ahead (0 m or less), up to and with 8 m, up to and with 20 m, farther.
    The split is a permutation of the sorted files with seed 42. It is not TURTLE's, whose
    permutation of the same files had no seed, so that no one can draw it again.
    """
    part = fetch("kitti", root, download)
    files = sorted(zip(part.images, part.targets))
    require("kitti", root, [target for _, target in files])
    labels = [distance_class(Path(target)) for _, target in files]
    order = np.random.RandomState(SEED).permutation(len(files))
    train, test = np.split(order, [round(0.8 * len(files))])
    rows = {"train": train, "test": test}[split]
    return of_rows("kitti", split, [image for image, _ in files], labels, rows, KITTI_CLASSES)


def distance_class(path: Path) -> int:
    """The class of an image by its label file: one line per object, its type first, z the 14th."""
    objects = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    distances = [float(fields[13]) for fields in objects if fields[0] in VEHICLES]
    return bisect_left(DISTANCES, min(distances, default=-math.inf))  # at an edge the nearer class


def clevr(split: str, root: Path | None, download: bool) -> ImageDataset:
    """CLEVR by the number of objects, 3 to 10: of the training scenes 2000 train, 500 test.

    `random.seed(42)` and `sample`, as TURTLE's program draws 2500 scenes in the order of
    CLEVR_train_scenes.json: that of the images' numbers, by the script that wrote the file, so
    the images are the same. Its labels are not: it numbers the classes as text, "10" first.
    """
    part = fetch("clevr", root, download, split="train")  # files sorted by name, hence by number
    paths, counts = samples(part)
    if not len(paths):
        raise missing("clevr", Path(root, "clevr"), "no images in CLEVR_v1.0/images/train")
    drawn = random.Random(SEED).sample(range(len(paths)), min(2500, len(paths)))
    train, test = np.split(np.array(drawn), [len(drawn) * 4 // 5])
    names = [str(count) for count in range(3, 11)]
    labels = [names.index(str(count)) for count in counts]
    return of_rows("clevr", split, paths, labels, {"train": train, "test": test}[split], names)


def draw_per_class(labels: list[int], size: int) -> list[np.ndarray]:
    """Up to `size` rows of each class in the order drawn, the seed set anew for each class."""
    labels = np.array(labels)
    drawn = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        generator = np.random.RandomState(SEED)
        drawn.append(generator.choice(rows, min(size, len(rows)), replace=False))
    return drawn


def of_rows(name, split, paths, labels, rows, class_names) -> ImageDataset:
    """The dataset of some rows of the files."""
    return of_files(name, split, [paths[i] for i in rows], np.array(labels)[rows], class_names)


BUILDERS: dict[str, Builder] = {
    "caltech101": caltech101,
    "eurosat": eurosat,
    "kitti": kitti,
    "clevr": clevr,
}

"""The datasets whose papers' split is the published one, through torchvision's dataset classes.

torchvision downloads, checks and unpacks; here its objects become an `ImageDataset`: paths or
pixels read on access, labels without opening an image, class names in the order of the labels.

Rows stand in the order of the archives' own lists. TURTLE's program first copies some datasets
into folders of classes (aircraft, pets), so there the same images come in another order.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hume_turtle.datasets.images import ArrayImages, Builder, FileImages, ImageDataset

SOURCES = {  # name to torchvision's class and the folder that it reads under the root
    "food101": ("Food101", "food-101"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "cifar-100-python"),
    "cifar100-20": ("CIFAR100", "cifar-100-python"),
    "mnist": ("MNIST", "MNIST"),
    "aircraft": ("FGVCAircraft", "fgvc-aircraft-2013b"),
    "dtd": ("DTD", "dtd"),
    "pets": ("OxfordIIITPet", "oxford-iiit-pet"),
    "flowers": ("Flowers102", "flowers-102"),
    "stl10": ("STL10", "stl10_binary"),
    "gtsrb": ("GTSRB", "gtsrb"),
    "country211": ("Country211", "country211"),
    "pcam": ("PCAM", "pcam"),
    "sst": ("RenderedSST2", "rendered-sst2"),
    "sun397": ("SUN397", "SUN397"),
    "caltech101": ("Caltech101", "caltech101"),
    "eurosat": ("EuroSAT", "eurosat"),
    "kitti": ("Kitti", "Kitti"),
    "clevr": ("CLEVRClassification", "clevr"),
}
PARTS = {"train": ("train", "val"), "test": ("test",)}  # where validation images train too
SUN397_LISTS = "https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip"
SUN397_LISTS_MD5 = "29a205c0a0129d21f36cbecfefe81881"


def fetch(name: str, root: Path | None, download: bool, **settings) -> Any:
    """torchvision's object for a dataset under `root`, downloaded first if asked for.

    Raises ValueError without a root; FileNotFoundError where files are missing or damaged.
    """
    kind, folder = SOURCES[name]
    if root is None:
        raise ValueError(f"dataset {name!r} lies on disk: give root, the folder of all datasets")
    if not download and not Path(root, folder).is_dir():
        raise missing(name, Path(root, folder), "no such folder")
    from torchvision import datasets

    try:
        return getattr(datasets, kind)(root, download=download, **settings)
    except (RuntimeError, FileNotFoundError) as error:
        if download:
            raise
        raise missing(name, Path(root, folder), error) from error


def missing(name: str, place: Path, reason: object) -> FileNotFoundError:
    """What to say of a dataset that is not there, or not whole."""
    return FileNotFoundError(
        f"dataset {name!r} looked for in {place}, not found or not whole ({reason}); "
        "download=True (--download) fetches it, after you remove what is there in part"
    )


def samples(part: Any) -> tuple[list, list[int]]:
    """Paths and labels of a torchvision dataset of files, whatever it calls them."""
    for pairs in ("samples", "_samples"):
        if hasattr(part, pairs):
            paths, labels = zip(*getattr(part, pairs))
            return list(paths), list(labels)
    return part._images if hasattr(part, "_images") else part._image_files, part._labels


def of_files(
    name: str, split: str, *parts: Any, class_names: Sequence[str] | None = None
) -> ImageDataset:
    """A dataset of the files of torchvision datasets, one after the other.

    Raises ValueError if the parts number their classes differently.
    """
    if class_names is None:
        class_names = parts[0].classes
        if any(part.classes != class_names for part in parts):
            raise ValueError(f"the parts of {name!r}, split {split!r}, have different classes")
    paths, labels = zip(*(samples(part) for part in parts))
    return ImageDataset(
        name,
        split,
        FileImages([path for part in paths for path in part]),
        np.concatenate(labels).astype(np.int64),
        tuple(class_names),
    )


def of_pixels(
    name: str, split: str, pixels: np.ndarray, labels: Any, class_names: Iterable[str]
) -> ImageDataset:
    """A dataset of (n, H, W) or (n, H, W, 3) uint8 pixels and (n,) integer labels."""
    labels = np.asarray(labels).astype(np.int64)
    return ImageDataset(name, split, ArrayImages(pixels), labels, tuple(class_names))


def food101(split: str, root: Path | None, download: bool) -> ImageDataset:
    """Food-101; the archive's meta/train.json (750 a class) and meta/test.json (250)."""
    return of_files("food101", split, fetch("food101", root, download, split=split))


# The batches of CIFAR are pickles, which could run anything: torchvision compares each with its
# published MD5 before it unpickles one, and `cifar100_20` reads only what was so compared.
def cifar10(split: str, root: Path | None, download: bool) -> ImageDataset:
    """CIFAR-10; the five training batches in order, and the test batch."""
    part = fetch("cifar10", root, download, train=split == "train")
    return of_pixels("cifar10", split, part.data, part.targets, part.classes)


def cifar100(split: str, root: Path | None, download: bool) -> ImageDataset:
    """CIFAR-100 by its 100 fine labels; the archive's files train and test."""
    part = fetch("cifar100", root, download, train=split == "train")
    return of_pixels("cifar100", split, part.data, part.targets, part.classes)


def cifar100_20(split: str, root: Path | None, download: bool) -> ImageDataset:
    """CIFAR-100 by its 20 superclasses (HUME), the coarse labels of the same files."""
    part = fetch("cifar100-20", root, download, train=split == "train")
    folder = Path(root, part.base_folder)
    with open(folder / split, "rb") as batch, open(folder / "meta", "rb") as meta:
        labels = pickle.load(batch, encoding="latin1")["coarse_labels"]
        names = pickle.load(meta, encoding="latin1")["coarse_label_names"]
    return of_pixels("cifar100-20", split, part.data, labels, names)


def mnist(split: str, root: Path | None, download: bool) -> ImageDataset:
    """MNIST; the archives train and t10k."""
    part = fetch("mnist", root, download, train=split == "train")
    return of_pixels("mnist", split, part.data.numpy(), part.targets, map(str, range(10)))


def stl10(split: str, root: Path | None, download: bool) -> ImageDataset:
    """STL-10; the labelled training images, all folds, and the test images."""
    part = fetch("stl10", root, download, split=split)
    if not hasattr(part, "classes"):
        raise missing("stl10", Path(root, part.base_folder), f"no {part.class_names_file}")
    pixels = part.data.transpose(0, 2, 3, 1)  # (n, 3, 96, 96) to (n, 96, 96, 3)
    return of_pixels("stl10", split, pixels, part.labels, part.classes)


def stl10_unlabelled(split: str, root: Path | None, download: bool) -> ImageDataset:
    """What MoCo is trained on for STL-10: the 5000 training images and the 100,000 unlabelled."""
    if split != "train":
        raise ValueError("stl10-unlabelled is for pretraining and has a training split only")
    part = fetch("stl10", root, download, split="train+unlabeled")
    pixels = part.data.transpose(0, 2, 3, 1)  # (n, 3, 96, 96) to (n, 96, 96, 3)
    return ImageDataset("stl10-unlabelled", split, ArrayImages(pixels), None, ())


def aircraft(split: str, root: Path | None, download: bool) -> ImageDataset:
    """FGVC-Aircraft by its 100 variants; the archive's lists trainval and test."""
    part = {"train": "trainval", "test": "test"}[split]
    return of_files(
        "aircraft",
        split,
        fetch("aircraft", root, download, split=part, annotation_level="variant"),
    )


def dtd(split: str, root: Path | None, download: bool) -> ImageDataset:
    """Describable Textures; the archive's lists train1 and val1, and test1 (partition 1)."""
    parts = [fetch("dtd", root, download, split=part, partition=1) for part in PARTS[split]]
    return of_files("dtd", split, *parts)


def pets(split: str, root: Path | None, download: bool) -> ImageDataset:
    """Oxford-IIIT Pets by its 37 breeds; the archive's lists trainval and test."""
    part = {"train": "trainval", "test": "test"}[split]
    return of_files("pets", split, fetch("pets", root, download, split=part))


def flowers(split: str, root: Path | None, download: bool) -> ImageDataset:
    """Flowers-102; trnid and valid, and tstid, of the archive's setid.mat.

    torchvision knows the names of the flowers from 0.22 on; before, they are called by number.
    """
    parts = [fetch("flowers", root, download, split=part) for part in PARTS[split]]
    numbers = [f"flower {label}" for label in range(1, 103)]
    return of_files("flowers", split, *parts, class_names=getattr(parts[0], "classes", numbers))


def gtsrb(split: str, root: Path | None, download: bool) -> ImageDataset:
    """German traffic signs: GTSRB-Training_fixed (26640 images) and the final test set.

    The training set is the one that torchvision downloads, as TURTLE's program does; the final
    training set of the benchmark is larger (39209). Classes go by the benchmark's numbers.
    """
    names = [f"{sign:05d}" for sign in range(43)]
    part = fetch("gtsrb", root, download, split=split)
    return of_files("gtsrb", split, part, class_names=names)


def country211(split: str, root: Path | None, download: bool) -> ImageDataset:
    """Country211 by ISO 3166 codes; the archive's folders train and valid, and test."""
    folders = {"train": ("train", "valid"), "test": ("test",)}[split]
    parts = [fetch("country211", root, download, split=folder) for folder in folders]
    return of_files("country211", split, *parts)


def sst(split: str, root: Path | None, download: bool) -> ImageDataset:
    """Rendered SST2; the archive's folders train and valid, and test."""
    parts = [fetch("sst", root, download, split=part) for part in PARTS[split]]
    return of_files("sst", split, *parts)


def sun397(split: str, root: Path | None, download: bool) -> ImageDataset:
    """SUN397; the first of the ten official partitions, Training_01.txt and Testing_01.txt.

    The lists are not in the images' archive: they come in Partitions.zip from the same site, and
    lie in the folder of the images, where `download` puts them.
    """
    part = fetch("sun397", root, download)
    folder = Path(root, "SUN397")
    path = folder / {"train": "Training_01.txt", "test": "Testing_01.txt"}[split]
    if download and not path.exists():
        from torchvision.datasets.utils import download_and_extract_archive

        download_and_extract_archive(SUN397_LISTS, str(folder), md5=SUN397_LISTS_MD5)
    if not path.exists():
        raise FileNotFoundError(
            f"dataset 'sun397' needs {path}, of {SUN397_LISTS}: "
            f"download=True (--download) fetches it, or unpack it into {folder}"
        )
    lines = path.read_text(encoding="utf-8").split()  # /a/abbey/sun_aaalbzqrimafwbiv.jpg
    labels = [part.class_to_idx["/".join(line.split("/")[2:-1])] for line in lines]
    images = FileImages([folder / line.lstrip("/") for line in lines])
    return ImageDataset("sun397", split, images, np.array(labels, np.int64), tuple(part.classes))


BUILDERS: dict[str, Builder] = {
    "food101": food101,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "cifar100-20": cifar100_20,
    "mnist": mnist,
    "aircraft": aircraft,
    "dtd": dtd,
    "pets": pets,
    "flowers": flowers,
    "stl10": stl10,
    "stl10-unlabelled": stl10_unlabelled,
    "gtsrb": gtsrb,
    "country211": country211,
    "sst": sst,
    "sun397": sun397,
}

"""The datasets whose papers' split is the published one, through torchvision's dataset classes.

torchvision downloads, checks and unpacks; here its objects become an `ImageDataset`: paths or
pixels read on access, labels without opening an image, class names in the order of the labels.

Rows stand in the order of the archives' own lists. TURTLE's program first copies some datasets
into folders of classes (aircraft, pets), so there the same images come in another order.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hume_turtle.datasets.folder import absent, and_more, reading
from hume_turtle.datasets.images import (
    ArrayImages,
    Builder,
    ImageDataset,
    JoinedImages,
    of_files,
)


class Source(NamedTuple):
    """How torchvision reads a dataset.

    Attributes:
        kind: torchvision's class.
        folder: that it reads under the root.
        train: the archive's splits that are our training split; our test split is "test".
        settings: further arguments of the class.
        class_names: where torchvision has none.
        files: in the folder, without which it is incomplete.
        repaired: whether a download fetches those again, and does not take the folder as whole.
    """

    kind: str
    folder: str
    train: tuple[str, ...] = ("train",)
    settings: Mapping[str, Any] = {}
    class_names: Sequence[str] | None = None
    files: Sequence[str] = ()
    repaired: bool = False


FILES = {  # datasets of files, of which the archive has a list for each split
    # 750 training images per class, 250 for the test
    "food101": Source("Food101", "food-101", files=("meta/train.json", "meta/test.json", "images")),
    "aircraft": Source(
        "FGVCAircraft",
        "fgvc-aircraft-2013b",
        ("trainval",),
        {"annotation_level": "variant"},
        files=("data/images", "data/variants.txt", "data/images_variant_test.txt"),
    ),
    "dtd": Source(
        "DTD",
        "dtd",
        ("train", "val"),
        {"partition": 1},
        files=("dtd/images", *(f"dtd/labels/{part}1.txt" for part in ("train", "val", "test"))),
    ),
    "pets": Source(  # by breed
        "OxfordIIITPet",
        "oxford-iiit-pet",
        ("trainval",),
        files=("images", "annotations/trainval.txt", "annotations/test.txt"),
    ),
    "flowers": Source(  # setid.mat: trnid and valid
        "Flowers102",
        "flowers-102",
        ("train", "val"),
        files=("jpg", "imagelabels.mat", "setid.mat"),
        repaired=True,
    ),
    # The training set is the one that torchvision downloads, as TURTLE's program does
    # (GTSRB-Training_fixed, 26640 images); the benchmark's final one is larger (39209).
    "gtsrb": Source(
        "GTSRB",
        "gtsrb",
        class_names=[f"{sign:05d}" for sign in range(43)],
        files=("GTSRB/Training", "GTSRB/Final_Test/Images", "GT-final_test.csv"),
    ),
    "country211": Source(  # by ISO 3166 code
        "Country211", "country211", ("train", "valid"), files=("train", "valid", "test")
    ),
    "sst": Source(
        "RenderedSST2", "rendered-sst2", ("train", "val"), files=("train", "valid", "test")
    ),
}
CIFAR100 = Source("CIFAR100", "cifar-100-python", files=("train", "test", "meta"), repaired=True)
SOURCES = {
    **FILES,
    "cifar10": Source(
        "CIFAR10",
        "cifar-10-batches-py",
        files=(*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"),
        repaired=True,
    ),
    "cifar100": CIFAR100,
    "cifar100-20": CIFAR100,
    "mnist": Source(
        "MNIST",
        "MNIST",
        files=[
            f"raw/{part}-{what}-ubyte"
            for part in ("train", "t10k")
            for what in ("images-idx3", "labels-idx1")
        ],
        repaired=True,
    ),
    "stl10": Source(
        "STL10",
        "stl10_binary",
        files=("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt"),
        repaired=True,
    ),
    "pcam": Source(
        "PCAM",
        "pcam",
        ("train", "val"),
        files=[
            f"camelyonpatch_level_2_split_{part}_{what}.h5"
            for part in ("train", "valid", "test")
            for what in "xy"
        ],
        repaired=True,
    ),
    "sun397": Source(
        "SUN397", "SUN397", files=("Training_01.txt", "Testing_01.txt"), repaired=True
    ),
    # from here on the split is drawn
    "caltech101": Source("Caltech101", "caltech101", files=("101_ObjectCategories",)),
    "eurosat": Source("EuroSAT", "eurosat", files=("2750",)),
    "kitti": Source(
        "Kitti", "Kitti", files=("raw/training/image_2", "raw/training/label_2"), repaired=True
    ),
    "clevr": Source(
        "CLEVRClassification",
        "clevr",
        files=("CLEVR_v1.0/images/train", "CLEVR_v1.0/scenes/CLEVR_train_scenes.json"),
    ),
}
SUN397_LISTS = "https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip"
SUN397_LISTS_MD5 = "29a205c0a0129d21f36cbecfefe81881"


def fetch(name: str, root: Path | None, download: bool, **settings) -> Any:
    """torchvision's object for a dataset under `root`, downloaded first if asked for.

    Raises ValueError without a root and for damaged files; FileNotFoundError where files are
    missing or have another checksum; RuntimeError where a download has.
    """
    kind, folder, *_ = SOURCES[name]
    if root is None:
        raise ValueError(f"dataset {name!r} lies on disk: pass root, the folder of all datasets")
    if not download and not Path(root, folder).is_dir():
        raise missing(name, Path(root, folder), "no such folder")
    from torchvision import datasets

    try:
        with reading(name, Path(root, folder)):
            return getattr(datasets, kind)(root, download=download, **settings)
    except (RuntimeError, FileNotFoundError) as error:
        if download:
            raise RuntimeError(
                f"dataset {name!r} cannot be downloaded to {root} ({error}); an archive that is "
                "cut short or has another checksum than the published one must be removed first"
            ) from error
        raise missing(name, Path(root, folder), error) from error


def fetch_parts(name: str, split: str, root: Path | None, download: bool) -> list[Any]:
    """torchvision's objects for the archive's splits that make up one of ours."""
    source = SOURCES[name]
    parts = source.train if split == "train" else ("test",)
    return [fetch(name, root, download, split=part, **source.settings) for part in parts]


def missing(name: str, place: Path, reason: object) -> FileNotFoundError:
    """The error for a dataset that is missing or incomplete."""
    return FileNotFoundError(
        f"dataset {name!r} is missing or incomplete in {place} ({reason}); download=True "
        "(--download) fetches it, after you remove an incomplete one"
    )


def require(name: str, root: Path, paths: Iterable[str | Path]) -> None:
    """Raise FileNotFoundError for files that a list names and that are not there."""
    if gone := absent(list(paths)):
        place = Path(root, SOURCES[name].folder)
        raise missing(name, place, f"{gone[0]} {and_more(gone)}")


def samples(part: Any) -> tuple[list, list[int]]:
    """Paths and labels of a torchvision dataset of files, whatever it calls them."""
    for pairs in ("samples", "_samples"):
        if hasattr(part, pairs):
            paths, labels = zip(*getattr(part, pairs))
            return list(paths), list(labels)
    return part._images if hasattr(part, "_images") else part._image_files, part._labels


def files(name: str, split: str, root: Path | None, download: bool) -> ImageDataset:
    """A dataset in `FILES`: the files of the archive's splits, one split after the other.

    Raises ValueError if the splits number their classes differently.
    """
    parts = fetch_parts(name, split, root, download)
    # torchvision knows the names of the flowers from 0.22 on; before, they are numbered.
    numbers = [f"flower {label}" for label in range(1, 103)]
    classes = [getattr(part, "classes", numbers) for part in parts]
    if any(names != classes[0] for names in classes):
        raise ValueError(f"the parts of {name!r}, split {split!r}, have different classes")
    paths, labels = zip(*map(samples, parts))
    require(name, root, chain(*paths))
    class_names = SOURCES[name].class_names or classes[0]
    return of_files(name, split, [*chain(*paths)], np.concatenate(labels), class_names)


def of_pixels(
    name: str, split: str, pixels: np.ndarray, labels: Any, class_names: Iterable[str]
) -> ImageDataset:
    """A dataset of (n, H, W) or (n, H, W, 3) uint8 pixels and (n,) integer labels."""
    labels = np.asarray(labels).astype(np.int64)
    return ImageDataset(name, split, ArrayImages(pixels), labels, tuple(class_names))


def cifar(name: str, split: str, root: Path | None, download: bool) -> ImageDataset:
    """CIFAR-10 and CIFAR-100, or CIFAR-100 by its 20 superclasses (HUME), the coarse labels.

    The batches are pickles, which could run anything: torchvision compares each with its published
    MD5 before it unpickles one, and only what was so compared is read here.
    """
    part = fetch(name, root, download, train=split == "train")
    labels, names = part.targets, part.classes
    if name == "cifar100-20":
        folder = Path(root, part.base_folder)
        with open(folder / split, "rb") as batch, open(folder / "meta", "rb") as meta:
            labels = pickle.load(batch, encoding="latin1")["coarse_labels"]
            names = pickle.load(meta, encoding="latin1")["coarse_label_names"]
    return of_pixels(name, split, part.data, labels, names)


def mnist(split: str, root: Path | None, download: bool) -> ImageDataset:
    """MNIST; the archives train and t10k."""
    part = fetch("mnist", root, download, train=split == "train")
    return of_pixels("mnist", split, part.data.numpy(), part.targets, map(str, range(10)))


def stl10(name: str, split: str, root: Path | None, download: bool) -> ImageDataset:
    """STL-10: the labelled training images, all folds, and the test images.

    "stl10-unlabelled" is what MoCo is trained on: the 5000 training images and 100,000 unlabelled.
    """
    unlabelled = name == "stl10-unlabelled"
    if unlabelled and split != "train":
        raise ValueError(f"{name} is for pretraining and has a training split only")
    part = fetch("stl10", root, download, split="train+unlabeled" if unlabelled else split)
    pixels = part.data.transpose(0, 2, 3, 1)  # (n, 3, 96, 96) to (n, 96, 96, 3)
    if unlabelled:
        return ImageDataset(name, split, ArrayImages(pixels), None, ())
    if not hasattr(part, "classes"):
        raise missing(name, Path(root, part.base_folder), f"no {part.class_names_file}")
    return of_pixels(name, split, pixels, part.labels, part.classes)


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
    with reading("sun397", f"{path} or {folder / 'ClassName.txt'}"):
        labels = [part.class_to_idx["/".join(line.split("/")[2:-1])] for line in lines]
    paths = [folder / line.lstrip("/") for line in lines]
    require("sun397", root, paths)
    return of_files("sun397", split, paths, labels, part.classes)


def pcam(split: str, root: Path | None, download: bool) -> ImageDataset:
    """PatchCamelyon, whose images are the rows of HDF5 files too large to hold in memory.

    Raises ImportError without h5py. The download is from Google Drive and needs gdown as well.
    """
    try:
        import h5py
    except ImportError:
        raise ImportError("dataset 'pcam' needs h5py: pip install h5py") from None
    images, labels = [], []
    for part in fetch_parts("pcam", split, root, download):
        places = {k: Path(root, "pcam", v[0]) for k, v in part._FILES[part._split].items()}
        with reading("pcam", places["images"]):
            images.append(H5Images(places["images"], "x"))
        with reading("pcam", places["targets"]), h5py.File(places["targets"]) as targets:
            labels.append(targets["y"][:].reshape(-1))  # (n, 1, 1, 1)
    names = ("no tumour tissue", "tumour tissue")
    labels = np.concatenate(labels).astype(np.int64)
    return ImageDataset("pcam", split, JoinedImages(*images), labels, names)


class H5Images(Sequence):
    """PIL images read on access from (n, H, W, 3) uint8 pixels in an HDF5 file.

    Each process opens the file for itself, as an open one survives neither pickling nor a fork.
    """

    def __init__(self, path: str | Path, key: str) -> None:
        import h5py

        self.path, self.key = path, key
        with h5py.File(path) as file:
            self.n = len(file[key])
        self._opened = (None, None)  # process, its pixels

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int):
        import h5py
        from PIL import Image

        if self._opened[0] != os.getpid():
            self._opened = (None, None)  # close an inherited file, or HDF5 shares it
            self._opened = (os.getpid(), h5py.File(self.path)[self.key])
        return Image.fromarray(self._opened[1][index])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": (None, None)}

    def source(self, index: int) -> str:
        """Where an image comes from, for messages."""
        return f"{self.path}, image {index}"


BUILDERS: dict[str, Builder] = {
    **{name: partial(files, name) for name in FILES},
    **{name: partial(cifar, name) for name in ("cifar10", "cifar100", "cifar100-20")},
    **{name: partial(stl10, name) for name in ("stl10", "stl10-unlabelled")},
    "mnist": mnist,
    "sun397": sun397,
    "pcam": pcam,
}

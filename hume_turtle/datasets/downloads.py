"""What is on disk of a dataset, seen without opening an image, and how large its download is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hume_turtle.datasets import digits
from hume_turtle.datasets.folder import find_folder
from hume_turtle.datasets.manual import Manual
from hume_turtle.datasets.registry import BUILDERS, MANUAL
from hume_turtle.datasets.torchvision_sets import SOURCES

PARTIAL = (".part", ".partial", ".crdownload", ".aria2", ".filepart", ".tmp")  # of downloaders


class Download(NamedTuple):
    """The archives of a dataset.

    Attributes:
        gb: of the download, in 10⁹ bytes; None where it is not known.
        host: where torchvision fetches it; empty for a manual download.
        archives: the bytes of those whose exact size is known, by path under the root.
        unpacked: GB of what is unpacked where that is not about the same again.
    """

    gb: float | None
    host: str = ""
    archives: Mapping[str, int] = {}
    unpacked: float | None = None

    @property
    def on_disk(self) -> float:
        """GB of the archives and of what is unpacked from them, for both stay; 0 if not known."""
        return (self.gb or 0) + (self.unpacked if self.unpacked is not None else self.gb or 0)


VGG = "www.robots.ox.ac.uk"
OPENAI = "openaipublic.azureedge.net"
# Bytes without a source: tensorflow_datasets/url_checksums/ in github.com/tensorflow/datasets,
# which states those of the very archives. Others are about right; the comment says from where.
DOWNLOADS = {
    "food101": Download(5.0, "data.vision.ee.ethz.ch", {"food-101.tar.gz": 4996278331}),
    "cifar10": Download(0.17, "www.cs.toronto.edu"),
    "cifar100": Download(0.17, "www.cs.toronto.edu"),
    "cifar100-20": Download(0.17, "www.cs.toronto.edu"),
    "birdsnap": Download(69.0),  # huggingface.co/datasets/sasha/birdsnap: its 39860 images
    "sun397": Download(39.1, "vision.princeton.edu", {"SUN397.tar.gz": 39077296924}),
    "cars": Download(2.0),  # Stanford's cars_train.tgz and cars_test.tgz; Kaggle's holds the same
    "aircraft": Download(2.8, VGG),  # the README in its archive
    "dtd": Download(0.63, VGG, {"dtd/dtd-r1.0.1.tar.gz": 625239812}),
    "pets": Download(0.81, VGG, {"oxford-iiit-pet/images.tar.gz": 791918971}),
    "caltech101": Download(0.14, "data.caltech.edu"),
    "flowers": Download(0.34, VGG, {"flowers-102/102flowers.tgz": 344862509}),
    "mnist": Download(0.01, "ossci-datasets.s3.amazonaws.com", unpacked=0.06),
    "fer2013": Download(0.1, unpacked=0.3),  # unpacked: 35887 rows of 2304 numbers
    "stl10": Download(
        2.6, "ai.stanford.edu", {"stl10_binary.tar.gz": 2640397119}, 3.1
    ),  # 113000 images of 27648 bytes
    "eurosat": Download(0.09, "huggingface.co", {"eurosat/EuroSAT.zip": 94280567}),
    "resisc45": Download(0.43),  # docs/catalog/resisc45.md there: its 31500 JPEGs
    "gtsrb": Download(0.3, "sid.erda.dk"),  # not checked
    "kitti": Download(
        12.6, "s3.eu-central-1.amazonaws.com", {"Kitti/raw/data_object_image_2.zip": 12569945557}
    ),
    "country211": Download(11.0, OPENAI),  # data/country211.md in github.com/openai/CLIP
    "pcam": Download(8.0, "Google Drive", unpacked=9.1),  # 327680 images of 27648 bytes
    "ucf101": Download(7.0),
    "kinetics700": Download(700.0),  # huggingface.co/datasets/iejMac/CLIP-Kinetics700
    "clevr": Download(19.0, "dl.fbaipublicfiles.com", {"clevr/CLEVR_v1.0.zip": 19021600724}),
    "hatefulmemes": Download(None),
    "sst": Download(0.13, OPENAI),  # data/rendered-sst2.md in github.com/openai/CLIP
    "imagenet": Download(
        154.6,
        "",
        {
            "imagenet/ILSVRC2012_img_train.tar": 147897477120,
            "imagenet/ILSVRC2012_img_val.tar": 6744924160,
        },
    ),
}


class OnDisk(NamedTuple):
    """What lies on disk of a dataset.

    Attributes:
        state: "there", "missing", or "incomplete" where a manual repair is required.
        fault: what is missing or half, with its path; empty where nothing is.
    """

    state: str
    fault: str = ""


def look(name: str, root: Path) -> OnDisk:
    """Whether a dataset's folder and key files are there. No image is opened and none counted.

    An archive shorter than its known size and the files of unfinished downloads are seen too.
    """
    if name in digits.BUILDERS:
        return OnDisk("there")
    if name not in BUILDERS:
        try:
            found = find_folder(name, root)
        except FileNotFoundError:
            found = None
        return OnDisk("there") if found else OnDisk("missing", f"there is no {root / name}")
    source = MANUAL.get(name) or SOURCES[name.removesuffix("-unlabelled")]
    folder, half = root / source.folder, unfinished(name, root)
    gone = [file for file in source.files if not any((folder / f).exists() for f in either(file))]
    if not folder.is_dir() or len(gone) == len(source.files):
        return OnDisk("missing", half or f"there is no {folder / gone[0] if gone else folder}")
    if gone:
        repaired = not isinstance(source, Manual) and source.repaired
        fault = half or f"{folder / gone[0]} is missing"
        return OnDisk("missing" if repaired else "incomplete", fault)
    return OnDisk("incomplete", half) if half and name in MANUAL else OnDisk("there")


def either(file: str) -> list[str]:
    """The names of a key file that may have one of several."""
    return file.split(" or ")


def unfinished(name: str, root: Path) -> str:
    """What shows that a download was cut short, in words; empty where nothing does."""
    archives = DOWNLOADS.get(name, Download(None)).archives
    for file, size in archives.items():
        found = (root / file).stat().st_size if (root / file).is_file() else size
        if found < size:
            return f"{root / file} has {found / 1e9:.1f} of {size / 1e9:.1f} GB"
    source = MANUAL.get(name) or SOURCES[name.removesuffix("-unlabelled")]
    places = {(root / source.folder), *((root / file).parent for file in archives)} - {root}
    for place in sorted(each for each in places if each.is_dir()):
        for path in sorted(place.iterdir()):
            if path.suffix in PARTIAL:
                return f"{path} is an unfinished download"
    return ""

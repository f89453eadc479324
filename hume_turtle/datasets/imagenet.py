"""ImageNet 2012 as a person unpacks it: train and val, with or without the development kit."""

from __future__ import annotations

import re
from pathlib import Path

from hume_turtle.datasets.folder import class_files, labelled, listing
from hume_turtle.datasets.images import Builder, FileImages, ImageDataset
from hume_turtle.datasets.manual import ByHand

IMAGENET = ByHand(
    "imagenet",
    "imagenet",
    "image-net.org, challenge ILSVRC 2012, after registration: ILSVRC2012_img_train.tar, "
    "ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, unpacked, those inside the first too",
    "train/<wnid>/*.JPEG and val/<wnid>/*.JPEG; or val/*.JPEG as in the archive, with "
    "ILSVRC2012_devkit_t12/data/meta.mat and .../ILSVRC2012_validation_ground_truth.txt "
    "or torchvision's meta.bin",
    "1281167 train and 50000 test images of 1000 classes",
)


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
        files = by_truth(folder / part, flat, truth, wnids)
    else:
        by_class = dict(zip(own, class_files(folder / part, own)))
        files = [by_class.get(wnid, []) for wnid in wnids]
    paths, labels = labelled(files)
    if not paths:
        raise IMAGENET.missing(folder / part, "has no images")
    class_names = tuple(words.get(wnid, wnid) for wnid in wnids)
    return ImageDataset("imagenet", split, FileImages(paths), labels, class_names)


def by_truth(folder: Path, files: list[str], truth: list[str], wnids: list[str]) -> list[list[str]]:
    """Paths by class of ILSVRC2012_val_00000001.JPEG and so on, by the wnid of each number."""
    if not truth:
        raise IMAGENET.missing(folder, "has no class sub-folders and there is no devkit")
    by_class = {wnid: [] for wnid in wnids}
    for file in files:
        number = re.fullmatch(r"ILSVRC2012_val_(\d{8})\.\w+", file)
        if not number or not 1 <= int(number[1]) <= len(truth):
            raise ValueError(f"{folder / file} is none of the {len(truth)} validation images")
        wnid = truth[int(number[1]) - 1]
        if wnid not in by_class:
            raise ValueError(f"{folder / file} is of class {wnid}, which train/ does not have")
        by_class[wnid].append(str(folder / file))
    return list(by_class.values())


def devkit(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Class names by wnid, and the wnid of each validation image by number; empty if not there."""
    data = folder / "ILSVRC2012_devkit_t12" / "data"
    if (data / "meta.mat").exists():
        from scipy.io import loadmat

        synsets = loadmat(data / "meta.mat", squeeze_me=True)["synsets"]
        leaves = synsets[synsets["num_children"] == 0]  # the other 860 stand above the classes
        wnid = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in leaves}
        truth = data / "ILSVRC2012_validation_ground_truth.txt"
        lines = truth.read_text().split() if truth.exists() else []
        words = {str(row["WNID"]): str(row["words"]) for row in leaves}
        return words, [wnid[int(line)] for line in lines]
    if (folder / "meta.bin").exists():
        import torch

        words, truth = torch.load(folder / "meta.bin", weights_only=True)
        return {wnid: ", ".join(names) for wnid, names in words.items()}, list(truth)
    return {}, []


BUILDERS: dict[str, Builder] = {"imagenet": imagenet}

"""Small datasets in the true layout on disk: folders, lists, .mat, idx, pickled and HDF5 files.

Every image is one shade of grey, a different one for every image, so that reading the images back
says which they are. `TREES[name](root)` writes a dataset and returns what an adapter should make
of it: for each split the shades and the labels in order, and the class names.
"""

from __future__ import annotations

import csv
import json
import pickle
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade,) * 3).save(path)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def shades_of(dataset) -> list[int]:
    """The shade of each image, to the nearest ten: JPEG keeps shades only nearly."""
    return [round(float(np.asarray(image).mean()) / 10) * 10 for image in dataset]


def food101(root):
    folder = root / "food-101"
    lists = {
        "train": {"churros": ["churros/11", "churros/10"], "apple_pie": ["apple_pie/20"]},
        "test": {"churros": ["churros/12"], "apple_pie": ["apple_pie/21", "apple_pie/22"]},
    }
    for split, classes in lists.items():
        text(folder / "meta" / f"{split}.json", json.dumps(classes))
        text(folder / "meta" / f"{split}.txt", *(n for names in classes.values() for n in names))
        for name in (n for names in classes.values() for n in names):
            picture(folder / "images" / f"{name}.jpg", 10 * int(name.split("/")[1]))
    text(folder / "meta" / "classes.txt", "apple_pie", "churros")
    train = ([110, 100, 200], [1, 1, 0])
    return train, ([120, 210, 220], [1, 0, 0]), ("apple_pie", "churros")


def batch(path: Path, shades: list[int], **labels: list[int]) -> None:
    """A CIFAR batch: rows of 3072 bytes, red before green before blue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.repeat(np.array(shades, np.uint8)[:, None], 3072, 1)
    path.write_bytes(pickle.dumps({"data": pixels, **labels}, protocol=2))


def cifar10(root):
    folder = root / "cifar-10-batches-py"
    for number in range(1, 6):
        shades = [20 * number, 20 * number + 10]
        batch(folder / f"data_batch_{number}", shades, labels=[number, number - 1])
    batch(folder / "test_batch", [200, 210, 220], labels=[9, 0, 5])
    names = [f"class {label}" for label in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=2))
    train = (list(range(20, 120, 10)), [1, 0, 2, 1, 3, 2, 4, 3, 5, 4])
    return train, ([200, 210, 220], [9, 0, 5]), tuple(names)


def cifar100_files(root):
    folder = root / "cifar-100-python"
    batch(folder / "train", [10, 20, 30], fine_labels=[99, 4, 0], coarse_labels=[13, 0, 4])
    batch(folder / "test", [40, 50], fine_labels=[4, 98], coarse_labels=[0, 14])
    fine, coarse = (
        [f"{kind} {i}" for i in range(n)] for kind, n in (("fine", 100), ("coarse", 20))
    )
    meta = {"fine_label_names": fine, "coarse_label_names": coarse}
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    return tuple(fine), tuple(coarse)


def cifar100(root):
    fine, _ = cifar100_files(root)
    return ([10, 20, 30], [99, 4, 0]), ([40, 50], [4, 98]), fine


def cifar100_20(root):
    _, coarse = cifar100_files(root)
    return ([10, 20, 30], [13, 0, 4]), ([40, 50], [0, 14]), coarse


def mnist(root):
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    splits = {"train": ([10, 20, 30], [7, 0, 9]), "t10k": ([40, 50], [3, 3])}
    for split, (shades, labels) in splits.items():
        pixels = np.repeat(np.array(shades, np.uint8), 28 * 28).tobytes()
        head = struct.pack(">IIII", 2051, len(shades), 28, 28)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(head + pixels)
        head = struct.pack(">II", 2049, len(labels))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(head + bytes(labels))
    return *splits.values(), tuple("0123456789")


def stl10(root):
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    names = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    text(folder / "class_names.txt", *names)
    text(folder / "fold_indices.txt", *["0 1"] * 10)
    splits = {"train": ([10, 20, 30], [9, 0, 5]), "test": ([40, 50], [1, 8])}
    for split, (shades, labels) in splits.items():
        pixels = np.repeat(np.array(shades, np.uint8), 3 * 96 * 96)
        (folder / f"{split}_X.bin").write_bytes(pixels.tobytes())
        (folder / f"{split}_y.bin").write_bytes(bytes(label + 1 for label in labels))
    (folder / "unlabeled_X.bin").write_bytes(bytes(3 * 96 * 96))
    return *splits.values(), names


def aircraft(root):
    folder = root / "fgvc-aircraft-2013b" / "data"
    names = ("707-320", "727-200", "A300B4", "F/A-18")  # the archive's order, not sorted by us
    lists = {
        "train": ["0000010 F/A-18", "0000020 707-320"],
        "val": ["0000030 727-200"],
        "trainval": ["0000010 F/A-18", "0000030 727-200", "0000020 707-320"],
        "test": ["0000050 A300B4", "0000040 707-320"],
    }
    text(folder / "variants.txt", *names)
    text(folder / "families.txt", "Boeing 707")
    text(folder / "manufacturers.txt", "Boeing")
    for split, lines in lists.items():
        text(folder / f"images_variant_{split}.txt", *lines)
        text(folder / f"images_family_{split}.txt")
        for line in lines:
            picture(folder / "images" / f"{line[:7]}.jpg", int(line[:7]))
    return ([10, 30, 20], [3, 1, 0]), ([50, 40], [2, 0]), names


def dtd(root):
    folder = root / "dtd" / "dtd"
    lists = {
        "train1": {"zigzagged": [10], "banded": [20]},
        "val1": {"banded": [30], "zigzagged": [40]},
        "test1": {"banded": [50], "zigzagged": [60]},
        "train2": {"banded": [60], "zigzagged": [50]},
    }
    for part, classes in lists.items():
        lines = [(name, shade) for name, shades in classes.items() for shade in shades]
        text(folder / "labels" / f"{part}.txt", *(f"{n}/{n}_{s:04d}.jpg" for n, s in lines))
        for name, shade in lines:
            picture(folder / "images" / name / f"{name}_{shade:04d}.jpg", shade)
    train = ([10, 20, 30, 40], [1, 0, 0, 1])
    return train, ([50, 60], [0, 1]), ("banded", "zigzagged")


def pets(root):
    folder = root / "oxford-iiit-pet"
    lists = {
        "trainval": ["Abyssinian_10 1 1 1", "american_bulldog_20 2 2 1", "Abyssinian_3 1 1 1"],
        "test": ["american_bulldog_4 2 2 1", "Abyssinian_50 1 1 1"],
    }
    for split, lines in lists.items():
        text(folder / "annotations" / f"{split}.txt", *lines)
    for shade, name in [(10, "Abyssinian_10"), (20, "american_bulldog_20"), (30, "Abyssinian_3")]:
        picture(folder / "images" / f"{name}.jpg", shade)
    for shade, name in [(40, "american_bulldog_4"), (50, "Abyssinian_50")]:
        picture(folder / "images" / f"{name}.jpg", shade)
    names = ("Abyssinian", "American Bulldog")
    return ([10, 20, 30], [0, 1, 0]), ([40, 50], [1, 0]), names


def flowers(root):
    from torchvision.datasets import Flowers102

    folder = root / "flowers-102"
    for number in range(1, 8):
        picture(folder / "jpg" / f"image_{number:05d}.jpg", 10 * number)
    savemat(folder / "imagelabels.mat", {"labels": np.array([[77, 102, 1, 1, 5, 77, 6]])})
    ids = {"trnid": [[2, 5]], "valid": [[3, 1]], "tstid": [[7, 4, 6]]}
    savemat(folder / "setid.mat", {key: np.array(rows, np.uint16) for key, rows in ids.items()})
    names = getattr(Flowers102, "classes", [f"flower {label}" for label in range(1, 103)])
    return ([20, 50, 30, 10], [101, 4, 0, 76]), ([70, 40, 60], [5, 0, 76]), tuple(names)


def gtsrb(root):
    folder = root / "gtsrb"
    for sign, shades in [("00000", (10, 20)), ("00001", (30,)), ("00002", (40,))]:
        for track, shade in enumerate(shades):
            picture(folder / "GTSRB" / "Training" / sign / f"{track:05d}_00000.ppm", shade)
        text(folder / "GTSRB" / "Training" / sign / f"GT-{sign}.csv", "Filename;Width")
    columns = ["Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId"]
    with open(folder / "GT-final_test.csv", "w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(columns)
        for number, sign in enumerate([42, 0, 16]):
            name = f"{number:05d}.ppm"
            writer.writerow([name, 8, 8, 0, 0, 7, 7, sign])
            picture(folder / "GTSRB" / "Final_Test" / "Images" / name, 100 + 10 * number)
    names = tuple(f"{sign:05d}" for sign in range(43))
    return ([10, 20, 30, 40], [0, 0, 1, 2]), ([100, 110, 120], [42, 0, 16]), names


def country211(root):
    shades = {"train": [10, 20], "valid": [30, 40], "test": [50, 60]}
    for part, pair in shades.items():
        for name, shade in zip(("ZW", "AD"), pair):
            picture(root / "country211" / part / name / f"{shade}.jpg", shade)
    return ([20, 10, 40, 30], [0, 1, 0, 1]), ([60, 50], [0, 1]), ("AD", "ZW")


def sst(root):
    shades = {"train": [10, 20], "valid": [30, 40], "test": [50, 60]}
    for part, pair in shades.items():
        for name, shade in zip(("positive", "negative"), pair):
            picture(root / "rendered-sst2" / part / name / f"{shade}.png", shade)
    return ([20, 10, 40, 30], [0, 1, 0, 1]), ([60, 50], [0, 1]), ("negative", "positive")


def sun397(root):
    folder = root / "SUN397"
    text(folder / "ClassName.txt", "/a/abbey", "/a/apartment_building/outdoor", "/y/yard")
    images = {
        10: "/y/yard/sun_aaa.jpg",
        20: "/a/abbey/sun_bbb.jpg",
        30: "/a/apartment_building/outdoor/sun_ccc.jpg",
        40: "/a/abbey/sun_ddd.jpg",
        50: "/a/abbey/sun_in_no_list.jpg",
    }
    for shade, name in images.items():
        picture(folder / name[1:], shade)
    text(folder / "Training_01.txt", images[10], images[30], images[20])
    text(folder / "Testing_01.txt", images[40])
    text(folder / "Training_02.txt", images[40])
    names = ("abbey", "apartment_building/outdoor", "yard")
    return ([10, 30, 20], [2, 1, 0]), ([40], [0]), names


def pcam(root):
    import h5py

    folder = root / "pcam"
    folder.mkdir(parents=True)
    splits = {"train": ([10, 20, 30], [1, 0, 1]), "valid": ([40], [0]), "test": ([60, 50], [0, 1])}
    for split, (shades, labels) in splits.items():
        pixels = np.repeat(np.array(shades, np.uint8), 96 * 96 * 3).reshape(-1, 96, 96, 3)
        for what, rows in ("x", pixels), ("y", np.array(labels, np.uint8).reshape(-1, 1, 1, 1)):
            with h5py.File(folder / f"camelyonpatch_level_2_split_{split}_{what}.h5", "w") as file:
                file[what] = rows
    names = ("no tumour tissue", "tumour tissue")
    return ([10, 20, 30, 40], [1, 0, 1, 0]), splits["test"], names


TREES = {
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
    "gtsrb": gtsrb,
    "country211": country211,
    "sst": sst,
    "sun397": sun397,
    "pcam": pcam,
}

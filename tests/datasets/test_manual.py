"""Datasets that require a manual download, on small trees of the true layout."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import random
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from hume_turtle.datasets import manual, video
from hume_turtle.datasets.registry import load_dataset
from tests.helpers.dataset_trees import picture

MANUAL = [
    value
    for module in (manual, video)
    for value in vars(module).values()
    if isinstance(value, manual.Manual)
]


def touch(root, *files):
    """Empty files: a dataset that opened one would fail."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def names(dataset):
    return [path.name for path in dataset.images.paths]


@pytest.mark.parametrize("dataset", MANUAL, ids=lambda dataset: dataset.name)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_tree_says_from_where_to_where_and_what_is_checked(tmp_path, dataset, split):
    with pytest.raises(ValueError, match="pass root"):
        load_dataset(dataset.name, split)
    for folder in (tmp_path / "empty", tmp_path / "folder"):
        (folder / dataset.folder if folder.name == "folder" else folder).mkdir(parents=True)
        with pytest.raises(FileNotFoundError) as error:
            load_dataset(dataset.name, split, folder)
        for part in (
            str(folder),
            "Manual download required",
            dataset.source,
            dataset.layout,
            dataset.checked,
        ):
            assert part in str(error.value)


def test_every_message_states_the_papers_counts():
    with open(Path(__file__).parents[2] / "data/reported/dataset_sizes.csv", newline="") as file:
        sizes = {row["dataset"]: row for row in csv.DictReader(file)}
    assert len(MANUAL) == 8
    for dataset in MANUAL:
        for count in ("classes", "train", "test"):
            assert sizes[dataset.name][count] in dataset.checked.split()


@pytest.fixture
def cars(tmp_path):
    folder = tmp_path / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    makes = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012"]
    savemat(folder / "devkit/cars_meta.mat", {"class_names": np.array([makes], object)})
    fields = [("bbox_x1", object), ("class", object), ("fname", object)]
    for place, split, classes in (
        ("devkit/cars_train_annos.mat", "train", [3, 1, 3, 2]),
        ("cars_test_annos_withlabels.mat", "test", [2, 2, 1]),
    ):
        rows = [(30 + i, label, f"{i:05d}.jpg") for i, label in enumerate(classes, 1)]
        savemat(folder / place, {"annotations": np.array([rows], fields)})
        touch(folder, *(f"cars_{split}/{name}" for _, _, name in rows))
    return folder


def test_cars_are_read_as_torchvision_reads_them(cars):
    from torchvision.datasets import StanfordCars

    for split, labels in (("train", [2, 0, 2, 1]), ("test", [1, 1, 0])):
        ours, theirs = load_dataset("cars", split, cars.parent), StanfordCars(cars.parent, split)
        np.testing.assert_array_equal(ours.labels, labels)
        assert ours.labels.dtype == np.int64
        assert [(str(p), y) for p, y in zip(ours.images.paths, ours.labels)] == theirs._samples
        assert ours.class_names == tuple(theirs.classes)


def test_listed_images_must_be_there(cars):
    (cars / "cars_train/00002.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"cars_train/00002.jpg is missing"):
        load_dataset("cars", "train", cars.parent)
    (cars / "cars_train/00003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"cars_train/00002.jpg and 1 more are missing"):
        load_dataset("cars", "train", cars.parent)


FACES = [
    (3, "Training"),
    (0, "PublicTest"),
    (6, "PrivateTest"),
    (2, "Training"),
    (5, "PrivateTest"),
]


def faces(folder, file, columns):
    """A face of the label's own grey, its first pixel 255, in either file's columns."""
    folder.mkdir(parents=True)
    with open(folder / file, "w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(columns)
        for emotion, usage in FACES:
            pixels = " ".join(["255"] + [str(emotion)] * 2303)
            row = {"emotion": emotion, "pixels": pixels, "Usage": usage}
            writer.writerow([row[column.strip()] for column in columns])


FACE_FILES = [
    ("fer2013.csv", ["emotion", "pixels", "Usage"]),
    ("icml_face_data.csv", ["emotion", " Usage", " pixels"]),
]


@pytest.mark.parametrize(("file", "columns"), FACE_FILES)
@pytest.mark.filterwarnings("ignore:dataset 'fer2013'")
def test_fer2013_takes_the_private_half_for_test_unless_it_knows_better(tmp_path, file, columns):
    faces(tmp_path / "fer2013", file, columns)
    for split, labels in (("train", [3, 2]), ("test", [6, 5])):
        dataset = load_dataset("fer2013", split, tmp_path)
        np.testing.assert_array_equal(dataset.labels, labels)
        assert len(dataset.class_names) == 7
        for image, label in zip(dataset, labels):
            assert (image.mode, image.size) == ("L", (48, 48))
            assert (image.getpixel((0, 0)), image.getpixel((1, 0))) == (255, label)


HALVES = {  # of FACES: rows in the file, their emotions
    "PublicTest": {1: 0},
    "PrivateTest": {2: 6, 4: 5},
}
FORMS = {  # of TURTLE's file of its test images: a header, and a row's line
    "as in the file": ("emotion,pixels,Usage\n", "{emotion},{pixels},{usage}\n"),
    "from Windows": ("emotion,pixels,Usage\r\n", "{emotion},{pixels},{usage}\r\n"),
    "without usage": ("emotion,pixels\n", "{emotion},{pixels}\n"),
    "as the other file": ("emotion,Usage,pixels\n", "{emotion},{usage},{pixels}\n"),
    "numbered": (",emotion,pixels,Usage\n", "{row},{emotion},{pixels},{usage}\n"),
    "numbered anew": (",emotion,pixels,Usage\n", "{number},{emotion},{pixels},{usage}\n"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("usage", HALVES)
@pytest.mark.filterwarnings("ignore:dataset .* the papers'")
def test_fer2013_takes_the_half_that_has_the_published_checksum(tmp_path, monkeypatch, usage, form):
    text, line = FORMS[form]
    for number, (row, emotion) in enumerate(HALVES[usage].items()):
        pixels = " ".join(["255"] + [str(emotion)] * 2303)
        text += line.format(row=row, number=number, emotion=emotion, pixels=pixels, usage=usage)
    published = hashlib.md5(text.encode()).hexdigest()
    monkeypatch.setattr(manual, "FER2013_TEST_MD5", published, raising=False)
    for file, columns in FACE_FILES:
        faces(tmp_path / file / "fer2013", file, columns)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "dataset 'fer2013': neither half")
            dataset = load_dataset("fer2013", "test", tmp_path / file)
        assert dataset.labels.tolist() == list(HALVES[usage].values())


def test_a_warning_reports_that_no_half_of_fer2013_has_the_published_checksum(tmp_path):
    faces(tmp_path / "fer2013", *FACE_FILES[0])
    with pytest.warns(UserWarning, match="neither half .* 'PrivateTest' is taken"):
        load_dataset("fer2013", "test", tmp_path)


def test_resisc45_shuffles_sorted_files_class_by_class_with_one_generator(tmp_path):
    classes, folder = ["airplane", "golf_course"], tmp_path / "resisc45/NWPU-RESISC45"
    files = {c: [f"{c}_{i:03d}.jpg" for i in range(1, 21)] for c in classes}
    for c in reversed(classes):
        touch(folder, *(f"{c}/{file}" for file in reversed(files[c])))
    generator, expected = random.Random(42), {"train": [], "test": []}
    for c in classes:
        shuffled = list(files[c])
        generator.shuffle(shuffled)
        expected["train"] += sorted(shuffled[:16])
        expected["test"] += sorted(shuffled[16:])
    for split, n in (("train", 16), ("test", 4)):
        dataset = load_dataset("resisc45", split, tmp_path)
        assert names(dataset) == expected[split]
        np.testing.assert_array_equal(dataset.labels, np.repeat([0, 1], n))
        assert dataset.class_names == ("airplane", "golf course")
        assert names(load_dataset("resisc45", split, tmp_path)) == names(dataset)


def test_hateful_memes_are_train_and_dev(tmp_path):
    folder = tmp_path / "hatefulmemes"
    rows = {"train": [("42953", 0), ("08291", 1), ("01268", 0)], "dev": [("08292", 1)]}
    rows["test"] = [("16395", None)]  # the challenge's own test set has no labels
    for part, memes in rows.items():
        touch(folder, *(f"img/{number}.png" for number, _ in memes))
        lines = [
            {"id": int(number), "img": f"img/{number}.png", "label": label, "text": "text"}
            for number, label in memes
        ]
        (folder / f"{part}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    train, test = (load_dataset("hatefulmemes", split, tmp_path) for split in ("train", "test"))
    assert names(train) == ["01268.png", "42953.png", "08291.png"]
    np.testing.assert_array_equal(train.labels, [0, 0, 1])
    assert names(test) == ["08292.png"]
    np.testing.assert_array_equal(test.labels, [1])
    assert train.class_names == ("not hateful", "hateful")


def pictures(root, *files):
    for file in files:
        picture(root / file, 50)


def test_birdsnap_draws_five_test_images_per_class_whatever_the_disks_order(tmp_path):
    files = [f"{bird}/{i}.jpg" for bird in ("Yellow_Warbler", "American_Crow") for i in range(9)]
    parts = []
    for name, order in (("a", files), ("b", files[::-1])):
        pictures(tmp_path / name / "birdsnap/download/images", *order, "American_Crow/gone.gif")
        parts.append([load_dataset("birdsnap", s, tmp_path / name) for s in ("train", "test")])
    for (train, test), again in zip(parts, reversed(parts)):
        assert Counter(test.labels.tolist()) == {0: 5, 1: 5}
        assert Counter(train.labels.tolist()) == {0: 4, 1: 4}
        assert not set(train.images.paths) & set(test.images.paths)
        assert train.class_names == ("American Crow", "Yellow Warbler")
        assert (names(train), names(test)) == tuple(map(names, again))
        assert all(path.parent.name == "American_Crow" for path in test.images.paths[:5])


def test_birdsnap_drops_what_cannot_be_read_before_it_draws_as_the_published_program(tmp_path):
    folder, birds = tmp_path / "birdsnap/download/images", ["American_Crow", "Yellow_Warbler"]
    pictures(folder, *(f"{bird}/{i:02d}.jpg" for bird in birds for i in range(20)))
    good, whole = {}, (folder / "American_Crow/00.jpg").read_bytes()
    for bird, bad in zip(birds, ([0, 3, 4, 11, 19], [2, 7])):
        for i in bad:  # no image, an empty file, one cut short
            (folder / bird / f"{i:02d}.jpg").write_bytes([b"<html>", b"", whole[:-100]][i % 3])
        good[bird] = [f"{i:02d}.jpg" for i in range(20) if i not in bad]
    random.seed(0)
    expected = {bird: set(random.sample(good[bird], 5)) for bird in birds}
    message = "7 images cannot be read and are in no split, .*American_Crow/00.jpg"
    for split in ("train", "test"):
        with pytest.warns(UserWarning, match=message):
            dataset = load_dataset("birdsnap", split, tmp_path)
        found = {(path.parent.name, path.name) for path in dataset.images.paths}
        assert found == {
            (bird, file)
            for bird in birds
            for file in good[bird]
            if (file in expected[bird]) == (split == "test")
        }
        assert all(image.size == (8, 8) for image in dataset)


def test_birdsnap_reads_its_images_once_and_again_where_one_was_replaced(tmp_path):
    folder = tmp_path / "birdsnap/download/images/American_Crow"
    pictures(folder, *(f"{i}.jpg" for i in range(7)))
    load_dataset("birdsnap", "all", tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "open", lambda *args: pytest.fail("an image was opened again"))
        load_dataset("birdsnap", "train", tmp_path)
    (folder / "3.jpg").write_bytes(b"")
    os.utime(folder / "3.jpg", (1, 1))
    with pytest.warns(UserWarning, match="1 images cannot be read"):
        assert len(load_dataset("birdsnap", "all", tmp_path)) == 6


def test_a_birdsnap_image_that_the_system_cannot_read_is_not_taken_for_corrupt(
    tmp_path, monkeypatch
):
    pictures(tmp_path / "birdsnap/download/images/American_Crow", *(f"{i}.jpg" for i in range(7)))

    def fail(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(PermissionError, match=r"American_Crow.*jpg"):
        load_dataset("birdsnap", "train", tmp_path)


def test_birdsnap_refuses_a_class_with_nothing_left_to_train_on(tmp_path):
    folder = tmp_path / "birdsnap/download/images"
    pictures(folder, *(f"American_Crow/{i}.jpg" for i in range(5)))
    touch(folder, "American_Crow/corrupt.jpg")
    with (
        pytest.warns(UserWarning, match="American_Crow/corrupt.jpg"),
        pytest.raises(ValueError, match="American_Crow: 5 readable images"),
    ):
        load_dataset("birdsnap", "train", tmp_path)


def test_a_face_of_another_size_is_reported_with_its_line(tmp_path):
    faces(tmp_path / "fer2013", "fer2013.csv", ["emotion", "pixels", "Usage"])
    with open(tmp_path / "fer2013/fer2013.csv", "a") as file:
        file.write("1,0 0 300,Training\n")
    with pytest.raises(ValueError, match=r"fer2013.csv, line 7: these are not 2304 pixels"):
        load_dataset("fer2013", "train", tmp_path)


@pytest.mark.parametrize("value", ["256", "-1", "x"])
def test_a_pixel_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match="not 2304 pixels"):
        manual.face(" ".join(["0"] * 2303 + [value]), "here")


@pytest.mark.parametrize("file", ["devkit/cars_meta.mat", "devkit/cars_train_annos.mat"])
def test_cut_annotations_of_cars_are_one_line(cars, file):
    (cars / file).write_bytes((cars / file).read_bytes()[:150])
    with pytest.raises(ValueError, match=rf"dataset 'cars': .*{file}.* cannot be read"):
        load_dataset("cars", "train", cars.parent)


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("fer2013", "fer2013.csv", "emotion,pix"),
        ("hatefulmemes", "train.jsonl", '{"img": "img/1.png", "label": 1}\n{"img": "im'),
        ("ucf101", "ucfTrainTestlist/classInd.txt", "1 ApplyEyeMakeup\n2"),
        ("imagenet", "meta.bin", "PK"),
        ("imagenet", "ILSVRC2012_devkit_t12/data/meta.mat", "MATLAB 5.0"),
    ],
)
def test_a_list_that_was_cut_short_is_one_line(tmp_path, name, file, content):
    folder = tmp_path / name
    touch(
        folder, "train/n01/1.JPEG", *(f"ucfTrainTestlist/{s}list01.txt" for s in ("train", "test"))
    )
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(content)
    place = folder / "ILSVRC2012_devkit_t12/data" if file.endswith("meta.mat") else folder / file
    with pytest.raises(ValueError, match="cut short; remove it and fetch it again") as caught:
        load_dataset(name, "train", tmp_path)
    assert str(caught.value).startswith(f"dataset '{name}': {place} cannot be read")
    assert "\n" not in str(caught.value)

"""Drawn splits on small trees in the true layout, beside the draws of TURTLE's program."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
from PIL import Image

from hume_turtle.datasets.drawn_splits import BUILDERS, draw_per_class
from hume_turtle.datasets.registry import load_dataset
from tests.helpers.dataset_trees import picture, text

pytestmark = pytest.mark.filterwarnings("ignore:dataset .* has .* the papers'")  # small trees


def copies(root, names) -> None:
    """Files of one small picture, which no builder may open."""
    picture(root / "picture.png", 50)
    content = (root / "picture.png").read_bytes()
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def caltech101(root):
    sizes = {"accordion": 45, "BACKGROUND_Google": 31, "Faces": 40}
    folder = "caltech101/101_ObjectCategories"
    copies(root, [f"{folder}/{c}/image_{i:04d}.jpg" for c, n in sizes.items() for i in range(n)])
    text(root / folder / "BACKGROUND_Google" / "tmp")  # in the archive too, and no image


def eurosat(root):
    sizes = {"River": 1502, "AnnualCrop": 1600}
    copies(root, [f"eurosat/2750/{c}/{c}_{i}.jpg" for c, n in sizes.items() for i in range(1, n)])


def kitti_line(kind, z):
    """An object as the label files write it: 15 fields, z of its location the 14th."""
    return f"{kind} 0.00 0 -1.57 599.41 156.40 629.75 189.25 2.85 2.63 12.34 0.47 1.49 {z} -1.56"


KITTI = {  # lines of label files, and the class
    0: ([], 0),
    1: ([kitti_line("Pedestrian", 3.0), kitti_line("DontCare", -1000)], 0),
    2: ([kitti_line("Car", 30.0), kitti_line("Van", 7.99)], 1),
    3: ([kitti_line("Car", 8.0), kitti_line("Cyclist", 2.0)], 1),
    4: ([kitti_line("Van", 8.01), kitti_line("Truck", 20.5)], 2),
    5: ([kitti_line("Car", 20.0), kitti_line("Tram", 5.0)], 2),
    6: ([kitti_line("Car", 64.2), kitti_line("Truck", 20.01)], 3),
    7: ([kitti_line("Car", 20.1), kitti_line("Truck", 5.0)], 1),
    8: ([kitti_line("Car", 0.0), kitti_line("Van", 3.0)], 0),
    9: ([kitti_line("Van", 12.0), kitti_line("Car", -1.2)], 0),
}


def kitti(root, n=21):
    folder = "Kitti/raw/training"
    copies(root, [f"{folder}/image_2/{i:06d}.png" for i in reversed(range(n))])
    for i in range(n):
        text(root / folder / "label_2" / f"{i:06d}.txt", *KITTI[i % len(KITTI)][0])


def clevr(root, n=2600):
    folder = root / "clevr" / "CLEVR_v1.0"
    names = [f"CLEVR_train_{i:06d}.png" for i in range(n)]
    copies(root, [f"clevr/CLEVR_v1.0/images/train/{name}" for name in names])
    scenes = [
        {"image_index": i, "image_filename": name, "objects": [{"shape": "cube"}] * (3 + i % 8)}
        for i, name in enumerate(names)
    ]
    (folder / "scenes").mkdir()
    content = {"info": {"split": "train"}, "scenes": scenes}
    (folder / "scenes" / "CLEVR_train_scenes.json").write_text(json.dumps(content))


TREES = {"caltech101": caltech101, "eurosat": eurosat, "kitti": kitti, "clevr": clevr}


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    for write in TREES.values():
        write(root)
    return root


def names_of(dataset) -> list[str]:
    return [path.name for path in dataset.images.paths]


@pytest.mark.parametrize("name", TREES)
def test_splits_are_disjoint_the_same_twice_and_open_no_image(name, trees, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", lambda *args: pytest.fail("an image was opened"))
        train, test, again = (BUILDERS[name](s, trees, False) for s in ("train", "test", "train"))
    assert train.images.paths == again.images.paths
    np.testing.assert_array_equal(train.labels, again.labels)
    assert not set(train.images.paths) & set(test.images.paths)
    assert len(train) > len(test) > 0
    assert train.class_names == test.class_names
    assert train.labels.dtype == test.labels.dtype == np.int64
    assert train[0].size == test[len(test) - 1].size == (8, 8)
    assert len(load_dataset(name, "all", trees)) == len(train) + len(test)


def drawn_by_turtle(n: int, size: int) -> np.ndarray:
    np.random.seed(42)  # noqa: NPY002
    return np.random.choice(np.arange(n), size=size, replace=False)  # noqa: NPY002


def test_caltech101_trains_on_30_per_class_and_keeps_the_background(trees):
    train, test = (BUILDERS["caltech101"](split, trees, False) for split in ("train", "test"))
    assert train.class_names == ("BACKGROUND_Google", "Faces", "accordion")  # sorted as bytes
    assert np.bincount(train.labels).tolist() == [30, 30, 30]
    assert np.bincount(test.labels).tolist() == [1, 10, 15]
    assert all(
        p.parent.name == train.class_names[y] for p, y in zip(train.images.paths, train.labels)
    )
    faces = [path.name for path in train.images.paths[30:60]]
    assert faces == [f"image_{i:04d}.jpg" for i in drawn_by_turtle(40, 30)]
    rest = np.setdiff1d(np.arange(45), drawn_by_turtle(45, 30))
    assert names_of(test)[-15:] == [f"image_{i:04d}.jpg" for i in rest]


def test_eurosat_draws_1500_per_class_and_trains_on_the_first_1000(trees):
    train, test = (BUILDERS["eurosat"](split, trees, False) for split in ("train", "test"))
    assert train.class_names == ("AnnualCrop", "River")
    assert np.bincount(train.labels).tolist() == [1000, 1000]
    assert np.bincount(test.labels).tolist() == [500, 500]
    files = sorted(f"River_{i}.jpg" for i in range(1, 1502))  # River_10 before River_2
    drawn = [files[i] for i in drawn_by_turtle(1501, 1500)]
    assert names_of(train)[1000:] == drawn[:1000]
    assert names_of(test)[500:] == drawn[1000:]


def test_kitti_classes_are_distances_of_the_nearest_car_van_or_truck(trees):
    train, test = (BUILDERS["kitti"](split, trees, False) for split in ("train", "test"))
    assert (len(train), len(test)) == (17, 4)  # 80 % of 21
    assert len(train.class_names) == 4
    found = {}
    for part in train, test:
        found |= {int(path.stem): y for path, y in zip(part.images.paths, part.labels)}
    assert found == {i: KITTI[i % len(KITTI)][1] for i in range(21)}
    order = np.random.RandomState(42).permutation(21)
    assert names_of(train) == [f"{i:06d}.png" for i in order[:17]]


def test_kitti_without_its_label_files_is_missing(trees, tmp_path):
    copies(tmp_path, ["Kitti/raw/training/image_2/000000.png"])
    with pytest.raises(FileNotFoundError, match="--download"):
        BUILDERS["kitti"]("train", tmp_path, False)


def test_clevr_samples_scenes_and_counts_their_objects(trees):
    train, test = (BUILDERS["clevr"](split, trees, False) for split in ("train", "test"))
    assert (len(train), len(test)) == (2000, 500)
    assert train.class_names == ("3", "4", "5", "6", "7", "8", "9", "10")
    random.seed(42)
    drawn = random.sample([{"image_index": i} for i in range(2600)], 2500)
    numbers = [scene["image_index"] for scene in drawn]
    assert names_of(train) + names_of(test) == [f"CLEVR_train_{i:06d}.png" for i in numbers]
    np.testing.assert_array_equal(train.labels, [i % 8 for i in numbers[:2000]])
    np.testing.assert_array_equal(test.labels, [i % 8 for i in numbers[2000:]])


def test_draws_at_full_size_stay_what_they_are():
    """Literal rows of the full-size draws, so that no library version can move a split unseen."""
    (rows,) = draw_per_class([0] * 3000, 1500)
    assert rows[:4].tolist() == [1801, 1190, 1817, 251]
    (rows,) = draw_per_class([0] * 467, 30)
    assert rows[:4].tolist() == [55, 63, 33, 462]
    assert random.Random(42).sample(range(70000), 2500)[:4] == [14592, 3278, 36048, 32098]
    order = np.random.RandomState(42).permutation(7481)
    assert order[:4].tolist() == [2825, 6358, 7115, 6566]


def test_fewer_files_than_the_papers_still_part(tmp_path):
    copies(
        tmp_path, [f"eurosat/2750/{c}/{c}_{i}.jpg" for c in ("River", "Forest") for i in range(6)]
    )
    train, test = (BUILDERS["eurosat"](split, tmp_path, False) for split in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [4, 4]
    assert np.bincount(test.labels).tolist() == [2, 2]
    with pytest.warns(UserWarning, match="'eurosat'.*has 8 images"):
        load_dataset("eurosat", "train", tmp_path)


def test_images_labels_and_classes_that_are_gone_are_one_line(tmp_path):
    for make in (caltech101, kitti, clevr):
        make(tmp_path)
    (tmp_path / "Kitti/raw/training/label_2/000003.txt").unlink()
    shutil.rmtree(tmp_path / "clevr/CLEVR_v1.0/images/train")
    shutil.rmtree(tmp_path / "caltech101/101_ObjectCategories/BACKGROUND_Google")
    for name, fault in (
        ("kitti", "000003.txt is missing"),
        ("clevr", "no images in CLEVR_v1.0/images/train"),
        ("caltech101", "caltech101 cannot be read"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=rf"dataset '{name}'.*{fault}"):
            BUILDERS[name]("train", tmp_path, False)

"""Image folders: layouts, splits, order, names, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hume_turtle.datasets.folder import images_below
from hume_turtle.datasets.registry import load_dataset


def touch(root, *files):
    """Empty files: a dataset that opened one would fail."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def names(dataset, root):
    return [str(path.relative_to(root)) for path in dataset.images.paths]


@pytest.fixture
def shapes(tmp_path):
    touch(tmp_path / "shapes", "train/disc/b.jpg", "train/disc/a.PNG", "train/bar/c.webp")
    touch(tmp_path / "shapes", "test/disc/d.jpeg", "test/bar/e.bmp", "test/bar/f.gif")
    touch(tmp_path / "shapes", "train/.hidden/x.jpg", "train/disc/.x.jpg", "train/disc/notes.txt")
    return tmp_path / "shapes"


def test_train_and_test_with_classes(shapes):
    train = load_dataset("shapes", "train", shapes.parent)
    assert (train.name, train.split, train.class_names) == ("shapes", "train", ("bar", "disc"))
    assert names(train, shapes) == ["train/bar/c.webp", "train/disc/a.PNG", "train/disc/b.jpg"]
    np.testing.assert_array_equal(train.labels, [0, 1, 1])
    assert train.labels.dtype == np.int64
    test = load_dataset("shapes", "test", shapes.parent)
    assert names(test, shapes) == ["test/bar/e.bmp", "test/bar/f.gif", "test/disc/d.jpeg"]
    np.testing.assert_array_equal(test.labels, [0, 0, 1])


def test_all_is_train_followed_by_test(shapes):
    parts = [load_dataset("shapes", split, shapes.parent) for split in ("train", "test", "all")]
    assert parts[2].images.paths == parts[0].images.paths + parts[1].images.paths
    np.testing.assert_array_equal(parts[2].labels, [0, 1, 1, 0, 0, 1])
    assert parts[2].split == "all"


def test_a_class_may_lack_test_images_but_keeps_its_label(shapes):
    (shapes / "test/bar/e.bmp").unlink()
    (shapes / "test/bar/f.gif").unlink()
    (shapes / "test/bar").rmdir()
    np.testing.assert_array_equal(load_dataset("shapes", "test", shapes.parent).labels, [1])


def test_a_folder_without_splits_is_all_train(tmp_path):
    touch(tmp_path / "pets", "dog/2.jpg", "cat/10.jpg", "cat/1.jpg", "train/3.jpg")
    for split in ("train", "all"):
        pets = load_dataset(f"folder:{tmp_path / 'pets'}", split)
        expected = ["cat/1.jpg", "cat/10.jpg", "dog/2.jpg", "train/3.jpg"]
        assert names(pets, tmp_path / "pets") == expected
        assert pets.class_names == ("cat", "dog", "train")  # a class called train, no split
    with pytest.raises(FileNotFoundError, match=r"no split 'test'.*all 'train'"):
        load_dataset(f"folder:{tmp_path / 'pets'}", "test")


@pytest.mark.parametrize("split", [False, True])
def test_without_classes_there_are_no_labels(tmp_path, split):
    parts = ("train/", "test/") if split else ("",)
    touch(tmp_path / "pics", *(f"{part}{name}.jpg" for part in parts for name in "ba"))
    pics = load_dataset("pics", "all", tmp_path)
    assert names(pics, tmp_path / "pics") == [
        f"{part}{name}.jpg" for part in parts for name in "ab"
    ]
    assert pics.labels is None
    assert pics.class_names == ()


def test_images_open(tmp_path):
    (tmp_path / "pics").mkdir()
    Image.new("RGB", (3, 2), "red").save(tmp_path / "pics/a.png")
    pics = load_dataset("pics", "train", tmp_path)
    assert pics[0].getpixel((0, 0)) == (255, 0, 0)
    assert pics.source(0) == str(tmp_path / "pics/a.png")


def test_a_path_is_taken_as_it_stands_and_then_under_the_root(tmp_path, monkeypatch):
    touch(tmp_path, "here/pics/a.jpg", "root/pics/b.jpg", "root/more/c.jpg")
    monkeypatch.chdir(tmp_path / "here")
    root = tmp_path / "root"
    assert load_dataset("folder:pics", "train", root).source(0) == "pics/a.jpg"
    assert load_dataset("folder:more", "train", root).source(0) == str(root / "more/c.jpg")
    assert load_dataset("folder:pics/", "train").name == "pics"
    monkeypatch.chdir("pics")
    assert load_dataset("folder:.", "train").name == "pics"
    with pytest.raises(FileNotFoundError, match=r"no folder nowhere or .*root/nowhere"):
        load_dataset("folder:nowhere", "train", root)


def test_names_that_are_no_folder_directly_under_the_root_are_unknown(tmp_path):
    touch(tmp_path, "a/b/c.jpg")
    for name in ("shape", "a/b", "..", "../a", ""):
        with pytest.raises(ValueError, match=r"unknown dataset .*digits"):
            load_dataset(name, "train", tmp_path)
    with pytest.raises(ValueError, match="unknown split"):
        load_dataset("a", "valid", tmp_path)


def test_a_known_name_is_not_taken_for_a_folder(tmp_path):
    touch(tmp_path, "digits/a.jpg")
    assert len(load_dataset("digits", "train", tmp_path)) == 1198
    assert len(load_dataset("folder:digits", "train", tmp_path)) == 1


@pytest.mark.parametrize(
    ("files", "split", "message"),
    [
        (["notes.txt"], "train", "no images.*jpg"),
        (["train/a/1.jpg", "test/notes.txt"], "test", "no images"),
        (["a/1.jpg", "b/notes.txt"], "train", "b: a class without images"),
        (["a/1.jpg", "2.jpg"], "train", "mixed layout: images lie in it"),
        (["train/a/1.jpg", "val/a/1.jpg"], "train", "mixed layout: train/, val/"),
        (["train/a/1.jpg", "test/a/1.jpg", "2.jpg"], "train", "mixed layout.*2.jpg"),
        (["test/a/1.jpg"], "test", "mixed layout: test/"),
        (["a/1.jpg", "a/more/2.jpg"], "train", "more lies deeper"),
        (["train/a/1.jpg", "test/b/1.jpg"], "test", "training images have no class 'b'"),
        (["train/a/1.jpg", "test/1.jpg"], "test", "only one of train/ and test/"),
        (["train/1.jpg", "test/a/1.jpg"], "test", "only one of train/ and test/"),
        (["train/a/1.jpg"], "test", "no split 'test'"),
    ],
)
def test_what_cannot_be_read_as_one_layout_is_refused(tmp_path, files, split, message):
    touch(tmp_path / "pics", *files)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_dataset("pics", split, tmp_path)


def test_images_at_any_depth(tmp_path):
    touch(tmp_path, "b.jpg", "a/deep/er/c.PNG", "a/d.jpeg", "a/notes.txt", "z/model.json")
    touch(tmp_path, ".hidden/x.jpg", "a/.x.jpg", "e.HEIC", "f.jfif")
    (tmp_path / "a/round").symlink_to(tmp_path)  # a link back is no endless loop
    wanted = ["a/d.jpeg", "a/deep/er/c.PNG", "b.jpg", "f.jfif"]
    assert images_below(tmp_path) == [str(tmp_path / name) for name in wanted]
    assert images_below(tmp_path, (".heic",)) == [str(tmp_path / "e.HEIC")]


def test_results_of_cluster_are_no_images(tmp_path):
    touch(tmp_path, "groups/contact-sheet.png", "groups/below/1.png", "2.png")
    assert len(images_below(tmp_path)) == 3  # a picture's name alone does not make it a result
    touch(tmp_path, "groups/model.json")
    assert images_below(tmp_path) == [str(tmp_path / "2.png")]

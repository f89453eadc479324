"""Every adapter on a small tree in the true layout: split, order, labels, class names, errors."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from hume_turtle.datasets.registry import BUILDERS, load_dataset
from hume_turtle.datasets.torchvision_sets import SOURCES, SUN397_LISTS
from tests.helpers.dataset_trees import TREES, mnist, shades_of, stl10, sun397

DRAWN = ("caltech101", "eurosat", "kitti", "clevr")  # see test_drawn_splits.py


@pytest.fixture(autouse=True)
def any_md5(monkeypatch):
    """Tiny files have other checksums than the archives': torchvision asks only for presence."""
    for module in ("cifar", "stl10", "flowers102"):
        monkeypatch.setattr(
            f"torchvision.datasets.{module}.check_integrity",
            lambda path, md5=None: Path(path).is_file(),
        )


@pytest.fixture(params=TREES)
def tree(request, tmp_path):
    """Name, root, and what each split should be."""
    if request.param == "pcam":
        pytest.importorskip("h5py")
    train, test, class_names = TREES[request.param](tmp_path)
    return request.param, tmp_path, {"train": train, "test": test}, class_names


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_labels_and_class_names_stand_in_their_order(tree, split):
    name, root, expected, class_names = tree
    dataset = BUILDERS[name](split, root, False)
    shades, labels = expected[split]
    assert (dataset.name, dataset.split) == (name, split)
    assert shades_of(dataset) == shades
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.tolist() == labels
    assert dataset.class_names == class_names
    assert str(root) in dataset.source(0) or dataset.source(0) == "image 0"


def test_the_same_twice_and_without_opening_an_image(tree, monkeypatch):
    name, root, expected, _ = tree
    first = BUILDERS[name]("train", root, False)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", lambda *args: pytest.fail("an image was opened"))
        again = BUILDERS[name]("train", root, False)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.class_names == again.class_names
    assert shades_of(again) == expected["train"][0]
    assert [first.source(i) for i in range(len(first))] == [
        again.source(i) for i in range(len(again))
    ]


@pytest.mark.filterwarnings("ignore:dataset .* split 'train', has")  # of each split
def test_all_is_train_then_test_with_a_warning_for_other_counts_than_the_papers(tree):
    name, root, expected, _ = tree
    if name == "cifar100-20":  # not in the paper's table
        whole = load_dataset(name, "all", root)
    else:
        with pytest.warns(UserWarning, match=f"'{name}', split 'test', has .* the papers'"):
            whole = load_dataset(name, "all", root)
    assert shades_of(whole) == expected["train"][0] + expected["test"][0]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", SOURCES)
def test_a_missing_dataset_says_where_it_was_looked_for_and_makes_nothing(name, split, tmp_path):
    if name == "pcam":
        pytest.importorskip("h5py")
    with pytest.raises(FileNotFoundError, match="--download") as caught:
        BUILDERS[name](split, tmp_path, False)
    assert str(tmp_path / SOURCES[name].folder) in str(caught.value)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=f"{name}.*root"):
        BUILDERS[name](split, None, False)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("food101", "food-101/meta/train.json"),
        ("cifar100-20", "cifar-100-python/meta"),
        ("mnist", "MNIST/raw/train-labels-idx1-ubyte"),
        ("aircraft", "fgvc-aircraft-2013b/data/images_variant_trainval.txt"),
        ("dtd", "dtd/dtd/labels/val1.txt"),
        ("pets", "oxford-iiit-pet/annotations/trainval.txt"),
        ("flowers", "flowers-102/setid.mat"),
        ("stl10", "stl10_binary/class_names.txt"),
        ("sun397", "SUN397/Training_01.txt"),
    ],
)
def test_an_incomplete_dataset_is_reported(name, file, tmp_path):
    TREES[name](tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}.*--download"):
        BUILDERS[name]("train", tmp_path, False)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("food101", "food-101/meta/train.json"),
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("cifar100-20", "cifar-100-python/train"),
        ("mnist", "MNIST/raw/train-labels-idx1-ubyte"),
        ("aircraft", "fgvc-aircraft-2013b/data/images_variant_trainval.txt"),
        ("aircraft", "fgvc-aircraft-2013b/data/variants.txt"),
        ("dtd", "dtd/dtd/labels/val1.txt"),
        ("pets", "oxford-iiit-pet/annotations/trainval.txt"),
        ("flowers", "flowers-102/imagelabels.mat"),
        ("flowers", "flowers-102/setid.mat"),
        ("stl10", "stl10_binary/train_X.bin"),
        ("sun397", "SUN397/Training_01.txt"),
        ("sun397", "SUN397/ClassName.txt"),
        ("pcam", "pcam/camelyonpatch_level_2_split_valid_x.h5"),
        ("pcam", "pcam/camelyonpatch_level_2_split_train_y.h5"),
    ],
)
def test_a_file_that_was_cut_short_is_one_line(name, file, tmp_path):
    if name == "pcam":
        pytest.importorskip("h5py")
    TREES[name](tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cut short; remove it and fetch it again") as caught:
        BUILDERS[name]("train", tmp_path, False)
    place = tmp_path / SOURCES[name].folder
    assert str(caught.value).startswith(f"dataset '{name}': {place}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("food101", "food-101/images/churros/10.jpg"),
        ("aircraft", "fgvc-aircraft-2013b/data/images/0000030.jpg"),
        ("dtd", "dtd/dtd/images/banded/banded_0020.jpg"),
        ("pets", "oxford-iiit-pet/images/Abyssinian_10.jpg"),
        ("flowers", "flowers-102/jpg/image_00001.jpg"),
        ("sun397", "SUN397/y/yard/sun_aaa.jpg"),
    ],
)
def test_an_image_that_a_list_names_is_missing_before_any_is_opened(name, file, tmp_path):
    TREES[name](tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}.*{Path(file).name} is missing.*--downl"):
        BUILDERS[name]("train", tmp_path, False)


def test_a_download_with_a_wrong_checksum_says_which_where_and_what_to_do(tmp_path, monkeypatch):
    def download(self):
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr("torchvision.datasets.MNIST.download", download)
    with pytest.raises(RuntimeError, match=rf"'mnist' cannot be .* to {tmp_path} .*corrupted.*rem"):
        BUILDERS["mnist"]("test", tmp_path, True)


def test_a_network_that_is_away_is_no_damaged_file(tmp_path, monkeypatch):
    def download(self):
        raise URLError("no route")

    monkeypatch.setattr("torchvision.datasets.MNIST.download", download)
    with pytest.raises(URLError):
        BUILDERS["mnist"]("test", tmp_path, True)


def test_download_lets_torchvision_fetch_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.MNIST.download", lambda self: mnist(Path(self.root)))
    assert shades_of(BUILDERS["mnist"]("test", tmp_path, True)) == [40, 50]


def test_download_fetches_the_lists_of_sun397_into_the_folder_of_its_images(tmp_path, monkeypatch):
    train, _, _ = sun397(tmp_path)
    folder = tmp_path / "SUN397"
    lists = {path.name: path.read_text() for path in folder.glob("T*.txt")}
    for name in lists:
        (folder / name).unlink()

    def fetch(url, download_root, md5):
        assert url == SUN397_LISTS
        assert len(md5) == 32
        for name, content in lists.items():
            Path(download_root, name).write_text(content)

    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", fetch)
    assert shades_of(BUILDERS["sun397"]("train", tmp_path, True)) == train[0]


def test_rows_and_columns_of_stl10_are_not_exchanged(tmp_path):
    stl10(tmp_path)
    channel = np.repeat(np.arange(96, dtype=np.uint8), 96)  # the file runs down the columns
    (tmp_path / "stl10_binary" / "train_X.bin").write_bytes(np.tile(channel, 3 * 3).tobytes())
    image = np.asarray(BUILDERS["stl10"]("train", tmp_path, False)[0])  # (96, 96, 3)
    np.testing.assert_array_equal(image[0, :, 0], np.arange(96))
    assert (image[:, 5] == 5).all()


def test_stl10_for_pretraining_has_the_unlabelled_images_too(tmp_path):
    stl10(tmp_path)
    rng = np.random.default_rng(0)
    more = rng.integers(0, 256, 2 * 3 * 96 * 96, dtype=np.uint8)
    (tmp_path / "stl10_binary" / "unlabeled_X.bin").write_bytes(more.tobytes())
    labelled = BUILDERS["stl10"]("train", tmp_path, False)
    whole = BUILDERS["stl10-unlabelled"]("train", tmp_path, False)
    assert len(whole) == len(labelled) + 2
    assert whole.labels is None
    np.testing.assert_array_equal(np.asarray(whole[0]), np.asarray(labelled[0]))
    np.testing.assert_array_equal(
        np.asarray(whole[-1])[0, 1], more.reshape(2, 3, 96, 96)[1, :, 1, 0]
    )
    with pytest.raises(ValueError, match="pretraining"):
        BUILDERS["stl10-unlabelled"]("test", tmp_path, False)


def test_parts_with_different_classes_are_refused(tmp_path):
    TREES["dtd"](tmp_path)
    (tmp_path / "dtd/dtd/labels/val1.txt").write_text("banded/banded_0030.jpg\n")
    with pytest.raises(ValueError, match="different classes"):
        BUILDERS["dtd"]("train", tmp_path, False)


def test_cifar_is_not_unpickled_before_its_checksum_is_compared(tmp_path, monkeypatch):
    monkeypatch.undo()
    TREES["cifar100"](tmp_path)
    for name in ("cifar100", "cifar100-20"):
        monkeypatch.setattr("pickle.load", lambda *a, **k: pytest.fail("unpickled unchecked"))
        with pytest.raises(FileNotFoundError, match="missing or incomplete"):
            BUILDERS[name]("train", tmp_path, False)


def test_every_source_has_an_adapter_and_a_tree():
    assert set(SOURCES) <= set(BUILDERS)
    assert set(SOURCES) == set(TREES) | set(DRAWN)

"""ImageNet on small trees of the true layout, beside torchvision's own reading of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import savemat

from hume_turtle.datasets.registry import load_dataset

WORDS = {  # in the order of their ILSVRC2012_ID, which is not that of the wnids
    "n02119789": "kit fox, Vulpes macrotis",
    "n01440764": "tench, Tinca tinca",
    "n02012849": "crane",
}
TRUTH = [2, 3, 1, 2, 3, 1]  # of val images 1 to 6


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "imagenet"
    for wnid in WORDS:
        for number in (10026, 9):
            touch(folder / "train" / wnid / f"{wnid}_{number}.JPEG")
    return folder


def flat_val(folder):
    for number in range(1, 7):
        touch(folder / "val" / f"ILSVRC2012_val_{number:08d}.JPEG")


def val_by_class(folder):
    for number, identity in enumerate(TRUTH, 1):
        wnid = list(WORDS)[identity - 1]
        touch(folder / "val" / wnid / f"ILSVRC2012_val_{number:08d}.JPEG")


def devkit(folder):
    """meta.mat as in the archive: the leaves, then the synsets above them."""
    data = folder / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    fields = [(name, object) for name in ("ILSVRC2012_ID", "WNID", "words", "gloss")]
    fields += [(name, object) for name in ("num_children", "children", "num_train_images")]
    rows = [(i, wnid, words, "-", 0, [], 1300) for i, (wnid, words) in enumerate(WORDS.items(), 1)]
    rows += [(1001, "n00001740", "entity", "-", 2, [1002, 1003], 0)]
    rows += [(1002, "n00002684", "object", "-", 1, [1], 0)]
    savemat(data / "meta.mat", {"synsets": np.array(rows, fields)[:, None]})
    text = "".join(f"{identity}\n" for identity in TRUTH)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(text)


def meta_bin(folder):
    words = {wnid: tuple(words.split(", ")) for wnid, words in WORDS.items()}
    torch.save((words, [list(WORDS)[identity - 1] for identity in TRUTH]), folder / "meta.bin")


def test_train_is_in_the_order_of_wnids_and_files(tree):
    train = load_dataset("imagenet", "train", tree.parent)
    assert [path.name for path in train.images.paths[:3]] == [
        "n01440764_10026.JPEG",
        "n01440764_9.JPEG",
        "n02012849_10026.JPEG",
    ]
    np.testing.assert_array_equal(train.labels, [0, 0, 1, 1, 2, 2])
    assert train.labels.dtype == np.int64
    assert train.class_names == ("n01440764", "n02012849", "n02119789")


@pytest.mark.parametrize("meta", [devkit, meta_bin])
@pytest.mark.parametrize("val", [flat_val, val_by_class])
def test_val_flat_or_by_class_gives_the_same_rows(tree, val, meta):
    val(tree)
    meta(tree)
    test = load_dataset("imagenet", "test", tree.parent)
    numbers = [int(path.stem[-8:]) for path in test.images.paths]
    assert numbers == [1, 4, 2, 5, 3, 6]
    np.testing.assert_array_equal(test.labels, [0, 0, 1, 1, 2, 2])
    assert test.class_names == ("tench, Tinca tinca", "crane", "kit fox, Vulpes macrotis")
    assert load_dataset("imagenet", "test", tree.parent).images.paths == test.images.paths


def test_rows_are_torchvisions(tree):
    from torchvision.datasets import ImageNet

    val_by_class(tree)
    meta_bin(tree)
    for split, part in (("train", "train"), ("test", "val")):
        ours, theirs = load_dataset("imagenet", split, tree.parent), ImageNet(tree, part)
        assert [str(path) for path in ours.images.paths] == [path for path, _ in theirs.imgs]
        np.testing.assert_array_equal(ours.labels, theirs.targets)


def test_val_alone_takes_its_classes_from_the_devkit(tmp_path):
    flat_val(tmp_path / "imagenet")
    devkit(tmp_path / "imagenet")
    np.testing.assert_array_equal(
        load_dataset("imagenet", "test", tmp_path).labels, [0, 0, 1, 1, 2, 2]
    )


def test_labels_do_not_depend_on_the_split_asked_for(tree):
    """A validation folder that lacks a class keeps the others' labels."""
    touch(tree / "val" / "n02119789" / "ILSVRC2012_val_00000003.JPEG")
    np.testing.assert_array_equal(load_dataset("imagenet", "test", tree.parent).labels, [2])


def test_what_is_missing_is_named(tmp_path, tree):
    with pytest.raises(FileNotFoundError, match=r"(?s)val is missing.*image-net.org.*1281167"):
        load_dataset("imagenet", "test", tmp_path)
    flat_val(tree)
    with pytest.raises(FileNotFoundError, match=r"(?s)no class sub-folders.*ILSVRC2012_devkit_t12"):
        load_dataset("imagenet", "test", tmp_path)
    devkit(tree)
    touch(tree / "val" / "ILSVRC2012_val_00000007.JPEG")
    with pytest.raises(ValueError, match=r"00000007.JPEG is none of the 6 validation images"):
        load_dataset("imagenet", "test", tmp_path)


def test_a_meta_file_cannot_run_code(tree, capsys):
    class Payload:
        def __reduce__(self):
            return (print, ("run",))

    torch.save((Payload(), []), tree / "meta.bin")
    with pytest.raises(ValueError, match=r"meta.bin cannot be read \(UnpicklingError"):
        load_dataset("imagenet", "train", tree.parent)
    assert capsys.readouterr().out == ""

"""What is seen of a dataset without opening an image, and the table of downloads."""

from __future__ import annotations

import builtins

import pytest

from hume_turtle.datasets import downloads
from hume_turtle.datasets.downloads import DOWNLOADS, look
from hume_turtle.datasets.registry import BUILDERS, MANUAL, reported_sizes
from hume_turtle.datasets.torchvision_sets import SOURCES
from tests.helpers.dataset_trees import TREES, mnist, picture, text


def make_manual(root, name):
    """The key files of a dataset that is fetched by hand."""
    for file in MANUAL[name].files:
        text(root / MANUAL[name].folder / file.split(" or ")[-1] / "content")


def test_every_dataset_of_the_papers_has_a_download_and_its_host():
    assert {*DOWNLOADS} == {*reported_sizes(), "cifar100-20"}
    for name, download in DOWNLOADS.items():
        assert bool(download.host) == (name in SOURCES), name
        for file, size in download.archives.items():
            assert size / 1e9 < 1.05 * download.gb, file


@pytest.mark.parametrize("name", [name for name in TREES if name != "pcam"])
def test_a_whole_tree_is_there_and_one_without_a_key_file_is_not(name, tmp_path):
    assert look(name, tmp_path).state == "missing"
    TREES[name](tmp_path)
    assert look(name, tmp_path) == ("there", "")
    source = SOURCES[name]
    gone = tmp_path / source.folder / source.files[-1]
    gone.rename(gone.with_name("elsewhere"))
    state, fault = look(name, tmp_path)
    assert state == ("missing" if source.repaired or len(source.files) == 1 else "incomplete")
    assert str(gone) in fault


@pytest.mark.parametrize("name", MANUAL)
def test_a_manual_download_is_seen_whole_and_half(name, tmp_path):
    assert look(name, tmp_path).state == "missing"
    make_manual(tmp_path, name)
    assert look(name, tmp_path) == ("there", "")
    (tmp_path / MANUAL[name].folder / "images.zip.part").touch()
    state, fault = look(name, tmp_path)
    assert state == "incomplete"
    assert "images.zip.part is an unfinished download" in fault


def test_a_short_archive_is_seen_by_its_size(tmp_path):
    archive = tmp_path / "imagenet" / "ILSVRC2012_img_train.tar"
    archive.parent.mkdir()
    with open(archive, "wb") as file:
        file.truncate(147_897_477_120 - 10**9)  # sparse: it takes no room
    make_manual(tmp_path, "imagenet")
    assert look("imagenet", tmp_path) == ("incomplete", f"{archive} has 146.9 of 147.9 GB")
    with open(archive, "ab") as file:
        file.truncate(147_897_477_120)
    assert look("imagenet", tmp_path).state == "there"


def test_a_download_that_torchvision_repairs_is_not_the_users_to_repair(tmp_path):
    mnist(tmp_path)
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    assert look("mnist", tmp_path).state == "missing"
    (tmp_path / "food-101.tar.gz").write_bytes(b"half")  # its checksum is compared
    state, fault = look("food101", tmp_path)
    assert (state, fault) == ("missing", f"{tmp_path / 'food-101.tar.gz'} has 0.0 of 5.0 GB")


def test_looking_opens_no_file_and_lists_no_class_folder(tmp_path, monkeypatch):
    for name in MANUAL:
        make_manual(tmp_path, name)
    picture(tmp_path / "birdsnap/download/images/Wren/1.jpg", 50)
    monkeypatch.setattr(builtins, "open", lambda *a, **k: pytest.fail("a file was opened"))
    for name in BUILDERS:
        look(name, tmp_path)


def test_digits_and_folders_of_images(tmp_path):
    assert look("digits", tmp_path).state == "there"
    assert look("shapes", tmp_path) == ("missing", f"there is no {tmp_path / 'shapes'}")
    picture(tmp_path / "shapes/1.png", 50)
    assert look("shapes", tmp_path).state == "there"
    assert look("folder:shapes", tmp_path).state == "there"
    assert look("folder:nowhere", tmp_path).state == "missing"


def test_what_stays_on_disk_are_the_archives_and_what_was_in_them():
    assert DOWNLOADS["kitti"].on_disk == 2 * DOWNLOADS["kitti"].gb
    assert DOWNLOADS["stl10"].on_disk == pytest.approx(2.6 + 3.1)
    assert downloads.Download(None).on_disk == 0

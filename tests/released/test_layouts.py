"""The authors' names become the project's; an import writes all of its files or none."""

import csv
from pathlib import Path

import pytest

from hume_turtle.released.layouts import DATASETS, SPACES, new_files, ours, translation
from hume_turtle.storage.names import slug
from tests.helpers.trees import tree

REPORTED = Path(__file__).parents[2] / "data" / "reported"


def test_names_of_datasets_are_those_of_the_reported_numbers():
    with (REPORTED / "dataset_sizes.csv").open() as file:
        names = [row["dataset"] for row in csv.DictReader(file)]
    assert [ours(name) for name in names] == names
    assert set(DATASETS.values()) == {*names, "cifar100-20"}
    assert ours("cifar10020") == "cifar100-20"
    assert ours("imagenet1000") == "imagenet"


def test_names_of_spaces_are_those_of_the_reported_numbers():
    with (REPORTED / "turtle_reported.csv").open() as file:
        reported = {name for row in csv.DictReader(file) for name in row["spaces"].split(" + ")}
    with (REPORTED / "hume_reported.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "HUME"]
    reported |= {row[phi] for row in rows for phi in ("phi1", "phi2")}
    assert {slug(name) for name in reported if name} <= set(SPACES.values())


def test_known_and_renamed_names_are_translated():
    datasets, spaces = ["cifar10020", "CIFAR20", "pets"], ["mocov2", "My Space.v2", "clipvitL14"]
    rename = {"CIFAR20": "cifar100-20", "My Space.v2": "mine", "clipvitL14": "clip"}
    assert translation("a.zip", datasets, spaces, rename) == {
        "cifar10020": "cifar100-20",
        "pets": "pets",
        "mocov2": "moco",
        **rename,
    }


def test_unknown_names_get_one_line_that_says_what_is_there_and_how_to_rename():
    names = ["stl10", "cifar20"], ["dino", "new\nspace"]
    with pytest.raises(ValueError, match=r"unknown names") as found:
        translation("a.zip", *names, {})
    (line,) = str(found.value).splitlines()
    assert "a.zip has unknown names: found datasets 'cifar20', 'stl10'; spaces 'dino', " in line
    assert "--rename 'cifar20'=OURS with a dataset such as aircraft, " in line
    assert "cifar100-20" in line
    assert r"--rename 'new\nspace'=OURS with a space such as bit, clip, " in line
    assert "--rename 'stl10'" not in line
    with pytest.raises(ValueError, match=r"unknown names: .*spaces .*--rename 'new"):
        translation("a.zip", *names, {"cifar20": "cifar100-20"})  # the other is still unknown
    with pytest.raises(ValueError, match=r"has no 'cifar' to rename; found datasets 'cifar20'"):
        translation("a.zip", *names, {"cifar": "cifar100-20"})
    with pytest.raises(ValueError, match=r"part of a path"):
        translation("a.zip", ["x"], [], {"x": "../y"})


def test_a_name_that_is_no_name():
    with pytest.raises(ValueError, match=r"part of a path"):
        ours("..")


PLACES = [Path("a/x.npy"), Path("b/c/y.npy"), Path("z.npy")]


def write(folder: Path, text: str = "new") -> None:
    for place in PLACES:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)


def test_files_appear_in_their_places_and_nothing_else(tmp_path):
    root = tmp_path / "deep" / "root"
    with new_files(root, PLACES) as folder:
        assert folder.is_relative_to(tmp_path)  # the same disk: moves, no copies
        write(folder)
        assert not root.exists()
    assert {k for k, v in tree(root).items() if v == b"new"} == set(map(str, PLACES))
    assert not list(tmp_path.glob(".import*"))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_or_interrupt_leaves_nothing(tmp_path, error):
    (tmp_path / "kept").write_text("old")
    before = tree(tmp_path)

    def interrupted():
        with new_files(tmp_path / "new" / "root", PLACES) as folder:
            write(folder)
            raise error

    with pytest.raises(error):
        interrupted()
    assert tree(tmp_path) == before


def test_what_is_there_is_refused_before_the_block_or_replaced(tmp_path):
    (tmp_path / "z.npy").write_text("old")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=r"z\.npy already exists"), new_files(tmp_path, PLACES):
        pytest.fail("the block ran")
    assert tree(tmp_path) == before
    with new_files(tmp_path, PLACES, overwrite=True) as folder:
        write(folder)
    assert (tmp_path / "z.npy").read_text() == "new"
    assert not list(tmp_path.glob(".import*"))


def test_a_folder_in_the_way_is_never_replaced(tmp_path):
    (tmp_path / "z.npy").mkdir()
    with (
        pytest.raises(ValueError, match=r"already exists"),
        new_files(tmp_path, PLACES, overwrite=True),
    ):
        pytest.fail("the block ran")


def test_two_files_of_one_place_and_too_little_room(tmp_path):
    with pytest.raises(ValueError, match=r"more than one"), new_files(tmp_path, PLACES * 2):
        pytest.fail("the block ran")
    with (
        pytest.raises(ValueError, match=r"free"),
        new_files(tmp_path / "new", PLACES, size=1 << 62),
    ):
        pytest.fail("the block ran")
    assert tree(tmp_path) == {}


def test_what_came_during_the_block_is_kept(tmp_path):
    def overtaken():
        with new_files(tmp_path, PLACES) as folder:
            write(folder)
            (tmp_path / "z.npy").write_text("somebody else's")

    with pytest.raises(ValueError, match=r"already exists"):
        overtaken()
    assert tree(tmp_path) == {"z.npy": b"somebody else's"}

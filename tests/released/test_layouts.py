"""The authors' names become the project's."""

import csv
from pathlib import Path

import pytest

from hume_turtle.released.layouts import DATASETS, SPACES, ours, translation
from hume_turtle.storage.names import slug

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

"""The authors' names become the project's."""

import csv
from pathlib import Path

import pytest

from hume_turtle.released.layouts import SPACES, our_dataset, our_space, unknown_spaces
from hume_turtle.reporting.reported import slug

REPORTED = Path(__file__).parents[2] / "data" / "reported"


def test_names_of_datasets_are_those_of_the_reported_numbers():
    with (REPORTED / "dataset_sizes.csv").open() as file:
        names = [row["dataset"] for row in csv.DictReader(file)]
    assert [our_dataset(name) for name in names] == names
    assert our_dataset("cifar10020") == "cifar100-20"
    assert our_dataset("imagenet1000") == "imagenet"


def test_names_of_spaces_are_those_of_the_reported_numbers():
    with (REPORTED / "turtle_reported.csv").open() as file:
        reported = {name for row in csv.DictReader(file) for name in row["spaces"].split(" + ")}
    with (REPORTED / "hume_reported.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "HUME"]
    reported |= {row[phi] for row in rows for phi in ("phi1", "phi2")}
    assert {slug(name) for name in reported if name} <= set(SPACES.values())


@pytest.mark.parametrize(("name", "ours"), [("My Space.v2", "my-space-v2"), ("dinov2", None)])
def test_an_unknown_space_is_kept_with_a_note(name, ours):
    if ours is None:
        assert unknown_spaces([name]) == []
    else:
        assert our_space(name) == ours
        assert ours in unknown_spaces([name])[0]


def test_a_name_that_is_no_name():
    for convert in (our_dataset, our_space):
        with pytest.raises(ValueError, match=r"part of a path"):
            convert("..")

"""params.yaml: the methods, space combinations and splits that it means."""

from copy import deepcopy
from pathlib import Path

import pytest

from hume_turtle.pipeline.settings import Settings
from tests.pipeline.test_kept import PARAMS


@pytest.fixture
def suite() -> Settings:
    return Settings(Path(), deepcopy(PARAMS))


def test_every_variant_is_a_method_with_what_is_its_own(suite):
    assert list(suite.methods) == [
        "hume-inductive",
        "hume-transductive",
        "turtle-cold",
        "turtle-selected",
    ]
    cold, selected = suite.methods["turtle-cold"], suite.methods["turtle-selected"]
    assert (cold.estimator, cold.split, cold.seeds, cold.grid) == ("turtle", "train", [0, 1], None)
    assert (selected.seeds, selected.grid) == ([0], {"outer_lr": [0.01, 0.1]})
    assert [m.regime for m in suite.methods.values()] == [True, True, False, False]
    assert suite.methods["hume-transductive"].split == "all"
    suite.params["fit"]["turtle"]["variants"]["cold"] = {"settings": {"batch_size": 7}}
    suite.params["fit"]["turtle"]["datasets"] = {"blobs": {"gamma": 3}}
    assert suite.settings("turtle-cold", "blobs") == {
        "outer_steps": 15,
        "batch_size": 7,
        "gamma": 3,
    }
    assert suite.settings("turtle-selected", "other") == {"outer_steps": 15, "batch_size": 40}


def test_a_method_without_variants_has_its_own_name(suite):
    del suite.params["fit"]["turtle"]["variants"]
    assert suite.methods["turtle"].settings == {"outer_steps": 15, "batch_size": 40}


def test_a_dataset_has_the_spaces_that_are_listed_for_it(suite):
    suite.params["datasets"].append("faces")
    suite.params["classes"]["faces"] = 2
    suite.params["embed"]["datasets"] = {"faces": ["two"]}
    suite.check()
    assert suite.spaces_of("blobs") == ["one", "two"]
    assert suite.spaces_of("faces") == ["two"]
    assert suite.method_choices("hume-inductive", "blobs") == [("one", "two")]
    assert suite.method_choices("hume-inductive", "faces") == []
    assert suite.method_choices("turtle-cold", "faces") == []
    assert suite.choices({}, "faces") == [("two",)]
    assert suite.choices({}, "blobs") == [("one",), ("two",), ("one", "two")]
    assert suite.choices({"choices": []}, "blobs") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["embed"].update(datasets={"blobs": ["three"]}), "unknown three"),
        (lambda p: p["fit"]["turtle"]["variants"].update(hot={"gama": 1}), "unknown gama"),
        (lambda p: p["fit"]["hume"]["variants"].update(x={"split": "val"}), "unknown split 'val'"),
        (lambda p: p["embed"].update(splits=["test"]), "unknown split 'train'"),
        (lambda p: p.update(resumes=True), "unknown resumes"),
    ],
)
def test_what_would_be_ignored_or_fail_late_is_refused(suite, change, message):
    change(suite.params)
    with pytest.raises(ValueError, match=message):
        suite.check()

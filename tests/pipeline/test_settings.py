"""params.yaml: the methods, space combinations and splits that it means."""

from copy import deepcopy
from pathlib import Path

import pytest

from hume_turtle.estimators.turtle import Turtle
from hume_turtle.pipeline.embed import options_of, prompts
from hume_turtle.pipeline.settings import Settings
from tests.pipeline.test_kept import PARAMS

ROOT = Path(__file__).parents[2]


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


@pytest.mark.parametrize("name", ["turtle", "hume"])
def test_the_papers_suites_have_the_published_baselines_and_scale(name):
    suite = Settings.open(ROOT / "suites" / name)
    section = suite.params["baselines"]
    assert [section[key] for key in ("seeds", "n_init", "max_iter")] == [[42], 10, 1000]
    assert section["probe"] == "published"
    assert suite.params["embed"]["scale"] == "none"


def test_turtles_suite_is_as_published():
    suite = Settings.open(ROOT / "suites" / "turtle")
    methods = suite.methods
    assert suite.settings("turtle-cold", "pets") == {}
    assert suite.settings("turtle-warm", "pets") == {"warm_start": True}
    chosen = ["inner_lr", "outer_lr", "warm_start"]
    assert sorted(methods["turtle-selected"].grid) == chosen
    for name in chosen:  # so that the selected fit can be the default's
        assert getattr(Turtle(2), name) in methods["turtle-selected"].grid[name]
    assert {method.split for method in methods.values()} == {"train"}
    precision = {space: options_of(suite, space)["precision"] for space in suite.space_names}
    assert {space for space in precision if precision[space] == "fp32"} == {"dinov2-vit-g-14"}
    assert prompts(suite) == "turtle"


def test_humes_suite_is_as_published():
    suite = Settings.open(ROOT / "suites" / "hume")
    regimes = {key: m.split for key, m in suite.methods.items() if m.estimator == "hume"}
    assert regimes == {"hume-inductive": "train", "hume-transductive": "all"}
    for key in regimes:
        assert suite.settings(key, "stl10") == {"n_runs": 100}
        assert suite.settings(key, "imagenet")["n_runs"] == 1
        assert suite.method_choices(key, "imagenet") == [("moco", "dino")]
        assert len(suite.method_choices(key, "stl10")) == 3

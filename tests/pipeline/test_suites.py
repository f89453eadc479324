"""The papers' suites: their settings fit together, and the pipeline runs on a stand-in for them."""

import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from sklearn.model_selection import ParameterGrid

from hume_turtle.datasets.registry import BUILDERS, reported_sizes
from hume_turtle.encoders.registry import encoder_names
from hume_turtle.pipeline.fit import ESTIMATORS
from hume_turtle.pipeline.suite import Suite
from hume_turtle.reporting.scoreboard import published_name, reported
from tests.helpers import suites
from tests.helpers.suites import ROOT, SHAPES, STAND_INS, commit, killed, repro, run

SUITES = sorted(path.parent for path in ROOT.glob("suites/*/params.yaml"))


@pytest.fixture(params=SUITES, ids=lambda folder: folder.name)
def suite(request) -> Suite:
    return Suite.open(request.param)


def test_all_suites_have_the_same_stages():
    assert [folder.name for folder in SUITES] == ["hume", "laptop", "turtle"]
    for folder in SUITES:
        assert (folder / "dvc.yaml").read_bytes() == (ROOT / "dvc.yaml").read_bytes()


def test_every_name_in_a_suite_is_known(suite):
    suite.check()
    assert suite.name == suite.folder.name
    assert suite.root.resolve() == ROOT
    assert set(suite.datasets) <= set(BUILDERS)
    assert set(suite.params["classes"]) == set(suite.datasets)
    for dataset, classes in suite.params["classes"].items():
        assert classes == reported_sizes().get(dataset, {"classes": 20})["classes"]
    encoders = suite.params["embed"].get("encoders", {})
    assert {encoders.get(space, space) for space in suite.space_names} <= set(encoder_names())
    for key, method in suite.methods.items():
        for dataset in suite.datasets:  # unknown settings are a TypeError
            settings = suite.settings(key, dataset)
            model = ESTIMATORS[method.estimator](suite.params["classes"][dataset], **settings)
            model._check_settings()
            for each in ParameterGrid(method.grid or {}):
                model.set_params(**each)._check_settings()
    section = suite.params["fit"]
    listed = [*section["turtle"]["choices"], *suite.params["baselines"]["choices"]]
    listed += [[section["hume"]["phi1"], phi2] for phi2 in section["hume"]["phi2"]]
    assert {name for names in listed for name in names} <= set(suite.space_names)
    for notebook in suite.params["notebooks"]:
        assert (ROOT / "notebooks" / f"{notebook}.ipynb").exists()


@pytest.mark.parametrize("name", ["hume", "turtle"])
def test_a_suite_fits_every_number_that_its_method_is_reported_with(name):
    suite = Suite.open(ROOT / "suites" / name)
    for _, row in reported(ROOT / "data" / "reported").iterrows():
        method, spaces, dataset, _ = published_name(row)
        if method == name:
            for key in suite.methods:
                if key.startswith(name):
                    assert tuple(spaces.split("+")) in suite.method_choices(key, dataset)


class Finished(NamedTuple):
    """A stand-in whose suite has run to its end, once for all tests.

    Attributes:
        folder: the checkout.
        suite: as notebooks see it.
        results: what was made, by name.
    """

    folder: Path
    suite: Suite
    results: dict[str, bytes]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Callable[[str], Finished]:
    """`finished(name)`: one of `STAND_INS`, run without interruption."""

    @cache
    def make(name: str) -> Finished:
        folder = STAND_INS[name](tmp_path_factory.mktemp(name) / "checkout")
        commit(folder, "stand-in")
        suite = suite_of(name)
        repro(folder, suite)
        opened = Suite.open(folder / "suites" / suite)
        return Finished(folder, opened, suites.results(folder, suite))

    return make


def suite_of(stand_in: str) -> str:
    return "hume" if stand_in == "released" else stand_in


UP_TO_DATE = "Data and pipelines are up to date"


def check_finished(folder: Path, suite: Suite) -> None:
    """Every artefact is there, git sees nothing but results, and nothing is left to do."""
    figures = folder / "figures" / suite.name
    assert {path.stem for path in figures.iterdir()} == set(suite.params["artefacts"])
    made = run(folder, "git", "status", "--porcelain").split()[1::2]
    expected = {"data/metrics/", "data/scores/", "figures/", "notebooks/executed/"}
    assert {*made} == {*expected, f"suites/{suite.name}/dvc.lock"}
    assert UP_TO_DATE in repro(folder, suite.name)


def splits_of(scores: pd.DataFrame) -> dict[str, set[str]]:
    """Methods and the splits that they are scored on."""
    return scores.groupby("method")["split"].agg(set).to_dict()


def run_after(folder: Path, module: str, line: str) -> set[str]:
    """The stages of the TURTLE suite that run after a line was added to a module."""
    with open(folder / "hume_turtle" / module, "a") as file:
        file.write(f"\n{line}\n")
    shown = repro(folder, "turtle")
    return set(re.findall(r"Running stage 'suites/turtle/dvc.yaml:(\S+)'", shown))


@pytest.mark.slow
def test_the_turtle_suite_runs_on_a_stand_in_and_survives_a_remote(finished, tmp_path):
    """`dvc repro`, again, push to a local remote, clone, pull: nothing is left to do."""
    folder, suite, _ = finished("turtle")
    check_finished(folder, suite)
    scores = suite.scores()
    variants = {"turtle-cold", "turtle-warm", "turtle-selected"}
    methods = {*variants, "k-means", "linear-probe", "zero-shot"}
    assert splits_of(scores) == {key: {"train", "test"} for key in methods}
    assert set(scores["dataset"]) == set(SHAPES)
    figures = folder / "figures/turtle"
    board = pd.read_csv(figures / "scoreboard.csv")
    assert set(board["status"]) == {"not run"}  # no reported number is about these datasets
    assert suite.class_names("sizes") == ["large", "small"]
    sidecar = suite.data / "embeddings/shapes/clip-vit-l-14/train.json"
    assert json.loads(sidecar.read_text())["settings"]["weights"] == "random"
    chosen = suite.data / "fits/shapes/turtle-selected/clip-vit-l-14"
    assert len(pd.read_csv(chosen / "0.csv")) == 4  # the grid
    assert set(json.loads((chosen / "made.json").read_text())) == {"date", "hardware"}

    assert run_after(folder, "core/turtle_solver.py", "# A comment.") == {"code"}
    changed = run_after(folder, "reporting/style.py", "DPI_OF_NOTHING = 1")
    assert changed == {"code", "notebooks"}  # with the same figures: no report
    run(folder, "dvc", "remote", "add", "-d", "store", str(tmp_path / "remote"))
    commit(folder, "results")
    run(folder, "dvc", "push", "suites/turtle/dvc.yaml")
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "-q", str(folder), str(clone))
    shutil.copytree(folder / "data/images", clone / "data/images")  # not an output: users fetch it
    run(clone, "dvc", "pull", "suites/turtle/dvc.yaml")
    assert UP_TO_DATE in repro(clone, "turtle")


BASELINES = {"k-means": {"train", "test"}, "linear-probe": {"train", "test"}}
REGIMES = {
    "hume-inductive": {"train", "test"},
    "hume-inductive-rematched": {"train", "test"},
    "hume-transductive": {"train", "test", "all"},
    "hume-transductive-rematched": {"train", "test", "all"},
}


@pytest.mark.slow
def test_the_hume_suite_runs_from_released_embeddings_without_images(finished):
    folder, suite, _ = finished("released")
    check_finished(folder, suite)
    assert not (folder / "data/images").exists()
    board = pd.read_csv(folder / "figures/hume/scoreboard.csv")
    assert {*board.loc[board["status"] != "not run", "dataset"]} == {*suite.datasets}
    scores = suite.scores()
    for dataset in ("stl10", "cifar10", "cifar100-20"):
        own = scores[scores["dataset"] == dataset]
        assert splits_of(own) == REGIMES | BASELINES
        assert {*own.loc[own["method"] == "hume-inductive", "spaces"]} == {
            "moco+bit",
            "moco+clip",
            "moco+dino",
        }
    imagenet = scores[scores["dataset"] == "imagenet"]  # one run, and labels of the test split
    expected = ("hume-inductive", "hume-transductive", "k-means")
    assert splits_of(imagenet) == {key: {"test"} for key in expected}
    assert {*imagenet["spaces"]} == {"moco", "dino", "moco+dino"}
    assert scores.query("method == 'hume-inductive' and dataset == 'stl10'")["value"].mean() > 0.8


@pytest.mark.slow
def test_the_hume_suite_runs_from_images_and_trains_moco(finished):
    folder, suite, _ = finished("hume")
    check_finished(folder, suite)
    networks = suite.data / "networks"
    assert [path.name for path in networks.glob("*.pt")] == ["moco-shapes.pt"]
    scores = suite.scores()
    assert splits_of(scores[scores["dataset"] == "shapes"]) == REGIMES | BASELINES
    imagenet = scores[scores["dataset"] == "imagenet"]
    assert {*imagenet["spaces"]} == {"moco", "dino", "moco+dino"}
    moco = json.loads((suite.data / "embeddings/imagenet/moco/test.json").read_text())
    assert moco["settings"]["source"].endswith("mocov2/imagenet1000test.npy")


@pytest.mark.slow
def test_the_laptop_suite_runs_on_small_trees_in_the_true_layout(finished):
    folder, suite, _ = finished("laptop")
    check_finished(folder, suite)
    methods = ("turtle-warm", "turtle-fast", "k-means", "zero-shot")
    assert splits_of(suite.scores()) == {key: {"test"} for key in methods}
    assert {*suite.scores()["dataset"]} == {*suites.LAPTOP}
    assert not [*suite.data.rglob("train.npy")]
    zero_shot = suite.scores().query("method == 'zero-shot'")
    assert {*zero_shot["spaces"]} == {"clip-vit-b-32"}


BLOCK = "embeddings/*/*/*.blocks/*.npz"  # of a file of embeddings
FIT = "fits/*/*/*/[0-9]*.json"
RUNS = "fits/*/*/*/runs/*/*.json"  # some of the runs of a fit
BASELINE = "parts/baselines/*/*.json"
MOMENTS = {
    "turtle": [BLOCK, FIT, BASELINE],
    "hume": ["networks/*.pt", BLOCK, RUNS, BASELINE],
    "released": [RUNS, FIT, BASELINE],
    "laptop": [BLOCK, FIT, "notebooks/*"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MOMENTS)
def test_a_killed_suite_goes_on_and_ends_with_the_same_files(finished, tmp_path, name):
    """SIGKILL to `dvc repro` and all its processes; nothing but `dvc repro` follows."""
    whole = finished(name)
    folder = STAND_INS[name](tmp_path / "checkout")
    commit(folder, "stand-in")
    suite, done = Suite.open(folder / "suites" / suite_of(name)), {}
    for moment in [*MOMENTS[name], None]:
        killed(folder, suite.name, moment) if moment else repro(folder, suite.name)
        now = suites.finished_fits(suite)
        assert done.items() <= now.items()  # by their times: none was made again
        done = now
    made = suites.results(folder, suite.name)
    assert made.keys() == whole.results.keys()
    assert not [file for file in made if made[file] != whole.results[file]]

"""Every stage and every notebook of the default suite, at a tiny size."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from hume_turtle.estimators.scores import generalization_score
from hume_turtle.estimators.turtle import Turtle
from hume_turtle.evaluation.metrics import cluster_accuracy
from hume_turtle.pipeline import select
from hume_turtle.pipeline.suite import Suite
from hume_turtle.reporting.publish import publish
from tests.helpers.notebooks import run_cells_in_process

ROOT = Path(__file__).parents[2]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


def tiny_params() -> dict:
    """The default suite's settings, with next to no training."""
    params = {**PARAMS}
    params["pretrain"] = {"seed": 0, "letters": {"steps": 2}, "moco": {"steps": 2}}
    params["fit"] = {
        "split": "all",
        "seeds": [0, 1],
        "turtle": {"settings": {"warm_start": True, "outer_steps": 20}},
        "hume": {
            "phi1": "moco",
            "phi2": ["letters"],
            "settings": {"outer_steps": 3, "inner_steps": 3, "inner_lr": 0.01, "subset_size": 100},
        },
    }
    params["selection"] = {
        "datasets": ["digits"],
        "spaces": [["letters"], ["moco", "letters"]],
        "grid": {"warm_start": [True, False], "outer_lr": [0.01]},
    }
    return {**params, "baselines": {"seeds": [0]}}


def stage(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "hume_turtle.cli", "stage", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=folder, env=environment, check=True)


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> Suite:
    """A suite in a folder of its own, up to the scores."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "params.yaml").write_text(yaml.safe_dump(tiny_params()))
    shutil.copytree(ROOT / "data" / "reported", folder / "data" / "reported")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    stage(folder, "pretrain")
    for name in ("embed", "fit", "baselines"):
        for dataset in PARAMS["datasets"]:
            stage(folder, name, dataset)
    stage(folder, "select")
    return Suite.open(folder)


def test_stages_make_embeddings_fits_and_scores(suite):
    for space in ("pixels", "moco", "letters"):
        (train,) = suite.spaces("digits", space, "train")
        (test,) = suite.spaces("digits", space, "test")
        assert (len(train), len(test)) == (1198, 599)
        assert np.sqrt(np.square(train).mean()) == pytest.approx(1, abs=1e-5)
    turtle, hume = suite.fits("digits", "turtle"), suite.fits("digits", "hume")
    assert sorted(turtle) == sorted("+".join(names) for names in suite.choices({}, "digits"))
    assert [fit.seed for fit in turtle["letters"]] == [0, 1]
    assert list(hume) == ["moco+letters"]
    assert len(turtle["letters"][0].labels_) == 1797  # transductive

    scores = suite.scores()
    assert set(scores["method"]) == {"turtle", "hume", "k-means", "linear-probe"}
    assert set(scores["split"]) == {"train", "test"}
    assert scores["value"].between(-1, 1).all()
    assert not scores.duplicated(subset=scores.columns[:-1].tolist()).any()
    probe = scores[(scores["method"] == "linear-probe") & (scores["metric"] == "cluster_accuracy")]
    probe = probe.set_index(["dataset", "spaces", "split"])["value"]
    assert probe["digits", "pixels", "test"] > 0.9


def test_selection_scores_every_setting_of_the_grid(suite):
    table, labelings = suite.selection("digits")
    assert table["spaces"].tolist() == ["letters"] * 2 + ["moco+letters"] * 2
    assert table["warm_start"].tolist() == [True, False] * 2
    assert set(table["dataset"]) == {"digits"}
    assert labelings.shape == (4, 1797)
    for (_, row), labels in zip(table.iterrows(), labelings):
        spaces = suite.spaces("digits", row["spaces"], "all")
        assert row["generalization_score"] == generalization_score(spaces, labels)
        settings = {**suite.params["fit"]["turtle"]["settings"], "outer_lr": row["outer_lr"]}
        fit = Turtle(10, **{**settings, "warm_start": row["warm_start"]}).fit(spaces)
        assert row["loss"] == pytest.approx(fit.history_["loss"][-1], rel=1e-4)
        assert cluster_accuracy(labels, fit.labels_) > 0.99


def test_a_suite_without_a_selection_has_an_empty_folder(suite, tmp_path):
    params = {**suite.params, "root": ".", "selection": {**suite.params["selection"]}}
    params["selection"]["datasets"] = []
    select.run(Suite(tmp_path, params))
    assert list((tmp_path / "data" / "digits" / "selection").iterdir()) == []


def test_no_true_label_reaches_a_fit(suite, tmp_path):
    """Without the labels' files the stages fit and select give the same bytes."""
    folder = tmp_path / "unlabelled"
    shutil.copytree(suite.folder, folder)
    shutil.rmtree(folder / "data" / "digits" / "labels")
    shutil.rmtree(folder / "data" / "digits" / "fits")
    shutil.rmtree(folder / "data" / "digits" / "selection")
    stage(folder, "select")
    for dataset in PARAMS["datasets"]:
        stage(folder, "fit", dataset)
    made = sorted((suite.data / "fits").rglob("*.npz"))
    assert len(made) == 2 * 7 * 3  # seeds, space combinations, datasets
    for path in [*made, *(suite.data / "selection").iterdir()]:
        again = folder / "data" / "digits" / path.relative_to(suite.data)
        assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", PARAMS["notebooks"])
def test_source_notebook_holds_no_outputs(name):
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


def test_notebooks_run_and_report_publishes_every_artefact(suite):
    for name in PARAMS["notebooks"]:
        run = suite.data / "notebooks" / name
        run.mkdir(parents=True)
        parameters = {"suite_folder": str(suite.folder), "output": str(run), "quick": True}
        run_cells_in_process(ROOT / "notebooks" / f"{name}.ipynb", parameters)
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", run)
    stage(suite.folder, "report")
    published = {path.stem for path in (suite.folder / "figures" / "digits").iterdir()}
    assert published == set(PARAMS["artefacts"])
    scores = pd.read_csv(suite.root / "data" / "scores" / "digits.csv")
    pd.testing.assert_frame_equal(scores, suite.scores())
    metrics = json.loads((suite.root / "data" / "metrics" / "digits.json").read_text())
    of_test = scores.query("split == 'test' and metric == 'cluster_accuracy'")
    rows = of_test.query("dataset == 'digits' and method == 'turtle' and spaces == 'moco+letters'")
    assert metrics["digits"]["turtle"]["moco+letters"] == round(100 * rows["value"].mean(), 2)
    with pytest.raises(ValueError, match="clusters"):
        publish(
            suite.data / "notebooks",
            PARAMS["notebooks"],
            [name for name in PARAMS["artefacts"] if name != "clusters"],
            suite.folder / "figures" / "digits",
            suite.folder / "executed",
        )


def test_stages_that_fit_do_not_depend_on_labels():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert not any("labels" in dep for name in ("fit", "select") for dep in stages[name]["deps"])

"""Suites that resume: what is finished is kept while its inputs are the same, and only then."""

import json
import shutil
from collections import Counter
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest

from hume_turtle.estimators.hume import Hume
from hume_turtle.estimators.turtle import Turtle
from hume_turtle.pipeline import baselines, fit, select, settings
from hume_turtle.pipeline.settings import Settings
from hume_turtle.storage.embeddings import save_embedding, save_labels

PARAMS = {
    "suite": "small",
    "root": ".",
    "threads": 1,
    "resume": True,
    "datasets": ["blobs"],
    "notebooks": [],
    "artefacts": [],
    "pretrain": {},
    "embed": {"spaces": ["one", "two"], "scale": "none"},
    "classes": {"blobs": 3},
    "fit": {
        "split": "train",
        "seeds": [0, 1],
        "record": True,
        "turtle": {
            "choices": [["one"], ["one", "two"]],
            "settings": {"outer_steps": 15, "batch_size": 40},
            "variants": {
                "cold": {},
                "selected": {"seeds": [0], "grid": {"outer_lr": [0.01, 0.1]}},
            },
        },
        "hume": {
            "phi1": "one",
            "phi2": ["two"],
            "settings": {"n_runs": 3, "outer_steps": 4, "inner_steps": 3, "n_subsets": 1},
            "runs_at_once": 2,
            "variants": {
                "inductive": {"split": "train", "seeds": [0, 3]},
                "transductive": {"split": "all", "seeds": [3]},
            },
        },
    },
    "selection": {
        "datasets": ["blobs"],
        "spaces": [["one"]],
        "grid": {"warm_start": [True, False], "outer_lr": [0.01, 0.003]},
    },
    "baselines": {"seeds": [0], "n_init": 1, "choices": [["one"], ["two"]]},
}


class Space:
    """What `save_embedding` needs to know of an encoder."""

    def __init__(self, name: str, **settings):
        self.name, self.settings = name, settings


def draw(n: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Rows of three blobs in two spaces, (n, 8) and (n, 6), and their classes (n,)."""
    centres = np.random.default_rng(0).normal(size=(3, 14))
    rng, labels = np.random.default_rng(seed), np.arange(n) % 3
    rows = (centres[labels] + 0.5 * rng.normal(size=(n, 14))).astype(np.float32)
    return [rows[:, :8], rows[:, 8:]], labels


@pytest.fixture
def suite(tmp_path, monkeypatch) -> Settings:
    """Three blobs in two spaces, and code digests as the stage `code` writes them."""
    monkeypatch.setattr(settings, "LARGE", 0)  # jobs run in this process
    suite = Settings(tmp_path, deepcopy(PARAMS))
    suite.check()
    for split, n in (("train", 60), ("test", 30)):
        spaces, labels = draw(n, seed=n)
        for name, rows in zip(("one", "two"), spaces):
            save_embedding(suite.data / "embeddings", "blobs", split, rows, Space(name))
        save_labels(suite.data / "labels", "blobs", split, labels)
    (suite.data / "code").mkdir()
    for stage in ("fit", "select", "baselines"):
        (suite.data / "code" / stage).write_text("as it is")
    return suite


@pytest.fixture
def fitted(monkeypatch) -> Counter:
    """How often each estimator was fitted, runs counted: "Turtle", "Hume"."""
    counts = Counter()
    for kind in (Turtle, Hume):
        before = kind.fit_many

        def counted(self, spaces, settings, before=before, **options):
            counts[type(self).__name__] += len(settings) * getattr(self, "n_runs", 1)
            return before(self, spaces, settings, **options)

        monkeypatch.setattr(kind, "fit_many", counted)
    return counts


def files(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_finished_stage_has_nothing_to_do(suite, fitted):
    fit.run(suite, "blobs")
    assert fitted == {"Turtle": 2 * 2 + 2 * 2, "Hume": 3 * 3}  # the grid; both regimes
    made = files(suite.data)
    assert not list(suite.data.rglob("runs/*/*"))  # the blocks of runs are joined
    fitted.clear()
    fit.run(suite, "blobs")
    assert not fitted
    assert files(suite.data) == made


@pytest.mark.parametrize("kills", [1, 3, 6])
def test_a_killed_stage_goes_on_with_the_next_fit_and_ends_with_the_same_files(
    suite, fitted, monkeypatch, tmp_path_factory, kills
):
    whole = Settings(tmp_path_factory.mktemp("whole"), suite.params)
    shutil.copytree(suite.data, whole.data)
    fit.run(whole, "blobs")
    fitted.clear()
    for kind in (Turtle, Hume):
        save, saved = kind.save, []

        def killed(self, path, save=save, saved=saved):
            save(self, path)
            saved.append(path)
            if len(saved) == kills:
                raise KeyboardInterrupt

        monkeypatch.setattr(kind, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        fit.run(suite, "blobs")
    monkeypatch.undo()
    done = list(suite.data.rglob("fits/**/*.npz"))
    before = {path: path.stat().st_mtime_ns for path in done}
    fit.run(suite, "blobs")
    assert files(suite.data) == files(whole.data)
    kept = [path for path in done if path.exists() and path.stat().st_mtime_ns == before[path]]
    assert len(kept) >= kills - 1 - 5  # but the one that was killed, and blocks since joined


def test_a_kill_right_after_a_fit_leaves_nothing_behind_and_nothing_out(
    suite, fitted, monkeypatch, tmp_path_factory
):
    whole = Settings(tmp_path_factory.mktemp("whole"), suite.params)
    shutil.copytree(suite.data, whole.data)
    fit.run(whole, "blobs")
    finish = fit.kept

    @contextmanager
    def killed(path, inputs):
        with finish(path, inputs):
            yield path
        if path.stem == "1":  # the second of two seeds
            raise KeyboardInterrupt

    monkeypatch.setattr(fit, "kept", killed)
    with pytest.raises(KeyboardInterrupt):
        fit.run(suite, "blobs")  # after HUME's first fits, whose runs lie beside them
    monkeypatch.setattr(fit, "kept", finish)
    fit.run(suite, "blobs")
    assert files(suite.data) == files(whole.data)


def test_a_fit_is_made_anew_where_its_inputs_changed(suite, fitted):
    fit.run(suite, "blobs")
    fitted.clear()
    suite.params["fit"]["hume"]["settings"]["gamma"] = 5.0
    fit.run(suite, "blobs")
    assert fitted == {"Hume": 9}
    fitted.clear()
    (_, rows), _ = draw(60, seed=2)
    save_embedding(suite.data / "embeddings", "blobs", "train", rows, Space("two"))
    fit.run(suite, "blobs")
    assert fitted == {"Turtle": 2 + 2, "Hume": 9}  # not those in space one alone
    fitted.clear()
    (suite.data / "code" / "fit").write_text("changed")
    fit.run(suite, "blobs")
    assert fitted == {"Turtle": 8, "Hume": 9}


def test_fits_that_the_suite_no_longer_has_stay_and_are_not_read(suite):
    fit.run(suite, "blobs")
    suite.params["fit"]["turtle"]["choices"] = [["one"]]
    suite.params["fit"]["seeds"] = [1]
    assert list(fit.load_fits(suite, "blobs", "turtle-cold")) == ["one"]
    assert [each.seed for each in fit.load_fits(suite, "blobs", "turtle-cold")["one"]] == [1]
    fit.run(suite, "blobs")
    assert suite.fit_path("blobs", "turtle-cold", ("one", "two"), 0).exists()


def test_without_resume_a_stage_computes_anew_and_keeps_no_records(suite, fitted):
    suite.params["resume"] = False
    fit.run(suite, "blobs")
    fitted.clear()
    fit.run(suite, "blobs")
    assert fitted["Turtle"] == 8
    assert {path.name for path in suite.data.rglob("fits/**/*.json")} == {"made.json"}


def test_the_chosen_fit_of_a_grid_has_the_best_score_of_its_table(suite):
    fit.run(suite, "blobs")
    path = suite.fit_path("blobs", "turtle-selected", ("one", "two"), 0)
    table, chosen = pd.read_csv(path.with_suffix(".csv")), Turtle.load(path)
    assert chosen.outer_lr == table.loc[table["score"].idxmax(), "outer_lr"]
    assert len(table) == 2


def test_selection_and_baselines_keep_their_parts(suite, fitted, monkeypatch):
    fit.run(suite, "blobs")
    select.run(suite)
    baselines.run(suite, "blobs")
    made = files(suite.data)
    fitted.clear()
    monkeypatch.setattr(baselines.KMeansBaseline, "fit", None)  # would be an error
    select.run(suite)
    baselines.run(suite, "blobs")
    assert not fitted
    assert files(suite.data) == made
    suite.params["selection"]["grid"]["warm_start"] = [True]
    select.run(suite)
    assert not fitted  # the part is kept, the table shorter
    assert len(pd.read_csv(suite.data / "selection" / "blobs.csv")) == 2
    save_labels(suite.data / "labels", "blobs", "test", np.arange(30) % 2)
    with pytest.raises(TypeError):
        baselines.run(suite, "blobs")


def test_scores_of_whichever_split_has_labels(suite):
    fit.run(suite, "blobs")
    baselines.run(suite, "blobs")
    whole = pd.read_csv(suite.data / "scores" / "blobs.csv")
    by_method = whole.groupby("method")["split"].unique().map(set)
    assert by_method["hume-transductive"] == {"train", "test", "all"}
    assert by_method["hume-transductive-rematched"] == {"train", "test", "all"}
    assert by_method["turtle-cold"] == by_method["linear-probe"] == {"train", "test"}
    (suite.data / "labels" / "blobs" / "train.npy").unlink()
    baselines.run(suite, "blobs")
    scores = pd.read_csv(suite.data / "scores" / "blobs.csv")
    assert set(scores["split"]) == {"test"}
    assert {*by_method.index} - {*scores["method"]} == {"linear-probe"}
    same = scores.merge(whole, on=[*scores.columns])
    assert len(same) == len(scores)


def test_date_and_hardware_are_recorded_beside_fits(suite):
    fit.run(suite, "blobs")
    (path, *_) = suite.data.glob("fits/blobs/turtle-cold/one/made.json")
    assert set(json.loads(path.read_text())) == {"date", "hardware"}


def test_fits_that_would_share_runs_are_refused(suite):
    suite.params["fit"]["hume"]["variants"]["inductive"]["seeds"] = [2, 0]
    with pytest.raises(ValueError, match=r"hume-inductive: seeds \[2, 0\] of 3 runs each"):
        fit.run(suite, "blobs")
    assert not (suite.data / "fits").exists()

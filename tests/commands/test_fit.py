"""`fit`: labels, models and a table of results from files; bad input ends with one line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hume_turtle import Hume, Turtle
from hume_turtle.cli import main
from hume_turtle.commands.fit import settings_of, value
from hume_turtle.evaluation.metrics import cluster_accuracy
from hume_turtle.pipeline.fit import ESTIMATORS

TURTLE = "fit turtle a.npy b.npy --classes 3 --save out"
QUICK = " --outer-steps 60 --inner-steps 2 --outer-lr 0.03 --device cpu"
HUME = "fit hume a.npy b.npy --classes 3 --save out --outer-steps 20 --inner-steps 5 --n-subsets 2"


def run(command: str) -> pd.DataFrame:
    assert main(command.split()) == 0
    return pd.read_csv("out/results.csv", keep_default_na=False, na_values={"score": ""})


def test_turtle_writes_what_python_finds(files, capsys):
    results = run(f"{TURTLE} {QUICK} --warm-start --seeds 0 3")
    settings = {"outer_steps": 60, "inner_steps": 2, "outer_lr": 0.03, "warm_start": True}
    models = Turtle(3, device="cpu", **settings).fit_many(files[:2], [{"seed": 0}, {"seed": 3}])
    lines = capsys.readouterr().out.splitlines()
    for model, row, line in zip(models, results.itertuples(), lines, strict=True):
        labels = np.load(f"out/labels-{model.seed}.npy")
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, model.labels_)
        np.testing.assert_array_equal(Turtle.load(f"out/model-{model.seed}.npz").heads_[1],
                                      model.heads_[1])  # fmt: skip
        counts = " ".join(map(str, np.bincount(labels, minlength=3)))
        assert (
            line == f"out/labels-{model.seed}.npy: 60 rows labelled; rows of each class: {counts}"
        )
        assert (row.method, row.seed, row.outer_lr, row.warm_start) == (
            "turtle", model.seed, 0.03, True)  # fmt: skip
        assert (row.precision, row.device, row.factors) == ("fp32", "cpu", "1.0 1.0")
        assert (row.spaces, row.labels) == ("a.npy b.npy", f"labels-{model.seed}.npy")
        assert row.objective == pytest.approx(model.history_["loss"][-1])
        assert np.isnan(row.score)
        assert row.seconds > 0
    assert {path.name for path in Path("out").iterdir()} == {
        *("labels-0.npy", "labels-3.npy", "model-0.npz", "model-3.npz", "results.csv")
    }


def test_a_grid_keeps_the_best_fit_of_each_seed(files, capsys):
    results = run(f"{TURTLE} {QUICK} --seeds 1 2 --select inner-lr=1e-3,0.1 "
                  "--select warm_start=true,false")  # fmt: skip
    assert len(results) == 8
    lines = capsys.readouterr().out.splitlines()
    for seed, line in zip((1, 2), lines, strict=True):
        mine = results[results["seed"] == seed]
        assert len(mine[["inner_lr", "warm_start"]].drop_duplicates()) == 4
        (best,) = mine[mine["labels"] != ""].itertuples()
        assert best.score == mine["score"].max()
        kept = Turtle.load(f"out/{best.model}")
        assert (kept.inner_lr, kept.warm_start) == (best.inner_lr, best.warm_start)
        chosen = f"inner_lr={best.inner_lr}, warm_start={best.warm_start}"
        assert line.endswith(f"; score {best.score:.4f} with {chosen}")


def test_humes_runs_vote(files):
    results = run(f"{HUME} --n-runs 3 --device cpu")
    settings = {"outer_steps": 20, "inner_steps": 5, "n_subsets": 2, "n_runs": 3}
    model = Hume(3, device="cpu", **settings).fit(files[:2])
    np.testing.assert_array_equal(np.load("out/labels-0.npy"), model.labels_)
    assert Hume.load("out/model-0.npz").n_runs == 3
    assert list(results["n_runs"]) == [3]


def test_humes_grid_is_scored_in_phi2(files):
    from hume_turtle.estimators.scores import cross_validation_score

    results = run(f"{HUME} --select gamma=1,10")
    assert list(results["gamma"]) == [1, 10]
    labels = np.load("out/labels-0.npy")
    assert results["score"].max() == cross_validation_score(files[1], labels)


def test_a_scaled_fit_is_saved_for_the_rows_as_they_are(files):
    a, b, _ = files
    np.save("b.npy", 1000 * b)
    results = run(f"{TURTLE} {QUICK} --scale unit-rms")
    expected = [float(1 / np.sqrt(np.mean(np.square(z, dtype=float)))) for z in (a, 1000 * b)]
    factors = [float(each) for each in results["factors"][0].split()]
    assert factors == pytest.approx(expected)
    labels, model = np.load("out/labels-0.npy"), Turtle.load("out/model-0.npz")
    np.testing.assert_array_equal(model.predict([a, 1000 * b]), labels)
    scaled = [z * np.float32(factor) for z, factor in zip((a, 1000 * b), factors)]
    settings = {"outer_steps": 60, "inner_steps": 2, "outer_lr": 0.03, "device": "cpu"}
    np.testing.assert_array_equal(Turtle(3, **settings).fit(scaled).labels_, labels)


def test_the_fast_recipe_labels_one_space(files):
    run("fit turtle a.npy --classes 3 --save out --recipe fast")
    assert cluster_accuracy(files[2], np.load("out/labels-0.npy")) == 1


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (f"{TURTLE} --select lr=1,2", "--select: unknown 'lr'; known are gamma, "),
        (f"{TURTLE} --select seed=1,2", "--select: unknown 'seed'"),
        (f"{TURTLE} --select gamma=", "--select 'gamma=' must be NAME=V1,V2,..."),
        (f"{TURTLE} --select gamma=1 --select gamma=2", "each name once"),
        (f"{TURTLE} --select gamma=x", "gamma='x' must be a number"),
        (f"{TURTLE} --inner-steps 1.5", "inner_steps=1.5 must be an integer"),
        (f"{TURTLE} --recipe fast --warm-start", "warm_start=True: recipe='fast' decides"),
        (f"{TURTLE} --seeds 1 2 1", "--seeds 1 2 1: give each seed once"),
        (TURTLE.replace("--classes 3", "--classes 1"), "n_classes=1 must be"),
        (TURTLE.replace("b.npy", "no.npy"), "no file no.npy"),
        (TURTLE.replace("b.npy", "y.npy"), "y.npy has 1 dimensions, (60,), not two, (n, d)"),
        (TURTLE.replace("b.npy", "text.npy"), "text.npy is not an .npy file of numbers"),
        (TURTLE.replace("b.npy", "complex.npy"), "complex.npy holds complex64, not numbers"),
        (TURTLE.replace("b.npy", "short.npy"), "short.npy has 9 rows, but a.npy has 60"),
        (TURTLE.replace("b.npy", "nan.npy"), "space 1 holds 1 values that are NaN"),
        (TURTLE.replace("turtle", "hume").replace("3", "7"), "space 0 has 6 dimensions, too few"),
        (HUME.replace(" b.npy", ""), "HUME needs two spaces, [φ1, φ2]; 1 given"),
    ],
)
def test_bad_input_ends_with_one_line_and_writes_nothing(files, refused, command, message):
    Path("text.npy").write_text("text")
    np.save("short.npy", files[0][:9])
    np.save("complex.npy", files[0] * 1j)
    np.save("nan.npy", np.where(np.eye(60, 4) * np.arange(4) == 3, np.nan, files[1]))
    before = sorted(Path().iterdir())
    line = refused(command)
    assert line.startswith("hume-turtle fit: ")
    assert message in line
    assert sorted(Path().iterdir()) == before


def test_known_shares_are_an_option(files):
    run("fit turtle a.npy b.npy --classes 3 --save out --recipe fast --class-prior 2,1,1")
    assert Turtle.load("out/model-0.npz").class_prior == [2, 1, 1]


def test_existing_results_stay_unless_they_are_to_be_replaced(files, refused, monkeypatch):
    run(f"{TURTLE} {QUICK}")
    before = Path("out/results.csv").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(Turtle, "fit_many", None)  # refused before any work
        line = refused(f"{TURTLE} {QUICK} --seeds 5")
        assert "results.csv already exists; pass --overwrite" in line
        Path("out/results.csv").rename("kept.csv")
        assert "labels-0.npy already exists; pass --overwrite" in refused(f"{TURTLE} {QUICK}")
        Path("kept.csv").rename("out/results.csv")
    assert Path("out/results.csv").read_bytes() == before
    run(f"{TURTLE} {QUICK} --overwrite --gamma 5")
    assert Path("out/results.csv").read_bytes() != before


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_setting_is_an_option_with_its_default(estimator, capsys):
    with pytest.raises(SystemExit):
        main(["fit", estimator, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    names = {*ESTIMATORS[estimator](3).get_params()} - {"n_classes", "seed"}
    described = list(settings_of(estimator))
    assert {name for name, *_ in described} == names
    for name, default, text in described:
        assert text
        assert f"--{name.replace('_', '-')} " in shown.replace(",", " ")
        assert f"(default {default})" in shown


def test_values_on_the_command_line():
    words = ["3", "1e-3", "true", "False", "none", "fast"]
    assert [value(word) for word in words] == [3, 1e-3, True, False, None, "fast"]
    assert isinstance(value("3"), int)
    assert value("0.5,0.3,2") == [0.5, 0.3, 2]

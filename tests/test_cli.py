import numpy as np
import pytest

from hume_turtle.cli import main
from hume_turtle.metrics import cluster_accuracy


@pytest.fixture
def blobs(tmp_path):
    """Three well separated blobs in four dimensions: the file, and the labels behind it."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    space = 4 * np.eye(3, 4)[labels] + 0.1 * random.standard_normal((60, 4))
    np.save(tmp_path / "space.npy", space.astype(np.float16))
    return tmp_path / "space.npy", labels


def test_label_writes_the_labels_of_your_embeddings(blobs, tmp_path, monkeypatch, capsys):
    from hume_turtle.turtle import Turtle

    path, truth = blobs
    quick = {**Turtle.__init__.__kwdefaults__, "outer_steps": 200, "outer_lr": 0.01}
    monkeypatch.setattr(Turtle.__init__, "__kwdefaults__", quick)
    output = tmp_path / "labels.npy"
    arguments = ["label", str(path), "--classes", "3", "--warm-start", "--output", str(output)]
    assert main(arguments) == 0
    labels = np.load(output)
    assert cluster_accuracy(truth, labels) == 1.0
    assert "60 rows labelled; rows in each class: 20 20 20" in capsys.readouterr().out


def test_label_takes_the_fast_recipe(blobs, tmp_path):
    path, truth = blobs
    output = tmp_path / "labels.npy"
    arguments = ["label", str(path), "--classes", "3", "--output", str(output)]
    assert main([*arguments, "--recipe", "fast"]) == 0
    assert cluster_accuracy(truth, np.load(output)) == 1.0
    assert main([*arguments, "--recipe", "fast", "--warm-start"]) == 2


def test_bad_input_ends_with_one_line_and_writes_nothing(blobs, tmp_path, capsys):
    path, _ = blobs
    output = tmp_path / "labels.npy"
    assert main(["label", str(path), "--classes", "1", "--output", str(output)]) == 2
    assert main(["label", str(tmp_path / "no.npy"), "--classes", "3", "--output", str(output)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("hume-turtle label: n_classes=1")
    assert "no.npy" in lines[1]
    assert not output.exists()


def test_a_stage_outside_a_suite_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["stage", "report"]) == 2
    assert "params.yaml" in capsys.readouterr().err


def test_bench_measures_the_suite_here(tmp_path, monkeypatch):
    from hume_turtle import bench, cli

    seen = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("suite: tiny")
    monkeypatch.setattr(cli, "set_environment", lambda: None)  # it is of the whole process
    monkeypatch.setattr(bench, "measure", lambda suite, *rest: seen.append((suite.name, *rest)))
    assert main(["bench"]) == main(["bench", "--dataset", "stl10", "--full"]) == 0
    assert seen == [("tiny", "digits", False), ("tiny", "stl10", True)]

import numpy as np
import pytest

from hume_turtle.cli import main
from hume_turtle.evaluation.metrics import cluster_accuracy


@pytest.fixture
def blobs(tmp_path):
    """Three well separated blobs in four dimensions: the file, and the labels behind it."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    space = 4 * np.eye(3, 4)[labels] + 0.1 * random.standard_normal((60, 4))
    np.save(tmp_path / "space.npy", space.astype(np.float16))
    return tmp_path / "space.npy", labels


def test_label_writes_the_labels_of_your_embeddings(blobs, tmp_path, monkeypatch, capsys):
    from hume_turtle.estimators.turtle import Turtle

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
    from hume_turtle import cli
    from hume_turtle.benchmarks import run

    seen = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("suite: tiny")
    monkeypatch.setattr(cli, "set_environment", lambda: None)  # it is of the whole process
    monkeypatch.setattr(run, "measure", lambda suite, *rest: seen.append((suite.name, *rest)))
    assert main(["bench"]) == main(["bench", "--dataset", "stl10", "--full"]) == 0
    assert seen == [("tiny", "digits", False), ("tiny", "stl10", True)]


def test_embed_extracts_a_folder_of_images_and_resumes(tmp_path, capsys):
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(3):
            pixels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{i}.png")
    arguments = ["embed", "--dataset", f"folder:{tmp_path / 'pets'}", "--splits", "train"]
    arguments += ["--encoder", "timm:test_resnet.r160_in1k", "--weights", "random"]
    arguments += ["--batch-size", "4", "--workers", "0", "--device", "cpu"]
    arguments += ["--output", str(tmp_path / "out"), "--labels", str(tmp_path / "labels")]
    assert main(arguments) == 0
    path = capsys.readouterr().out.strip()
    rows = np.load(path)
    assert len(rows) == 6
    assert np.load(tmp_path / "labels/pets/train.npy").tolist() == [0, 0, 0, 1, 1, 1]
    assert main(arguments) == 0  # finished: at once
    np.testing.assert_array_equal(np.load(path), rows)
    assert main([*arguments, "--precision", "bf16"]) == 2  # other settings are in the way
    assert "bf16" in capsys.readouterr().err
    assert main([*arguments, "--precision", "bf16", "--overwrite"]) == 0
    assert np.load(path).dtype == np.float16


def test_under_torchrun_nobody_downloads(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    arguments = ["embed", "--dataset", "dtd", "--encoder", "pixels", "--download"]
    assert main([*arguments, "--images", str(tmp_path)]) == 2
    assert "torchrun" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_embed_measures_its_throughput(tmp_path, capsys, monkeypatch):
    from hume_turtle.benchmarks import extraction

    seen = []
    monkeypatch.setattr(extraction, "benchmark", lambda *a, **k: seen.append(k) or "ratio 1")
    arguments = ["embed", "--dataset", "digits", "--encoder", "pixels", "--benchmark"]
    assert main([*arguments, "--splits", "test", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("ratio 1\n")
    assert seen == [
        {"precision": "fp32", "batch_size": "auto", "workers": "auto", "device": "auto"}
    ]
    assert not list(tmp_path.iterdir())


def test_without_a_network_a_download_ends_with_one_line(tmp_path, capsys, monkeypatch):
    from urllib.error import URLError

    from hume_turtle.datasets import registry as datasets

    def fetch(*arguments):
        raise URLError("Name or service not known")

    monkeypatch.setitem(datasets.BUILDERS, "dtd", fetch)
    assert main(["embed", "--dataset", "dtd", "--encoder", "pixels", "--download"]) == 2
    assert capsys.readouterr().err == (
        "hume-turtle embed: cannot download dtd: Name or service not known\n"
    )


def test_unreadable_images_and_unknown_labels_are_said(tmp_path, capsys):
    from PIL import Image

    (tmp_path / "flat").mkdir()
    for i in range(3):
        Image.new("L", (8, 8), 60 * i).save(tmp_path / "flat" / f"{i}.png")
    (tmp_path / "flat" / "1.png").write_bytes(b"no image")
    arguments = ["embed", "--dataset", f"folder:{tmp_path / 'flat'}", "--encoder", "pixels"]
    arguments += ["--splits", "train", "--workers", "0", "--unreadable", "skip"]
    folders = ["--output", str(tmp_path / "out"), "--labels", str(tmp_path / "labels")]
    assert main([*arguments, *folders]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "1 images could not be read; train.json lists them"
    assert lines[2].startswith("no labels are known for flat")
    assert not (tmp_path / "labels").exists()


def test_what_is_missing_is_said_in_one_line(tmp_path, capsys):
    missing = str(tmp_path / "no")
    assert main(["import", "hume-tasks", f"{missing}.zip", "--output", missing]) == 2
    assert main(["evaluate", missing, "--embeddings", missing, "--labels", missing]) == 2
    embed = ["embed", "--encoder", "pixels", "--images", missing, "--output", missing]
    assert main([*embed, "--dataset", "dtd"]) == 2
    assert main([*embed, "--dataset", "nonsense"]) == 2
    assert main(["stage", "fit"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        *("hume-turtle import", "hume-turtle evaluate"),
        *["hume-turtle embed"] * 2,
        "hume-turtle stage",
    ]
    assert "--download" in lines[2]
    assert list(tmp_path.iterdir()) == []

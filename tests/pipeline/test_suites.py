"""The papers' suites: their settings fit together, and the pipeline runs on a stand-in for them."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image, ImageDraw
from sklearn.model_selection import ParameterGrid

from hume_turtle.datasets.registry import BUILDERS, reported_sizes
from hume_turtle.encoders.registry import encoder_names
from hume_turtle.pipeline.fit import ESTIMATORS
from hume_turtle.pipeline.suite import Suite
from hume_turtle.reporting.scoreboard import published_name, reported

ROOT = Path(__file__).parents[2]
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


SHAPES = {  # what stands for three datasets, and their classes
    "shapes": ("disc", "square", "triangle"),
    "colours": ("blue", "green", "red"),
    "sizes": ("large", "small"),
}


def draw(dataset: str, name: str, rng: np.random.Generator) -> Image.Image:
    """A picture of a class: one property is the class, the others are drawn at random."""
    shape = name if dataset == "shapes" else rng.choice(SHAPES["shapes"])
    colour = name if dataset == "colours" else rng.choice(SHAPES["colours"])
    large = name == "large" if dataset == "sizes" else rng.random() < 0.5
    picture = Image.new("RGB", (64, 48), tuple(int(v) for v in rng.integers(180, 256, 3)))
    r = 18 if large else 8
    x, y = 32 + int(rng.integers(-8, 9)), 24 + int(rng.integers(-4, 5))
    pen, box = ImageDraw.Draw(picture), [x - r, y - r, x + r, y + r]
    if shape == "disc":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    return picture


def checkout(folder: Path) -> Path:
    """The project's files without results, in a folder of its own."""
    copied = [
        "hume_turtle",
        "notebooks",
        "suites",
        "data/reported",
        "data/measured",
        "constraints.txt",
        "dvc.yaml",
        "params.yaml",
    ]
    copied += [".gitignore", ".dvcignore", ".dvc/config", ".dvc/plots"]
    for name in copied:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        ignore = shutil.ignore_patterns("__pycache__", "executed")
        shutil.copytree(source, target, ignore=ignore) if source.is_dir() else shutil.copy(
            source, target
        )
    return folder


def commit(folder: Path, message: str) -> None:
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    if not (folder / ".git").exists():
        run(folder, "git", "init", "-q")
    run(folder, "git", "add", "-A")
    run(folder, *git, "commit", "-qm", message)


def stand_in(folder: Path) -> Path:
    """The TURTLE suite with three image folders and two encoders.

    The encoders are real architectures with random weights.
    """
    checkout(folder)
    rng = np.random.default_rng(0)
    for dataset, names in SHAPES.items():
        for split, count in (("train", 20), ("test", 8)):
            for name in names:
                place = folder / "data/images" / dataset / split / name
                place.mkdir(parents=True)
                for i in range(count):
                    draw(dataset, name, rng).save(place / f"{i:03}.png")

    path = folder / "suites/turtle/params.yaml"
    params = yaml.safe_load(path.read_text())
    clip, other = "clip-vit-b-32", "timm:test_resnet.r160_in1k"
    choices = [["clip-vit-l-14"], ["dinov2-vit-g-14"], ["clip-vit-l-14", "dinov2-vit-g-14"]]
    params["datasets"] = list(SHAPES)
    params["classes"] = {dataset: len(names) for dataset, names in SHAPES.items()}
    params["embed"] = {
        "resume": True,
        "spaces": choices[2],
        "encoders": {"clip-vit-l-14": clip, "dinov2-vit-g-14": other},  # stand for the large ones
        "weights": "random",
        "scale": "unit-rms",
        "extraction": {"batch_size": 16, "workers": 0, "device": "cpu"},
    }
    params["fit"]["seeds"] = [0, 1]
    params["fit"]["turtle"] = {"choices": choices, "settings": {"outer_steps": 50}}
    params["baselines"] = {"seeds": [0], "n_init": 1, "choices": choices}
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    return folder


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONHASHSEED": "0"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_after(folder: Path, module: str, line: str) -> set[str]:
    """The stages of the TURTLE suite that run after a line was added to a module."""
    with open(folder / "hume_turtle" / module, "a") as file:
        file.write(f"\n{line}\n")
    shown = run(folder, "dvc", "repro", "suites/turtle/dvc.yaml")
    return set(re.findall(r"Running stage 'suites/turtle/dvc.yaml:(\S+)'", shown))


@pytest.mark.slow
def test_the_turtle_suite_runs_on_a_stand_in_and_survives_a_remote(tmp_path):
    """`dvc repro`, again, push to a local remote, clone, pull: nothing is left to do."""
    folder = stand_in(tmp_path / "checkout")
    commit(folder, "stand-in")
    run(folder, "dvc", "repro", "suites/turtle/dvc.yaml")

    suite = Suite.open(folder / "suites/turtle")
    scores = suite.scores()
    assert set(scores["method"]) == {"turtle", "k-means", "linear-probe", "zero-shot"}
    assert set(scores["dataset"]) == set(SHAPES)
    figures = folder / "figures/turtle"
    assert {path.stem for path in figures.iterdir()} == set(suite.params["artefacts"])
    board = pd.read_csv(figures / "scoreboard.csv")
    assert set(board["status"]) == {"not run"}  # no reported number is about these datasets
    assert suite.class_names("sizes") == ["large", "small"]
    sidecar = suite.data / "embeddings/shapes/clip-vit-l-14/train.json"
    assert json.loads(sidecar.read_text())["settings"]["weights"] == "random"

    again = "Data and pipelines are up to date"
    assert again in run(folder, "dvc", "repro", "suites/turtle/dvc.yaml")
    assert run_after(folder, "core/turtle_solver.py", "# A comment.") == {"code"}
    changed = run_after(folder, "reporting/style.py", "DPI_OF_NOTHING = 1")
    assert changed == {"code", "notebooks@04_transfer"}  # with the same figures: no report
    run(folder, "dvc", "remote", "add", "-d", "store", str(tmp_path / "remote"))
    commit(folder, "results")
    run(folder, "dvc", "push", "suites/turtle/dvc.yaml")
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "-q", str(folder), str(clone))
    shutil.copytree(folder / "data/images", clone / "data/images")  # not an output: users fetch it
    run(clone, "dvc", "pull", "suites/turtle/dvc.yaml")
    assert again in run(clone, "dvc", "repro", "suites/turtle/dvc.yaml")


def released_embeddings(path: Path) -> Path:
    """A zip in the layout of the embeddings that HUME's authors released: blobs in four spaces."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:

        def put(name: str, array: np.ndarray) -> None:
            with archive.open(f"data/{name}.npy", "w") as file:
                np.save(file, array)

        for dataset, classes in (("stl10", 10), ("imagenet1000", 30)):
            widths = {"mocov2": 64, "bit": 48, "clip": 40, "dino": 56}
            centres = {space: rng.normal(size=(classes, d)) for space, d in widths.items()}
            for split, n in (("train", 300), ("test", 120)):
                labels = rng.integers(0, classes, n)
                put(f"labels/{dataset}{split}_targets", labels)
                for space, centre in centres.items():
                    rows = centre[labels] + 0.5 * rng.normal(size=(n, widths[space]))
                    put(f"representations/{space}/{dataset}{split}", rows.astype(np.float32))
    return path


@pytest.mark.slow
def test_the_hume_suite_runs_from_released_embeddings_without_images(tmp_path):
    folder = checkout(tmp_path / "checkout")
    path = folder / "suites/hume/params.yaml"
    params = yaml.safe_load(path.read_text())
    params["datasets"], params["classes"] = ["stl10", "imagenet"], {"stl10": 10, "imagenet": 30}
    quick = {"n_runs": 3, "outer_steps": 40, "inner_steps": 30, "n_subsets": 2, "inner_lr": 0.05}
    params["pretrain"]["datasets"] = ["stl10"]
    params["fit"]["hume"]["settings"] = quick
    params["fit"]["hume"]["datasets"]["imagenet"] |= {"outer_steps": 5, "inner_steps": 5}
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    commit(folder, "stand-in")

    archive = str(released_embeddings(tmp_path / "data.zip"))
    command = (sys.executable, "-m", "hume_turtle.cli", "import", "hume-embeddings", archive)
    run(folder, *command, "--output", "data/hume")
    run(folder, "dvc", "repro", "suites/hume/dvc.yaml")
    suite = Suite.open(folder / "suites/hume")
    assert {p.stem for p in (folder / "figures/hume").iterdir()} == set(params["artefacts"])
    board = pd.read_csv(folder / "figures/hume/scoreboard.csv")
    run_here = board[board["status"] != "not run"]
    assert set(run_here["dataset"]) == {"stl10", "imagenet"}
    assert suite.scores().query("method == 'hume' and dataset == 'stl10'")["value"].mean() > 0.8
    assert "up to date" in run(folder, "dvc", "repro", "suites/hume/dvc.yaml")

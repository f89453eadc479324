"""Stand-ins for the suites: checkouts of their own, small images or a small released archive.

`STAND_INS[name](folder)` makes one: the project's files, a suite's own params.yaml with what a few
images in small networks need, and nothing that was computed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import glob
from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageDraw

from hume_turtle.pipeline.suite import Suite
from tests.helpers.dataset_trees import text

ROOT = Path(__file__).parents[2]
COPIED = ["hume_turtle", "notebooks", "suites", "data/reported", "data/measured"]
COPIED += ["constraints.txt", "dvc.yaml", "params.yaml"]
COPIED += [".gitignore", ".dvcignore", ".dvc/.gitignore", ".dvc/config", ".dvc/plots"]
SHAPES = {  # what stands for two datasets, and their classes
    "shapes": ("disc", "square", "triangle"),
    "sizes": ("large", "small"),
}
QUICK_HUME = {"n_runs": 3, "outer_steps": 20, "inner_steps": 30, "n_subsets": 2, "inner_lr": 0.05}


def checkout(folder: Path) -> Path:
    """The project's files without results, in a folder of its own."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        ignore = shutil.ignore_patterns("__pycache__", "executed")
        shutil.copytree(source, target, ignore=ignore) if source.is_dir() else shutil.copy(
            source, target
        )
    return folder


@contextmanager
def changed(folder: Path, suite: str) -> Iterator[dict]:
    """The content of a suite's params.yaml, which is written back after the block."""
    path = folder / "suites" / suite / "params.yaml"
    params = yaml.safe_load(path.read_text())
    yield params
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def commit(folder: Path, message: str) -> None:
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    if not (folder / ".git").exists():
        run(folder, "git", "init", "-q")
    run(folder, "git", "add", "-A")
    run(folder, *git, "commit", "-qm", message)


def environment(folder: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "PYTHONHASHSEED": "0"}


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def repro(folder: Path, suite: str) -> str:
    return run(folder, "dvc", "repro", f"suites/{suite}/dvc.yaml")


def killed(folder: Path, suite: str, moment: str) -> None:
    """Start `dvc repro`; kill it and all its processes once a file of `data/<suite>` is there."""
    files, log = str(folder / "data" / suite / moment), folder.with_name(f"{folder.name}.log")
    assert not glob(files), f"{moment} is there before"
    with open(log, "w") as file:
        process = subprocess.Popen(
            ["dvc", "repro", f"suites/{suite}/dvc.yaml"],
            cwd=folder,
            env=environment(folder),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while not glob(files):
                code = process.poll()
                assert code is None, f"ended with {code} before {moment}: {log.read_text()}"
                time.sleep(0.01)
        finally:
            with suppress(ProcessLookupError):  # none is left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def finished_fits(suite: Suite) -> dict[Path, int]:
    """The fits that count as finished, of all seeds of a method, and when they were made."""
    found = {}
    for dataset in suite.datasets:
        for key, method in suite.methods.items():
            for names in suite.method_choices(key, dataset):
                paths = [suite.fit_path(dataset, key, names, seed) for seed in method.seeds]
                if all(path.with_suffix(".json").exists() for path in paths):
                    found |= {path: path.stat().st_mtime_ns for path in paths}
    return found


def results(folder: Path, suite: str) -> dict[str, bytes]:
    """Every file that a suite makes and keeps, by name; all dates as one word, for midnight."""
    places = [f"figures/{suite}", f"notebooks/executed/{suite}", "data/scores", "data/metrics"]
    places += [f"data/{suite}/{kind}" for kind in ("embeddings", "labels", "fits", "scores")]
    files = (path for place in places for path in (folder / place).rglob("*") if path.is_file())
    day = re.compile(rb"20\d\d-\d\d-\d\d")
    return {str(path.relative_to(folder)): day.sub(b"day", path.read_bytes()) for path in files}


def draw(dataset: str, name: str, rng: np.random.Generator) -> Image.Image:
    """A picture of a class: one property is the class, the others are drawn at random."""
    shape = name if dataset == "shapes" else rng.choice(SHAPES["shapes"])
    colour = rng.choice(["blue", "green", "red"])
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


def save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def image_folders(root: Path, datasets: Iterable[str]) -> None:
    """`<root>/<dataset>/<split>/<class>/<number>.png` of the datasets in `SHAPES`."""
    rng = np.random.default_rng(0)
    for dataset in datasets:
        for split, count in (("train", 12), ("test", 6)):
            for name in SHAPES[dataset]:
                for i in range(count):
                    picture = draw(dataset, name, rng)
                    save(picture, root / dataset / split / name / f"{i:03}.png")


def turtle(folder: Path) -> Path:
    """The TURTLE suite with two image folders and two encoders.

    The encoders are real architectures with random weights.
    """
    checkout(folder)
    image_folders(folder / "data/images", SHAPES)
    clip, dino = "clip-vit-l-14", "dinov2-vit-g-14"
    choices = [[clip], [dino], [clip, dino]]
    with changed(folder, "turtle") as params:
        params["datasets"] = list(SHAPES)
        params["classes"] = {dataset: len(names) for dataset, names in SHAPES.items()}
        params["threads"] = 2
        params["embed"] = {
            "spaces": [clip, dino],
            "encoders": {clip: "clip-vit-b-32", dino: "timm:test_resnet.r160_in1k"},
            "weights": "random",
            "scale": "unit-rms",
            "extraction": {"batch_size": 8, "workers": 0, "device": "cpu"},
        }
        grid = {"warm_start": [True, False], "inner_lr": [0.001, 0.01]}
        params["fit"]["seeds"] = [0, 1]
        params["fit"]["turtle"] |= {"choices": choices, "settings": {"outer_steps": 50}}
        params["fit"]["turtle"]["variants"]["selected"]["grid"] = grid
        params["baselines"] |= {"n_init": 1, "probe": "quick", "choices": choices}
    return folder


def quick(params: dict) -> None:
    """Make the HUME suite's fits and baselines quick, with several blocks of runs in a fit."""
    params["threads"] = 2
    params["fit"]["hume"] |= {"settings": QUICK_HUME, "runs_at_once": 2}
    params["fit"]["hume"]["datasets"]["imagenet"] |= {"outer_steps": 5, "inner_steps": 5}
    params["baselines"] |= {"n_init": 1, "probe": "quick"}


def import_embeddings(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Import a zip in the layout of the embeddings that HUME's authors released."""
    path = folder.with_name(f"{folder.name}-data.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"data/{name}.npy", "w") as file:
                np.save(file, array)
    command = (sys.executable, "-m", "hume_turtle.cli", "import", "hume-embeddings", str(path))
    run(folder, *command, "--output", "data/hume")


RELEASED = {"stl10": 10, "cifar10": 10, "cifar10020": 20, "imagenet1000": 30}  # and classes
ROWS = {"train": slice(300), "test": slice(300, None), "traintest": slice(None)}


def released_arrays() -> dict[str, np.ndarray]:
    """Blobs in four spaces, joined splits beside their parts, MoCo's rows of unit length too.

    ImageNet has two spaces, and labels of its test split alone.
    """
    rng, arrays = np.random.default_rng(0), {}
    for dataset, classes in RELEASED.items():
        widths, labelled = {"mocov2": 64, "bit": 48, "clip": 40, "dino": 56}, ROWS
        if dataset == "imagenet1000":
            widths, labelled = {"mocov2": 64, "dino": 56}, ("test",)
        labels = rng.integers(0, classes, 420)
        for split in labelled:
            arrays[f"labels/{dataset}{split}_targets"] = labels[ROWS[split]]
        for space, width in widths.items():
            centres = rng.normal(size=(classes, width))
            rows = centres[labels] + 0.5 * rng.normal(size=(420, width))
            unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            for split, part in ROWS.items():
                name = f"representations/{space}/{dataset}{split}"
                arrays[name] = rows[part].astype(np.float32)
                if space == "mocov2":
                    arrays[f"{name}_l2"] = unit[part].astype(np.float32)
    return arrays


def released(folder: Path) -> Path:
    """The HUME suite with the released embeddings imported, and no image."""
    checkout(folder)
    import_embeddings(folder, released_arrays())
    with changed(folder, "hume") as params:
        params["classes"]["imagenet"] = RELEASED["imagenet1000"]
        quick(params)
    return folder


def hume(folder: Path) -> Path:
    """The HUME suite with an image folder, and ImageNet, of which MoCo alone was imported.

    Networks are small: MoCo trains for six steps, the others are timm's test models.
    """
    checkout(folder)
    root, rng = folder / "data/images", np.random.default_rng(2)
    image_folders(root, ["shapes"])
    for i in range(30):  # what MoCo learns from in place of the training images
        save(draw("shapes", SHAPES["shapes"][i % 3], rng), root / f"unlabelled/{i:02}.png")
    arrays = {}
    for split, part, count in (("train", "train", 6), ("test", "val", 4)):
        for label in range(5):
            for i in range(count):
                picture = draw("shapes", SHAPES["shapes"][label % 3], rng)
                save(picture, root / "imagenet" / part / f"n{label:08}" / f"{i}.JPEG")
        rows = rng.normal(size=(5 * count, 16)).astype(np.float32)
        arrays[f"representations/mocov2/imagenet1000{split}"] = rows
    arrays["labels/imagenet1000test_targets"] = np.repeat(np.arange(5), 4)
    import_embeddings(folder, arrays)

    small = {"size": 16, "epochs": 2, "warmup_epochs": 1, "batch_size": 10, "memory": 20}
    with changed(folder, "hume") as params:
        params["datasets"] = ["shapes", "imagenet"]
        params["classes"] = {"shapes": 3, "imagenet": 5}
        params["pretrain"] = {
            "seed": 0,
            "datasets": ["shapes"],
            "moco": {"architecture": "resnet18-cifar", **small},
            "shapes": {"architecture": "resnet18-stl", "images": "unlabelled"},
        }
        params["embed"]["encoders"] = {
            "bit": "timm:test_resnet.r160_in1k",
            "clip": "timm:test_vit.r160_in1k",
            "dino": "timm:test_convnext.r160_in1k",
        }
        params["embed"]["weights"] = "random"
        params["embed"]["extraction"] |= {"batch_size": 2, "workers": 0, "device": "cpu"}
        quick(params)
    return folder


LAPTOP = {  # the datasets whose files torchvision reads without a published checksum
    "eurosat": ("Forest", "Highway", "River"),
    "dtd": ("banded", "dotted", "striped"),
    "pets": ("Abyssinian", "american_bulldog", "beagle"),
}


def laptop_images(root: Path) -> None:
    """Five test images of each class in the true layouts."""
    rng = np.random.default_rng(3)
    for label, shape in enumerate(SHAPES["shapes"]):
        eurosat, dtd, pets = (names[label] for names in LAPTOP.values())
        for i in range(15):  # of which five are drawn to test
            save(draw("shapes", shape, rng), root / f"eurosat/2750/{eurosat}/{eurosat}_{i}.jpg")
        for i in range(5):
            save(draw("shapes", shape, rng), root / f"dtd/dtd/images/{dtd}/{dtd}_{i:04}.jpg")
            save(draw("shapes", shape, rng), root / f"oxford-iiit-pet/images/{pets}_{i}.jpg")
    textures = [f"{name}/{name}_{i:04}.jpg" for name in LAPTOP["dtd"] for i in range(5)]
    text(root / "dtd/dtd/labels/test1.txt", *textures)
    breeds = enumerate(LAPTOP["pets"], start=1)
    animals = [f"{name}_{i} {label} 1 {label}" for label, name in breeds for i in range(5)]
    text(root / "oxford-iiit-pet/annotations/test.txt", *animals)


def laptop(folder: Path) -> Path:
    """The laptop suite with half of its datasets, and its real encoders with random weights."""
    checkout(folder)
    laptop_images(folder / "data/images")
    with changed(folder, "laptop") as params:
        params["datasets"] = list(LAPTOP)
        params["classes"] = dict.fromkeys(LAPTOP, 3)
        params["threads"] = 2
        params["embed"]["weights"] = "random"
        params["embed"]["extraction"] |= {"batch_size": 2, "workers": 0, "device": "cpu"}
        params["fit"]["turtle"]["variants"]["warm"]["settings"]["outer_steps"] = 50
        params["baselines"]["n_init"] = 1
    return folder


STAND_INS = {"turtle": turtle, "hume": hume, "released": released, "laptop": laptop}

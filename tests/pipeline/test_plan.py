"""The plan of a suite: on an empty machine, with everything there, and in between."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from hume_turtle.cli import main
from hume_turtle.pipeline import inventory, plan
from hume_turtle.pipeline.estimate import Machine
from hume_turtle.pipeline.settings import Settings
from hume_turtle.storage.embeddings import save_embedding
from tests.encoders.test_footprint import cache
from tests.helpers.dataset_trees import mnist, picture, text

ROOT = Path(__file__).parents[2]
MACHINE = Machine("cpu", 2, {"fp32": 1e12, "fp16": 1e12, "bf16": 1e12}, 1e11)
CHOICES = [["clip"], ["dinov2-vit-s-14"], ["clip", "dinov2-vit-s-14"]]
SUITE = {
    "suite": "small",
    "root": "../..",
    "threads": 2,
    "resume": True,
    "datasets": ["mnist", "hatefulmemes", "shapes"],
    "notebooks": [],
    "artefacts": [],
    "images": {"folder": "data/images", "download": True},
    "pretrain": {},
    "embed": {
        "spaces": ["clip", "dinov2-vit-s-14"],
        "encoders": {"clip": "clip-vit-b-32"},
        "precision": {"clip": "fp16"},
        "scale": "none",
    },
    "classes": {"mnist": 10, "hatefulmemes": 2, "shapes": 2},
    "fit": {
        "split": "train",
        "seeds": [0],
        "turtle": {"choices": CHOICES, "settings": {"warm_start": True}},
        "hume": {"phi2": []},
    },
    "selection": {"datasets": []},
    "baselines": {"seeds": [0], "choices": CHOICES},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A repository with one suite on a machine without caches: its folder."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(plan, "measure", lambda device, precisions: MACHINE)
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda place: SimpleNamespace(free=1e13))
    (tmp_path / "suites/small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "suites/small"


def planned(folder, capsys, **changes) -> tuple[int, str]:
    """Exit code and text of the plan of the suite with other sections."""
    (folder / "params.yaml").write_text(yaml.safe_dump({**SUITE, **changes}))
    code = plan.plan(Settings.open("suites/small"))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= plan.WIDTH
    return code, shown


def line(shown: str, start: str) -> str:
    return next(each for each in shown.splitlines() if each.lstrip().startswith(start))


def give_images(root):
    mnist(root)
    for file in ("train.jsonl", "dev.jsonl", "img/1.png"):
        text(root / "hatefulmemes" / file)
    for split in ("train", "test"):
        picture(root / "shapes" / split / "round" / "1.png", 50)


def embed(data, dataset, space, split, rows=3, **stated):
    encoder = SimpleNamespace(name=space, settings=stated.pop("settings", {}))
    save_embedding(
        data / "embeddings", dataset, split, np.ones((rows, 4), np.float32), encoder, **stated
    )


def test_an_empty_machine(folder, capsys):
    code, shown = planned(folder, capsys)
    assert code == 1
    assert line(shown, "1  clip").split()[2:4] == ["clip-vit-b-32", "fp16"]
    assert "download, about 0.6 GB (open_clip_torch)" in line(shown, "1  clip")
    assert "download, about 87 MB (timm)" in line(shown, "2  dinov2-vit-s-14")
    assert line(shown, "mnist").split() == [
        *("mnist", "60,000", "10,000", "..", "..", "download,", "about", "10", "MB")
    ]
    assert line(shown, "hatefulmemes  ").endswith("by hand, size unknown")
    assert line(shown, "shapes  ").split()[1:3] == ["?", "?"]
    assert line(shown, "ossci-datasets") == "  ossci-datasets.s3.amazonaws.com: mnist"
    assert "Kaggle, dataset parthplc" in shown
    assert "To data/images/hatefulmemes: train.jsonl" in shown
    assert "Then checked: 8500 train and 500 test images of 2 classes." in shown
    assert "not counted, of unknown size: hatefulmemes" in shown
    missing = shown.partition("not ready, missing:\n")[2].splitlines()
    assert missing == [
        "  hatefulmemes: there is no data/images/hatefulmemes/train.jsonl; see above for how",
        "  shapes: there is no data/images/shapes; put its images there",
    ]
    assert not (folder.parents[1] / "data").exists()  # nothing is made


def test_with_everything_there_the_command_is_the_last_line(folder, capsys):
    root = folder.parents[1]
    give_images(root / "data/images")
    cache(root, "timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors")
    cache(root, "timm/vit_small_patch14_dinov2.lvd142m", "model.safetensors")
    code, shown = planned(folder, capsys)
    assert code == 0
    assert shown.splitlines()[-1] == "ready: dvc repro suites/small/dvc.yaml"
    assert line(shown, "1  clip").endswith("at hand")
    assert line(shown, "mnist").endswith("there")
    assert line(shown, "shapes").split() == ["shapes", "1", "1", "..", "..", "there"]
    assert "by hand" not in shown


def test_what_the_suite_fetches_itself_is_not_missing_unless_it_may_not(folder, capsys):
    only = {"datasets": ["mnist"], "classes": {"mnist": 10}}
    assert planned(folder, capsys, **only)[0] == 0
    code, shown = planned(folder, capsys, **only, images={"download": False})
    assert code == 1
    assert shown.splitlines()[-1].endswith("images.download: true fetches it")


def test_a_half_download(folder, capsys):
    images = folder.parents[1] / "data/images"
    give_images(images)
    (images / "hatefulmemes/img.zip.part").touch()
    text(images / "food-101/images/a.jpg")
    datasets = {
        "datasets": ["hatefulmemes", "food101"],
        "classes": {"hatefulmemes": 2, "food101": 3},
    }
    code, shown = planned(folder, capsys, **datasets)
    assert code == 1
    assert line(shown, "food101 ").endswith("incomplete, see below")
    missing = shown.partition("not ready, missing:\n")[2]
    assert "hatefulmemes/img.zip.part is an unfinished download; see above for how" in missing
    assert "food-101/meta/train.json is missing; remove its folder, so that it is" in missing


def test_embeddings_that_are_there_begun_imported_and_damaged(folder, capsys):
    data, space = folder.parents[1] / "data/small", "dinov2-vit-s-14"
    for split in ("train", "test"):
        embed(data, "shapes", "clip", split)
        embed(data, "shapes", space, split, settings={"source": "archive"})
        embed(data, "mnist", "clip", split, rows={"train": 60_000, "test": 9_999}[split])
    text(data / "embeddings/mnist" / space / "train.blocks/identity.json", "{}")
    text(data / "embeddings/hatefulmemes/clip/test.npy", "half")
    text(data / "embeddings/hatefulmemes/clip/test.json", json.dumps({"rows": 3}))
    code, shown = planned(folder, capsys)
    assert code == 1
    assert line(shown, "shapes").split() == ["shapes", "3", "3", "##", "ii", "not", "needed"]
    assert line(shown, "mnist").split()[3:5] == ["##", "b."]
    assert line(shown, "hatefulmemes ").split()[3:5] == [".?", ".."]
    assert "Other numbers than the papers': mnist test, clip: 9999 images, not 10000." in shown
    assert "hatefulmemes: data/small/embeddings/hatefulmemes/clip is damaged" in shown


def test_a_space_that_nobody_trains_must_be_imported(folder, capsys):
    changes = {
        "datasets": ["mnist"],
        "classes": {"mnist": 10},
        "embed": {"spaces": ["moco"]},
        "pretrain": {"seed": 0, "datasets": []},
        "fit": {**SUITE["fit"], "turtle": {"choices": [["moco"]]}},
        "baselines": {"seeds": [0], "choices": [["moco"]]},
    }
    code, shown = planned(folder, capsys, **changes)
    assert code == 1
    assert line(shown, "mnist ").endswith("not needed")
    command = "hume-turtle import hume-embeddings <archive.zip> --output data/small"
    assert command in " ".join(shown.split())
    changes["pretrain"] = {"seed": 0, "moco": {"architecture": "resnet18-cifar"}}
    code, shown = planned(folder, capsys, **changes)
    assert code == 0
    assert line(shown, "pretrain").split()[1] == "about"
    one_way = folder.parents[1] / "data/small"
    embed(one_way, "mnist", "moco", "test", settings={"source": "archive"})
    assert "mnist: of moco only one split was imported" in planned(folder, capsys, **changes)[1]


def test_checkpoints_packages_and_disk(folder, capsys, monkeypatch):
    monkeypatch.setattr(inventory, "find_spec", lambda name: None)
    usage = SimpleNamespace(free=1e9)
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda place: usage)
    only = {"datasets": ["pcam"], "classes": {"pcam": 2}}
    section = {**SUITE["embed"], "checkpoints": {"clip": "nowhere.pt"}}
    code, shown = planned(folder, capsys, **only, embed=section)
    assert code == 1
    missing = shown.partition("not ready, missing:\n")[2].splitlines()
    assert missing[:3] == [
        "  clip: no weight file at nowhere.pt (embed.checkpoints)",
        '  pcam: package h5py is missing: pip install "hume-turtle[pcam]"',
        '  pcam: package gdown is missing: pip install "hume-turtle[pcam]"',
    ]
    # 8 GB of archives, 9.1 unpacked; 0.1 of DINOv2; 327680 rows of 384 float32 and 512 float16,
    # the largest file of 294912 twice for a while
    assert missing[3].startswith("  disk: 18 GB to write, 1.0 GB free at")


def test_only_the_suites_splits_and_what_is_not_made_yet_count(folder, capsys):
    only = {"datasets": ["mnist"], "classes": {"mnist": 10}}
    section = {**SUITE["embed"], "splits": ["test"]}
    fit = {**SUITE["fit"], "split": "test"}
    shown = planned(folder, capsys, **only, embed=section, fit=fit)[1]
    assert line(shown, "mnist").split()[:4] == ["mnist", "10,000", ".", "."]
    assert line(shown, "fit").split()[1] == "about"
    for names in CHOICES:
        path = folder.parents[1] / "data/small/fits/mnist/turtle" / "+".join(names) / "0.npz"
        text(path)
    again = planned(folder, capsys, **only, embed=section, fit=fit)[1]
    assert line(again, "fit").split()[1] == "-"


def test_bad_settings_are_an_error(folder, capsys):
    with pytest.raises(ValueError, match="unknown encoder 'clop'"):
        planned(folder, capsys, embed={**SUITE["embed"], "encoders": {"clip": "clop"}})
    with pytest.raises(ValueError, match="precision of clip"):
        planned(folder, capsys, embed={**SUITE["embed"], "precision": {"clip": "fp8"}})
    with pytest.raises(ValueError, match="missing shapes"):
        planned(folder, capsys, classes={"mnist": 10, "hatefulmemes": 2})


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0, "-"),
        (0.001, "under a minute"),
        (0.21, "about 13 min"),
        (2.1, "about 3 h"),
        (21.0, "about 21 h"),
        (47.9, "about 48 h"),
        (48, "about 2 days"),
        (24 * 1234, "about 1,300 days"),
    ],
)
def test_durations_are_rounded_up(hours, words):
    assert plan.in_words(hours) == words


@pytest.mark.parametrize("suite", sorted(path.parent for path in ROOT.glob("suites/*/params.yaml")))
def test_our_suites_can_be_planned(suite, folder, capsys):
    code = plan.plan(Settings.open(suite))
    shown = capsys.readouterr().out
    assert max(map(len, shown.replace(str(ROOT), "").splitlines())) <= plan.WIDTH
    if suite.name == "laptop":  # all that it needs can be downloaded
        assert (code, shown.splitlines()[-1]) == (0, f"ready: dvc repro {suite}/dvc.yaml")
    else:
        assert code == 1
        assert "imagenet: there is no" in shown.partition("not ready, missing:")[2]


def test_the_command_and_its_exit_codes(folder, capsys):
    assert main(["plan", str(folder)]) == 2  # no params.yaml
    assert planned(folder, capsys, datasets=["mnist"])[0] == 0
    assert main(["plan", str(folder)]) == 0
    (folder / "params.yaml").write_text(yaml.safe_dump(SUITE))
    assert main(["plan", "suites/small", "--device", "cpu"]) == 1
    (folder / "params.yaml").write_text(yaml.safe_dump({**SUITE, "embd": {}}))
    assert main(["plan", str(folder)]) == 2
    assert "unknown embd" in capsys.readouterr().err

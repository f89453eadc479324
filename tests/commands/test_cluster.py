"""`cluster` and `assign`: from photographs or files of embeddings to groups, and new rows' groups.

Bad input ends with exit code 2 and one line, and changes no file.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from hume_turtle.cli import main
from hume_turtle.commands import assign
from hume_turtle.commands.cluster import RESULTS, classes_of
from hume_turtle.estimators import number_of_classes, turtle, turtle_fast
from hume_turtle.reporting import scatter_map

COLOURS = {"blue": (30, 60, 220), "green": (20, 200, 40), "red": (220, 40, 30)}
EACH = 6  # photographs of a colour
QUICK = "--classes 3 --gamma 10 --device cpu"
PHOTOS = f"cluster photos --encoder pixels {QUICK}"
FILES = f"cluster a.npy b.npy {QUICK}"
ALWAYS = {*RESULTS} - {"classes.csv", "skipped.csv"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short fits, a choice of the number of classes that says 3, and no real map."""
    for name, value in {"SCREENING": 20, "OUTER_STEPS": 40}.items():
        monkeypatch.setattr(turtle_fast, name, value)
    monkeypatch.setattr(scatter_map, "map_points", lambda z, seed: np.array(z[0])[:, :2])
    monkeypatch.setattr(assign, "keep_freed_memory", lambda: None)  # else for all later tests
    columns = ["n_classes", "unexplained", "dip", "agreement"]
    table = pd.DataFrame([[2, 0.3, 0.0, np.nan], [3, 0.1, 0.2, 0.9]], columns=columns)
    asked = []

    def select_n_classes(spaces, candidates, **settings):
        asked.append(candidates)
        return SimpleNamespace(chosen=3, certain=False, reason="It says 3.", table=lambda: table)

    monkeypatch.setattr(number_of_classes, "select_n_classes", select_n_classes)
    torch.set_num_threads(1)  # threads wait for each other longer than small fits take
    yield asked
    torch.set_num_threads(2)


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """`photos/<colour>/[deeper/]<i>.png` of 8 x 8 pixels; the current directory is above."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for i in range(EACH):
            pixels = np.clip(colour + random.normal(0, 12, (8, 8, 3)), 0, 255).astype(np.uint8)
            place = Path("photos", name, *["deeper"] * (i % 2))
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{i}.png")
    return Path("photos")


def run(command: str) -> None:
    assert main(command.split()) == 0


def read(path: str | Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def files_below(place: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(place).rglob("*") if path.is_file()}


def test_photographs_become_groups(photos, capsys):
    run(f"{PHOTOS} --labels folders")
    assert {path.name for path in Path("groups").iterdir()} == {*ALWAYS, "embeddings"}
    rows = read("groups/assignments.csv")
    assert list(rows[0]) == ["file", "class", "confidence", "second"]
    assert [row["file"] for row in rows] == sorted(
        str(path.relative_to(photos)) for path in photos.rglob("*.png")
    )
    found = {(row["file"].split("/")[0], row["class"]) for row in rows}
    assert len(found) == len({c for _, c in found}) == 3  # one class for each colour
    assert all(row["second"] != row["class"] for row in rows)
    assert all(1 / 3 <= float(row["confidence"]) <= 1 for row in rows)
    pseudo = read("groups/pseudo-labels.csv")
    assert len(pseudo) == 3  # a fifth of six, of each class
    assert {(row["file"], row["class"]) for row in pseudo} <= {
        (row["file"], row["class"]) for row in rows
    }
    made = json.loads(Path("groups/model.json").read_text())
    assert made["spaces"][0]["encoder"] == "pixels"
    assert made["classes"] == {"asked": "3", "fitted": 3}
    labels = turtle.Turtle.load("groups/model.npz").labels_
    assert [int(row["class"]) for row in rows] == labels.tolist()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "18 images in 3 classes"
    assert "cluster accuracy by folders: 100.0%" in "\n".join(lines)
    assert lines[-1].startswith("groups/report.html shows them")


def test_files_of_embeddings_become_groups_of_a_chosen_number(files, quick, capsys):
    names = [f"{i}, {'x' if i % 2 else 'y'}.jpg" for i in range(60)]
    table = pd.DataFrame(files[1], columns=list("wxyz"))
    table.insert(0, "file", names)
    table.to_csv("b.csv", index=False)
    run("cluster a.npy b.csv --gamma 10 --device cpu --labels y.npy --output out")
    run("cluster a.npy b.csv --gamma 10 --classes 3-7 --output other")
    assert quick == [[*range(2, 7)], [*range(3, 8)]]  # 60 rows bear 6 classes
    assert {path.name for path in Path("out").iterdir()} == {
        *(ALWAYS - {"contact-sheet.png"}),
        "classes.csv",
    }
    assert [row["file"] for row in read("out/assignments.csv")] == names
    assert [row["n_classes"] for row in read("out/classes.csv")] == ["2", "3"]
    shown = capsys.readouterr().out
    assert "The number of classes is uncertain. It says 3." in shown
    assert "cluster accuracy by y.npy: 100.0%" in shown
    made = json.loads(Path("out/model.json").read_text())
    assert made["curve"][0] == {"n_classes": 2, "unexplained": 0.3, "dip": 0.0, "agreement": None}
    assert made["classes"]["certain"] is False


def test_true_labels_change_nothing_but_the_report(files):
    run(f"{FILES} --output without")
    run(f"{FILES} --output with --labels y.npy")
    with_labels, without = files_below("with"), files_below("without")
    for path, content in without.items():
        if not path.endswith("report.html"):
            assert with_labels[path.replace("without", "with")] == content, path


def test_true_labels_by_name_and_by_order(photos, capsys):
    names = sorted(str(path.relative_to(photos)) for path in photos.rglob("*.png"))
    table = pd.DataFrame({"file": names[::-1], "colour": [n.split("/")[0] for n in names[::-1]]})
    table.to_csv("named.csv", index=False)
    table[["colour"]][::-1].to_csv("header.csv", index=False)
    table["colour"][::-1].to_csv("plain.csv", index=False, header=False)
    for name in ("named", "header", "plain"):
        run(f"{PHOTOS} --overwrite --labels {name}.csv")
        assert f"cluster accuracy by {name}.csv: 100.0%" in capsys.readouterr().out


def test_existing_results_stay_unless_they_are_to_be_replaced(photos, refused, monkeypatch):
    Path("groups").mkdir()
    Path("groups/mine.txt").write_text("mine")
    Path("groups/classes.csv").write_text("of an earlier run")
    before = files_below("groups")
    assert "groups/classes.csv already exists; pass --overwrite" in refused(PHOTOS)
    assert files_below("groups") == before
    run(f"{PHOTOS} --overwrite")
    after = files_below("groups")
    assert after["groups/mine.txt"] == b"mine"
    assert "groups/classes.csv" not in after  # it would not belong to these results
    assert "groups/report.html already exists" in refused(PHOTOS)
    assert files_below("groups") == after


def test_another_number_of_classes_does_not_embed_again(photos, monkeypatch):
    from hume_turtle.extraction import extract

    run(PHOTOS)
    monkeypatch.setattr(extract, "compute", None)
    run(f"{PHOTOS.replace('3', '4')} --overwrite")
    assert json.loads(Path("groups/model.json").read_text())["classes"]["fitted"] == 4


def test_an_interrupted_run_resumes(photos, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(turtle.Turtle, "fit", interrupt)
        assert main(PHOTOS.split()) == 130
    assert [path.name for path in Path("groups").iterdir()] == ["embeddings"]
    from hume_turtle.extraction import extract

    monkeypatch.setattr(extract, "compute", None)
    run(PHOTOS)
    assert {path.name for path in Path("groups").iterdir()} == {*ALWAYS, "embeddings"}


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_nothing_is_left_of_results_that_could_not_be_written(files, refused, monkeypatch):
    from hume_turtle.reporting import report_page

    def full(path, report):
        raise OSError(28, "No space left on device")

    before = files_below(".")
    monkeypatch.setattr(report_page, "write_report", full)
    assert "No space left" in refused(FILES)
    assert files_below(".") == before


def test_new_photographs_get_the_same_classes(photos, capsys):
    run(f"{PHOTOS} --output g")
    run("assign g photos --output new.csv --device cpu")
    assert read("new.csv") == read("g/assignments.csv")
    shutil.move("photos/red", "some")
    run("assign g some --output some.csv --device cpu")
    classes = {row["file"]: row["class"] for row in read("g/assignments.csv")}
    assert all(classes[f"red/{row['file']}"] == row["class"] for row in read("some.csv"))
    assert capsys.readouterr().out.endswith("some.csv: 6 rows labelled\n")


def test_network_encoders_and_their_checkpoints(photos, refused):
    import timm

    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), "vit.pt")
    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), "other.pt")
    names = "timm:test_vit timm:test_resnet"
    random = f"cluster photos --encoder {names} --weights random {QUICK}"
    run(f"{random} --output random")
    made = json.loads(Path("random/model.json").read_text())
    assert [space["name"] for space in made["spaces"]] == names.split()
    run("assign random photos --output random.csv")
    assert read("random.csv") == read("random/assignments.csv")
    run(f"cluster photos --encoder timm:test_vit --checkpoint vit.pt {QUICK} --output own")
    run("assign own photos --output own.csv")
    shutil.copy("other.pt", "vit.pt")
    line = refused("assign own photos --output no.csv")
    assert "the weights of timm:test_vit are not those of the fit" in line
    os.remove("vit.pt")
    line = refused("assign own photos --output no.csv")
    assert "no weight file at" in line
    assert "own was made with it; pass --checkpoint FILE" in line
    line = refused("assign random photos --output no.csv --checkpoint other.pt")
    assert "the weights of timm:test_vit are not those of the fit" in line
    assert not Path("no.csv").exists()
    assert read("own.csv") == read("own/assignments.csv")


def test_new_rows_of_embeddings(files, refused):
    run(FILES)
    np.save("a2.npy", files[0][:5])
    np.save("b2.npy", files[1][:5])
    run("assign groups a2.npy b2.npy --output new.csv")
    assert read("new.csv") == read("groups/assignments.csv")[:5]
    assert list(read("new.csv")[0]) == ["row", "class", "confidence", "second"]
    np.save("one.npy", files[0][:1])
    np.save("also.npy", files[1][:1])
    run("assign groups one.npy also.npy --output one.csv")
    assert read("one.csv") == read("new.csv")[:1]


def test_names_of_classes_come_from_the_renamed_table(files, refused):
    run(FILES)
    Path("names.csv").write_text('file,class,name,mixed\nx,0,"cats, all",\ny,1,dogs,yes\nz,0,,\n')
    run("assign groups a.npy b.npy --output new.csv --names names.csv")
    rows = read("new.csv")
    assert list(rows[0]) == ["row", "class", "name", "confidence", "second"]
    wanted = {"0": "cats, all", "1": "dogs", "2": ""}
    assert all(row["name"] == wanted[row["class"]] for row in rows)
    Path("names.csv").write_text("class,names\n0,a\n")
    line = refused("assign groups a.npy b.npy --output no.csv --names names.csv")
    assert "must have the columns class and name" in line


BAD_ASSIGN = {
    "nowhere a.npy b.npy": "nowhere is no folder that `cluster` wrote: no model.json",
    "damaged a.npy b.npy": "damaged/model.json is damaged",
    "other a.npy b.npy": "other/model.json is damaged, or not by `cluster`",
    "groups a.npy b.npy --output folder": "folder is a folder, and a file is to be written",
    "groups a.npy": "groups was made of 2 spaces, but 1 given",
    "groups b.npy a.npy": "b.npy has 4 dimensions, but the fit had 6 there",
    "groups a.npy no.npy": "no file no.npy",
    "groups photos": "groups was made of files of embeddings",
    "groups a.npy b.npy --output y.npy": "y.npy already exists; pass --overwrite",
    "groups a.npy b.npy --names no.csv": "no file no.csv",
    "groups a.npy b.npy --checkpoint x.pt": "--checkpoint goes with a folder",
}


def test_bad_input_of_assign(files, refused):
    run(FILES)
    for name in ("damaged", "other", "folder", "photos"):
        Path(name).mkdir()
    Path("damaged/model.json").write_text("{")
    Path("other/model.json").write_text("{}")
    Image.new("RGB", (8, 8)).save("photos/a.png")
    before = files_below(".")
    for command, message in BAD_ASSIGN.items():
        output = "" if "--output" in command else " --output new.csv"
        line = refused(f"assign {command}{output}")
        assert line.startswith("hume-turtle assign: ")
        assert message in line
        assert files_below(".") == before


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("--classes 1", "--classes 1: at least 2 classes are needed"),
        ("--classes 40-2", "--classes 40-2: a range goes from the smaller number"),
        ("--classes a-b", "--classes 'a-b' must be a number, a range such as 2-40, or auto"),
        ("--classes 2-", "--classes '2-' must be a number"),
        ("--classes 2.5", "--classes '2.5' must be a number"),
        ("--classes 61", "61 classes are more than there are rows: 60"),
        ("--classes 2-61", "61 classes are more than there are rows: 60"),
        ("--classes 2-16", "60 rows are too few to compare up to 16 classes: 64 are needed; or"),
        ("--gamma x", "--gamma 'x' must be auto or a number >= 0"),
        ("--gamma nan", "--gamma 'nan' must be auto"),
        ("--seed -1", "--seed -1 must be at least 0"),
        ("--reliable 0", "--reliable 0.0 must be a share"),
        ("--reliable 1.5", "--reliable 1.5 must be a share"),
        ("--device nonsense", "device='nonsense' is not a device"),
        ("--encoder pixels", "--encoder and --checkpoint go with a folder of photographs"),
        ("--labels folders", "--labels folders goes with a folder of photographs"),
        ("--labels no.npy", "no file no.npy"),
        ("--labels short.npy", "short.npy has 9 labels, but there are 60 rows"),
        ("--output a.npy", "a.npy is a file, not a folder"),
        ("a.npy", "a.npy is given twice"),
        ("c.npy", "c.npy has 9 rows, but a.npy has 60"),
        ("nan.npy", "nan.npy has NaN or infinite values (1 of 60), the first in row 7"),
        ("flat.npy", "flat.npy: all 60 rows are the same"),
        ("--device cuda", "device='cuda': PyTorch finds no GPU here"),
        ("nowhere", "no file or folder nowhere"),
        ("cat.jpg", "cat.jpg is one image: give the folder of all of them"),
        ("folder", "folder is a folder: give one folder of photographs and nothing else"),
    ],
)
def test_bad_input_of_files(files, refused, command, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    Path("folder").mkdir()
    np.save("short.npy", files[2][:9])
    np.save("c.npy", files[0][:9])
    np.save("flat.npy", np.ones((60, 2)))
    np.save("nan.npy", np.where(np.arange(60)[:, None] == 7, np.nan, files[1][:, :1]))
    check_refused(refused, f"cluster a.npy b.npy {command}", message)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("empty", "empty: no images (suffixes read: .bmp"),
        ("one", "there is only one image to be grouped: at least 3 are needed"),
        ("two", "there is only 2 images"),
        ("five --encoder pixels", "5 rows are too few to compare up to 2 classes: 8 are needed"),
        ("photos photos", "photos is a folder: give one folder"),
        ("photos --encoder nonsense", "unknown encoder 'nonsense'"),
        ("photos --encoder pixels pixels", "--encoder pixels is given twice"),
        ("photos --encoder pixels --checkpoint a b", "2 checkpoints for 1 encoders"),
        ("photos --encoder timm:test_vit --checkpoint no.pt", "no weight file at no.pt"),
        ("photos --encoder pixels --output photos", "photos is the folder of photographs"),
        ("photos --encoder pixels --classes 19", "19 classes are more than there are images: 18"),
        ("loose --encoder pixels --labels folders", "blue/deeper/1.png"),
        ("photos --encoder pixels --labels short.csv", "short.csv has no class for blue/0.png"),
        ("photos --encoder pixels --labels wide.csv", "wide.csv must have one column"),
        ("copies --encoder pixels", "all 4 images are the same, so there are no classes"),
        ("copied --encoder pixels --classes 4", "more than there are images: 5, 3 different ones"),
        ("damaged --encoder pixels", "cannot read damaged/blue/0.png (UnidentifiedImageError: "
         "cannot identify image file): remove all 2 images that cannot be read"),
    ],
)  # fmt: skip
def test_bad_input_of_photographs(photos, refused, command, message):
    sources = sorted(photos.rglob("*.png"))
    for folder, count in (("empty", 0), ("one", 1), ("two", 2), ("copied", 3), ("five", 5)):
        Path(folder).mkdir()
        for i in range(count):
            shutil.copy(sources[i], f"{folder}/{i}.png")
    Path("copies").mkdir()
    for i in range(4):
        shutil.copy(sources[0], f"copies/{i}.png")
    for i in range(2):
        shutil.copy(sources[0], f"copied/again{i}.png")
    shutil.copytree("photos", "damaged")
    shutil.copytree("photos", "loose")
    shutil.copy(sources[0], "loose/zz.png")
    for name in ("blue/0", "red/0"):
        Path(f"damaged/{name}.png").write_bytes(b"no image")
    Path("short.csv").write_text("file,class\nx.png,1\n")
    Path("wide.csv").write_text("file,class,more\nx.png,1,2\n")
    if command.startswith("loose"):
        message = "--labels folders: zz.png is in no sub-folder"
    check_refused(refused, f"cluster {command}", message)


def check_refused(refused, command: str, message: str) -> None:
    before = sorted(map(str, Path().rglob("*")))
    line = refused(command)
    assert line.startswith("hume-turtle cluster: ")
    assert message in line
    assert sorted(map(str, Path().rglob("*"))) == before


def test_a_truncated_photograph_is_skipped_on_demand(photos, refused, capsys):
    for i in range(3):
        Image.effect_noise((64, 64), 90).convert("RGB").save(f"photos/{i}.jpg")
    whole = Path("photos/1.jpg").read_bytes()
    Path("photos/1.jpg").write_bytes(whole[: len(whole) // 2])
    Path("photos/2.jpg").unlink()
    Path("photos/0.jpg").unlink()
    assert "photos/1.jpg (OSError: image file is truncated" in refused(PHOTOS)
    np.save("y.npy", [9, *np.repeat([0, 1, 2], EACH)])  # of all images, in their order
    run(f"{PHOTOS} --unreadable skip --labels y.npy")
    (row,) = read("groups/skipped.csv")
    assert row["file"] == "1.jpg"
    assert row["error"].startswith("OSError: image file is truncated")
    assert len(read("groups/assignments.csv")) == 18
    shown = capsys.readouterr().out
    assert "1 image cannot be read (1.jpg first)." in shown.splitlines()
    assert "cluster accuracy by y.npy: 100.0%" in shown
    run("assign groups photos --output new.csv --unreadable skip")
    assert capsys.readouterr().out.startswith("1 image cannot be read (1.jpg first).\n")


def test_photographs_that_are_not_read_are_named(photos, capsys):
    Path("photos/red/x.HEIC").touch()
    Path("photos/y.dng").touch()
    run(PHOTOS)
    line = "Left out: 2 of kinds not read, .dng .heic (red/x.HEIC first)."
    assert line in capsys.readouterr().out.splitlines()
    run("assign groups photos --output new.csv")
    assert line in capsys.readouterr().out.splitlines()


def test_copies_are_counted(photos, capsys):
    shutil.copy("photos/red/0.png", "photos/red/zero.png")
    run(PHOTOS)
    line = "Exact copies of others: 1 of 19 images (red/zero.png first)."
    assert line in capsys.readouterr().out.splitlines()
    assert line in Path("groups/report.html").read_text(encoding="utf-8")


def test_results_within_the_photographs_are_not_photographs(photos, monkeypatch):
    monkeypatch.chdir("photos")
    for overwrite in ("", "--overwrite"):
        run(f"cluster . --encoder pixels {QUICK} {overwrite}")
        assert len(read("groups/assignments.csv")) == 18
    run(f"cluster . --encoder pixels {QUICK} --output again")
    run("assign again . --output new.csv")
    assert len(read("again/assignments.csv")) == len(read("new.csv")) == 18


STRANGE = [
    b"a,b.png",
    b'c"d".png',
    b"e\nf.png",
    b"g\rh.png",
    b"<i>&amp;.png",
    b"\xffj.png",
    b"NA.png",
]


def test_strange_names_of_files_survive(photos, capsys):
    for name, source in zip(STRANGE, sorted(photos.rglob("*.png"))):
        shutil.copy(source, os.path.join(b"photos", name))
    run(f"{PHOTOS} --reliable 1")
    for table in ("assignments", "pseudo-labels"):
        found = {os.fsencode(row["file"]) for row in read(f"groups/{table}.csv")}
        assert {*STRANGE} <= found
        assert len(found) == 18 + len(STRANGE)
    assert b"<i>" not in Path("groups/report.html").read_bytes()
    run("assign groups photos --output new.csv")
    assert read("new.csv") == read("groups/assignments.csv")


def test_without_a_network_one_line_says_what_to_fetch(photos, refused, monkeypatch, capsys):
    from urllib.error import URLError

    def urlopen(*arguments, **options):
        raise URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    monkeypatch.setattr("hume_turtle.encoders.footprint.cached_weights", lambda name: None)
    assert main(["cluster", "photos", "--encoder", "timm:test_vit.r160_in1k"]) == 2
    shown = capsys.readouterr()
    assert shown.out.startswith("timm:test_vit.r160_in1k: downloading 0.00 GB\n")
    (line,) = shown.err.splitlines()
    assert "cannot fetch the weights of timm:test_vit.r160_in1k (Name or service not known)" in line
    assert "fetch https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/model.saf" in line
    assert "--checkpoint" in line
    assert not Path("groups").exists()


def test_numbers_of_classes():
    assert [classes_of(text) for text in ("auto", "12", "2-40")] == [None, 12, range(2, 41)]

"""`kmeans`, `probe` and `zero-shot`: labels from files, as the library finds them."""

from pathlib import Path

import numpy as np
import pytest

from hume_turtle.cli import main
from hume_turtle.commands import baselines
from hume_turtle.commands.baselines import grid_of
from hume_turtle.encoders import registry
from hume_turtle.estimators.kmeans import KMeansBaseline
from hume_turtle.evaluation.linear_probe import LinearProbe

KMEANS = "kmeans a.npy b.npy --classes 3 --save out/labels.npy"
PROBE = "probe a.npy b.npy --labels y.npy --test a2.npy b2.npy --save out/labels.npy"
NAMED = "--encoder clip-rn50 --class-names names.txt --save out/labels.npy"


def run(command: str) -> np.ndarray:
    assert main(command.split()) == 0
    labels = np.load("out/labels.npy")
    assert labels.dtype == np.int64
    return labels


def test_kmeans(files, capsys, monkeypatch):
    labels = run(f"{KMEANS} --seed 42 --n-init 2")
    expected = KMeansBaseline(3, seed=42, n_init=2).fit(list(files[:2])).labels_
    np.testing.assert_array_equal(labels, expected)
    shown = capsys.readouterr().out
    assert shown == "out/labels.npy: 60 rows labelled; rows of each class: 20 20 20\n"
    seen = []

    class Watched(KMeansBaseline):
        def __init__(self, n_classes, **settings):
            seen.append(settings)
            super().__init__(n_classes)

    monkeypatch.setattr(baselines, "KMeansBaseline", Watched)
    run(f"{KMEANS} --overwrite --max-iter 1000 --device auto")
    assert seen == [{"max_iter": 1000, "device": "auto"}]


def test_probe(files, capsys):
    a, b, labels = files
    for name, space in (("a2", a), ("b2", b)):
        np.save(f"{name}.npy", space[::-1])
    found = run(f"{PROBE} --grid 0.1,1")
    expected = LinearProbe(grid=[0.1, 1]).fit([a, b], labels).predict([a[::-1], b[::-1]])
    np.testing.assert_array_equal(found, expected)
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("C = 0.1, held-out accuracy ")
    assert last.endswith("60 rows labelled; rows of each class: 20 20 20")
    assert [grid_of(text) for text in ("published", "quick")] == ["published", "quick"]


def test_zero_shot_by_given_text(files, capsys):
    centres = np.stack([files[1][files[2] == c].mean(0) for c in range(3)])
    np.save("text.npy", centres)
    np.testing.assert_array_equal(
        run("zero-shot b.npy --text text.npy --save out/labels.npy"), files[2]
    )
    assert capsys.readouterr().out.endswith("rows of each class: 20 20 20\n")


def test_zero_shot_by_names(files, monkeypatch):
    from hume_turtle.encoders.text import text_features
    from tests.helpers.shallow import shallow_encoder

    loaded = []
    monkeypatch.setattr(
        registry,
        "load_encoder",
        lambda name, **weights: loaded.append(weights) or shallow_encoder(name),
    )
    encoder = shallow_encoder("clip-rn50")
    rows = np.random.default_rng(0).normal(size=(40, encoder.dim)).astype(np.float32)
    np.save("images.npy", rows)
    Path("names.txt").write_text("dog\n\n cat \n", encoding="utf-8")
    for dataset in ("", "cifar10"):
        flag = f" --dataset {dataset} --overwrite" if dataset else ""
        labels = run(f"zero-shot images.npy {NAMED} --weights random --device cpu{flag}")
        text = text_features(encoder, dataset, ["dog", "cat"])
        np.testing.assert_array_equal(labels, (rows @ text.T).argmax(1))
    assert loaded == [{"checkpoint": None, "weights": "random"}] * 2


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (KMEANS.replace("b.npy", "y.npy"), "y.npy has 1 dimensions"),
        (KMEANS.replace("3", "1"), "n_classes is 1: need 2 to 60"),
        (KMEANS.replace("out/", ""), "labels.npy already exists; pass --overwrite"),
        (PROBE.replace("a2.npy b2.npy", "b.npy a.npy"), "space 0 has 4 dimensions, but the fit"),
        (PROBE.replace("a2.npy b2.npy", "a.npy"), "1 spaces given, but the fit used 2"),
        (
            PROBE.replace("y.npy", "a.npy").replace("2.npy", ".npy"),
            "a.npy has 2 dimensions, (60, 6), not one, (n,)",
        ),
        (PROBE.replace("a2.npy b2.npy", "a.npy b.npy --grid wide"), "--grid 'wide' must be"),
        (f"zero-shot b.npy {NAMED} --weights random", "b.npy has 4 columns, clip-rn50 makes 1024"),
        (f"zero-shot b.npy {NAMED} --dataset none", "no prompts for 'none'"),
        (f"zero-shot b.npy {NAMED}".replace("--class-names names.txt", ""), "needs --class-names"),
        ("zero-shot b.npy --text a.npy --save out/labels.npy", "(n, 6), got shape (60, 4)"),
    ],
)
def test_bad_input_ends_with_one_line(files, refused, command, message, monkeypatch):
    from tests.helpers.shallow import shallow_encoder

    monkeypatch.setattr(registry, "load_encoder", lambda name, **_: shallow_encoder(name))
    Path("names.txt").write_text("dog\ncat\n")
    Path("labels.npy").write_text("")
    line = refused(command)
    assert line.startswith(f"hume-turtle {command.split()[0]}: ")
    assert message in line
    assert not Path("out").exists()

"""The notebooks of the paper-scale suites on small made-up suites: whole, in part, and empty.

And that of one's own images on a few of them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from hume_turtle import Hume
from hume_turtle.commands import assign
from hume_turtle.estimators import turtle_fast
from hume_turtle.pipeline.suite import Suite
from hume_turtle.reporting import publish
from hume_turtle.reporting.tables import COLUMNS, available_scores
from hume_turtle.storage.embeddings import save_embedding, save_labels
from hume_turtle.storage.names import SPLITS
from tests.helpers.notebooks import run_cells_in_process

ROOT = Path(__file__).parents[2]
ARTEFACTS = {
    "13_turtle_tables": {
        "turtle-benchmark",
        "turtle-vs-zeroshot",
        "turtle-architectures",
        "turtle-vs-baselines",
        "turtle-vs-probe",
        "scoreboard",
    },
    "14_hume_tables": {
        "hume-vs-supervised",
        "hume-vs-unsupervised",
        "hume-imagenet",
        "hume-aggregation",
        "hume-reliable",
        "scoreboard",
    },
}
METRICS = ("cluster_accuracy", "mean_per_class_accuracy", "ari", "nmi")
TURTLE_SPACES = {
    "k-means": ("clip-vit-b-32", "clip-vit-l-14", "clip-vit-l-14+dinov2-vit-g-14"),
    "zero-shot": ("clip-vit-b-32", "clip-vit-l-14"),
}
for _method in ("turtle", "linear-probe"):
    TURTLE_SPACES[_method] = (*TURTLE_SPACES["k-means"], "dinov2-vit-g-14")
HUME_SPACES = {"hume": ("moco+dino",), "k-means": ("moco", "dino"), "linear-probe": ("moco",)}
REGIMES = {"inductive": {"split": "train"}, "transductive": {"split": "all"}}
UNATTEMPTED = {*ARTEFACTS["13_turtle_tables"]} - {"scoreboard"}


@pytest.fixture(autouse=True)
def undrawn_figures(monkeypatch):
    """Figures are made but not drawn, for time: test_figures_transfer.py draws them."""

    def save(figure, folder, name):
        Path(folder).mkdir(exist_ok=True)
        for kind in (".png", ".svg"):
            Path(folder, name + kind).touch()

    monkeypatch.setattr(publish, "save_figure", save)


def made_up_suite(folder: Path, datasets, combinations, **fit) -> Suite:
    """A suite with no scores yet."""
    params = {"suite": "small", "root": ".", "datasets": list(datasets), "notebooks": []}
    params["fit"] = {"split": "all", "seeds": [0, 1], "hume": {}, "turtle": {}, **fit}
    single = {name for names in combinations.values() for name in names if "+" not in name}
    params["embed"] = {"spaces": sorted(single)}
    folder.mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copytree(ROOT / "data" / "reported", folder / "data" / "reported")
    return Suite.open(folder)


def save_scores(suite: Suite, dataset: str, combinations, splits=("train", "test")) -> None:
    """Made-up scores of every method in its space combinations, two seeds.

    Transductive methods have scores of train and test together, too.
    """
    rng, rows = np.random.default_rng(len(dataset)), []
    for method, spaces_of_method in combinations.items():
        for spaces in spaces_of_method:
            for seed in (0, 1):
                for split in (*splits, *(["all"] if "transductive" in method else [])):
                    rows += [
                        (dataset, method, spaces, split, seed, metric, rng.uniform(0.3, 0.95))
                        for metric in METRICS
                    ]
    path = suite.data / "scores" / f"{dataset}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)


def save_hume_fits(suite: Suite, dataset: str, blobs, n_runs: int, labels=SPLITS) -> None:
    """Embeddings and true labels of 60 rows, a third of them the test split; two seeds' fits."""
    spaces, planted = blobs(60, 3, (6, 5))
    for split, rows in (("train", slice(40)), ("test", slice(40, 60))):
        if split in labels:
            save_labels(suite.data / "labels", dataset, split, planted[rows])
        for name, space in zip(("moco", "dino"), spaces, strict=True):
            encoder = SimpleNamespace(name=name, settings={})
            save_embedding(suite.data / "embeddings", dataset, split, space[rows], encoder)
    settings = {"outer_steps": 2, "inner_steps": 2, "n_subsets": 1, "subset_size": 30}
    for key in (key for key in suite.methods if key.startswith("hume")):
        rows = suite.spaces(dataset, "moco+dino", suite.methods[key].split)
        for seed in (0, 1):
            fit = Hume(3, n_runs=n_runs, seed=seed, device="cpu", **settings).fit(rows)
            fit.save(suite.fit_path(dataset, key, ("moco", "dino"), seed))


def run(name: str, suite: Suite, missing: Iterable = (), no_figure: Iterable = ()) -> Path:
    """The folder of the artefacts, after looking that there are all of them and no others.

    But those that are `missing`, and without those figures that have nothing to show.
    """
    output = suite.folder / name
    parameters = {"suite_folder": str(suite.folder), "output": str(output)}
    run_cells_in_process(ROOT / "notebooks" / f"{name}.ipynb", parameters)
    made = ARTEFACTS[name] - {*missing}
    for kind in (".png", ".svg", ".csv", ".md"):
        here = made - {*no_figure} if kind in (".png", ".svg") else made
        assert {path.stem for path in output.glob(f"*{kind}")} == here
    return output


@pytest.mark.parametrize("name", ARTEFACTS)
def test_sources_are_stored_without_outputs_and_with_short_cells(name):
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    assert [cell["id"] for cell in cells] == [f"cell-{i + 1}" for i in range(len(cells))]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    bodies = [cell for cell in code if "import" not in "".join(cell["source"])]
    assert max(len(cell["source"]) for cell in bodies) <= 10


def test_transfer_with_all_its_scores(tmp_path):
    suite = made_up_suite(tmp_path / "s", ("cifar10", "pets", "mnist", "dtd"), TURTLE_SPACES)
    for dataset in suite.datasets:
        save_scores(suite, dataset, TURTLE_SPACES)
    output = run("13_turtle_tables", suite)

    scores = suite.scores().query("split == 'test' and metric == 'cluster_accuracy'")
    means = 100 * scores.groupby(["method", "spaces", "dataset"])["value"].mean()
    pair = "clip-vit-l-14+dinov2-vit-g-14"
    benchmark = pd.read_csv(output / "turtle-benchmark.csv")
    row = benchmark.query("dataset == 'pets' and metric == 'cluster_accuracy' and spaces == @pair")
    row = row.set_index("method").loc["turtle"]
    assert row["reported"] == 92.3
    assert row["mean"] == pytest.approx(means["turtle", pair, "pets"], abs=0.006)
    assert row["difference"] == pytest.approx(row["mean"] - 92.3, abs=0.011)

    versus = pd.read_csv(output / "turtle-vs-zeroshot.csv")
    assert versus.groupby("turtle").size().to_dict() == {"one space": 4, "two spaces": 4}
    first = versus.set_index(["turtle", "dataset"]).loc[("two spaces", "dtd")]
    expected = means["turtle", pair, "dtd"] - means["zero-shot", "clip-vit-l-14", "dtd"]
    assert first["difference"] == pytest.approx(expected, abs=0.006)

    sizes = pd.read_csv(output / "turtle-architectures.csv")
    assert sizes["encoder"].unique().tolist() == ["clip-vit-b-32", "clip-vit-l-14"]
    assert set(sizes["method"]) == {"zero-shot", "turtle", "turtle + dinov2-vit-g-14"}
    assert set(sizes["datasets"]) == {4}


def test_transfer_shows_what_is_missing_as_missing(tmp_path):
    suite = made_up_suite(tmp_path / "s", ("folders", "pets"), TURTLE_SPACES)
    combinations = {
        "turtle": ("a", "b", "a+b"),
        "k-means": ("a",),
    }  # no text, no probe
    save_scores(suite, "folders", combinations)  # pets not run
    missing = {"turtle-vs-zeroshot", "turtle-architectures", "turtle-vs-probe"}
    output = run("13_turtle_tables", suite, missing, {"scoreboard"})
    lines = (output / "turtle-benchmark.md").read_text().splitlines()
    pets = next(line for line in lines if line.startswith("| ACC") and "| pets " in line)
    assert [cell.strip() for cell in pets.split("|") if "9" in cell] == ["92.3"]
    assert pets.count("–") >= 6


def test_transfer_sets_cold_warm_and_selected_side_by_side(tmp_path, monkeypatch):
    pair = "clip-vit-l-14+dinov2-vit-g-14"
    combinations = {f"turtle-{name}": (pair,) for name in ("cold", "warm", "selected")}
    combinations |= {"k-means": (pair,)}
    suite = made_up_suite(tmp_path / "s", ("pets",), TURTLE_SPACES)
    save_scores(suite, "pets", combinations)
    shown = []
    monkeypatch.setattr("tests.helpers.notebooks.display", shown.append)
    missing = {"turtle-vs-zeroshot", "turtle-architectures", "turtle-vs-probe"}
    output = run("13_turtle_tables", suite, missing)
    (beside,) = [table for table in shown if "TURTLE, cold start" in table]
    names = ["TURTLE, cold start", "TURTLE, warm start", "TURTLE, selected"]
    assert beside.columns.tolist() == ["dataset", *names, "reported", "difference"]
    assert beside.set_index("dataset").loc["pets", "reported"] == "92.3"

    table = pd.read_csv(output / "turtle-benchmark.csv").query("metric == 'cluster_accuracy'")
    rows = table[table["dataset"] == "pets"].set_index("method")
    assert set(rows.index) == {*combinations}
    markdown = (output / "turtle-benchmark.md").read_text()
    assert markdown.endswith("\nTURTLE stands for: TURTLE, selected.\n")
    versus = pd.read_csv(output / "turtle-vs-baselines.csv")
    assert versus["turtle"].item() == pytest.approx(rows.loc["turtle-selected", "mean"], abs=0.006)
    board = pd.read_csv(output / "scoreboard.csv")
    assert board.loc[board["dataset"] == "pets", "ours_by"].tolist() == [
        "turtle-cold",
        "turtle-selected",
        "turtle-warm",
    ]


def test_transfer_of_test_images_alone_has_no_probe_and_attempts_no_number(tmp_path):
    """As the suite laptop: one encoder with text, another without, no training images."""
    clip, other = "clip-vit-b-32", "dinov2-vit-s-14"
    spaces = (clip, other, f"{clip}+{other}")
    combinations = {"turtle-cold": spaces, "turtle-warm": spaces, "k-means": spaces}
    combinations |= {"zero-shot": (clip,)}
    suite = made_up_suite(tmp_path / "s", ("pets", "dtd"), combinations)
    for dataset in suite.datasets:
        save_scores(suite, dataset, combinations, splits=("test",))
    output = run("13_turtle_tables", suite, {"turtle-vs-probe"}, {"scoreboard"})
    benchmark = pd.read_csv(output / "turtle-benchmark.csv")
    assert set(benchmark["dataset"]) == {"pets", "dtd", "mean"}  # none that is only reported
    assert benchmark["reported"].isna().all()
    sizes = pd.read_csv(output / "turtle-architectures.csv")
    assert set(sizes["method"]) == {"zero-shot", "turtle", f"turtle + {other}"}


def test_transfer_without_scores_in_other_spaces_shows_nothing(tmp_path):
    suite = made_up_suite(tmp_path / "s", ("pets",), {"turtle": ("a", "b")})
    run("13_turtle_tables", suite, UNATTEMPTED, {"scoreboard"})


@pytest.mark.parametrize("name", ARTEFACTS)
def test_a_suite_without_scores_shows_the_reported_numbers(name, tmp_path):
    suite = made_up_suite(tmp_path / "s", ("pets", "stl10"), TURTLE_SPACES)
    if name == "13_turtle_tables":
        missing = UNATTEMPTED - {"turtle-benchmark"}
        output = run(name, suite, missing, {"scoreboard", "turtle-benchmark"})
    else:
        output = run(name, suite, (), {"scoreboard"})
    board = pd.read_csv(output / "scoreboard.csv")
    assert set(board["status"]) == {"not run"}
    if name == "13_turtle_tables":
        assert "mean of 26 " in (output / "turtle-benchmark.md").read_text()
    else:
        table = pd.read_csv(output / "hume-vs-supervised.csv")
        assert len(table) == 24
        assert table["reported"].notna().all()
        assert table["mean"].isna().all()
        assert "| stl10     | –" in (output / "hume-aggregation.md").read_text()


def test_hume_with_several_runs(tmp_path, blobs, one_thread):
    hume = {"phi1": "moco", "phi2": ["dino"]}
    datasets = ("stl10", "imagenet", "cifar10")
    suite = made_up_suite(tmp_path / "s", datasets, HUME_SPACES, hume=hume)
    for dataset in ("stl10", "imagenet"):
        save_scores(suite, dataset, HUME_SPACES)
    save_hume_fits(suite, "stl10", blobs, n_runs=3)
    output = run("14_hume_tables", suite)

    supervised = pd.read_csv(output / "hume-vs-supervised.csv")
    assert "imagenet" not in set(supervised["dataset"])
    run_rows = supervised[supervised["mean"].notna() & (supervised["metric"] == "ari")]
    assert set(zip(run_rows["method"], run_rows["spaces"])) == {
        ("hume", "moco+dino"),
        ("linear-probe", "moco"),
    }
    unsupervised = pd.read_csv(output / "hume-vs-unsupervised.csv")
    assert {"scan", "spice", "k-means", "hume"} == set(unsupervised["method"])
    assert unsupervised[unsupervised["method"] == "scan"]["mean"].isna().all()
    imagenet = pd.read_csv(output / "hume-imagenet.csv").set_index(["method", "metric"])
    assert imagenet.loc[("hume", "cluster_accuracy"), "mean"].notna().any()

    curve = pd.read_csv(output / "hume-aggregation.csv")
    fit = suite.fits("stl10", "hume")["moco+dino"][0]
    assert set(curve["runs"]) == {1, 2, 3}
    assert len(curve[curve["runs"] == 1]) == fit.n_runs
    reliable = pd.read_csv(output / "hume-reliable.csv")
    assert set(reliable["seeds"]) == {2}
    assert "| cifar10   | –" in (output / "hume-reliable.md").read_text()


def test_hume_in_both_regimes_with_both_votes(tmp_path, blobs, one_thread, capsys):
    hume = {"phi1": "moco", "phi2": ["dino"], "variants": REGIMES}
    keys = [f"hume-{regime}{vote}" for regime in REGIMES for vote in ("", "-rematched")]
    combinations = {**dict.fromkeys(keys, ("moco+dino",)), "linear-probe": ("moco",)}
    suite = made_up_suite(tmp_path / "s", ("stl10", "imagenet"), HUME_SPACES, hume=hume)
    save_scores(suite, "stl10", combinations)
    save_hume_fits(suite, "stl10", blobs, n_runs=3)
    save_hume_fits(suite, "imagenet", blobs, n_runs=3, labels=["test"])
    output = run("14_hume_tables", suite)

    supervised = pd.read_csv(output / "hume-vs-supervised.csv")
    rows = supervised.query("dataset == 'stl10' and spaces == 'moco+dino' and metric == 'ari'")
    assert rows["method"].tolist() == sorted(keys)
    assert set(rows["reported"]) == {86.0}
    markdown = (output / "hume-vs-supervised.md").read_text()
    assert markdown.count(" 93.2 ") == 1  # though four rows are compared with it
    values = available_scores(suite).query("metric == 'ari' and method == 'hume-transductive'")
    means = 100 * values.groupby("split")["value"].mean()
    row = rows[rows["method"] == "hume-transductive"]
    assert row["mean"].item() == pytest.approx(means["all"], abs=0.006)

    curve = pd.read_csv(output / "hume-aggregation.csv")
    assert set(zip(curve["dataset"], curve["method"])) == {
        ("stl10", "hume-inductive"),
        ("stl10", "hume-transductive"),
    }
    said = "imagenet, HUME, inductive: skipped, no true labels of the images searched on"
    assert said in capsys.readouterr().out
    reliable = pd.read_csv(output / "hume-reliable.csv")
    assert set(reliable["dataset"]) == {"stl10", "imagenet"}
    board = pd.read_csv(output / "scoreboard.csv").query("ours_by == 'hume-transductive'")
    assert set(board["split"]) == {"all"}
    assert len(board) == 4  # ACC and ARI, each beside both rows of the slides


def test_hume_with_single_runs_has_no_vote(tmp_path, blobs, one_thread):
    hume = {"phi1": "moco", "phi2": ["dino"]}
    suite = made_up_suite(tmp_path / "s", ("stl10",), HUME_SPACES, hume=hume)
    save_hume_fits(suite, "stl10", blobs, n_runs=1)
    output = run("14_hume_tables", suite, (), {"scoreboard"})
    assert not len(pd.read_csv(output / "hume-aggregation.csv"))
    assert len(pd.read_csv(output / "hume-reliable.csv"))


def test_own_images_become_groups_and_a_sheet(tmp_path, monkeypatch, one_thread):
    for name, value in {"SCREENING": 20, "OUTER_STEPS": 40}.items():
        monkeypatch.setattr(turtle_fast, name, value)
    monkeypatch.setattr(assign, "keep_freed_memory", lambda: None)  # else for all later tests
    monkeypatch.chdir(tmp_path)
    photos, random = tmp_path / "photos", np.random.default_rng(0)
    photos.mkdir()
    for i in range(40):
        colour = [(30, 60, 220), (20, 200, 40)][i % 2]
        pixels = np.clip(colour + random.normal(0, 12, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(photos / f"{i:02}.png")
    parameters = {"photographs": "photos", "new_photographs": str(photos), "encoder": "pixels"}
    parameters |= {"classes": "2-4", "output": str(tmp_path / "made"), "suite_folder": str(ROOT)}
    names = run_cells_in_process(ROOT / "notebooks" / "12_your_own_images.ipynb", parameters)
    curve = "number-of-classes-own-images"
    made = {path.name for path in (tmp_path / "made").iterdir()}
    tables = {
        f"{name}.{kind}" for name in ("number-of-classes", "class-sizes") for kind in ("csv", "md")
    }
    assert made == {"contact-sheet.png", f"{curve}.png", f"{curve}.svg", *tables}
    assert names["curve"]["n_classes"].tolist() == [2, 3, 4]
    assert names["later"].equals(names["assignments"])
    assert (tmp_path / "groups" / "report.html").exists()

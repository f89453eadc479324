import json
from pathlib import Path

import pandas as pd
import pytest

from hume_turtle.reporting.scoreboard import (
    attempted,
    fits_made,
    reported,
    scoreboard,
    scoreboard_overview,
)
from hume_turtle.storage.names import slug

FOLDER = Path(__file__).parents[2] / "data" / "reported"


def scores(*rows):
    columns = ["dataset", "method", "spaces", "seed", "split", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


def test_slug_writes_reported_names_as_the_encoders_are_named():
    assert slug("CLIP ViT-L/14") == "clip-vit-l-14"
    assert slug("DINOv2 ViT-g/14") == "dinov2-vit-g-14"
    assert slug("MoCo") == "moco"


def test_reported_has_the_papers_numbers():
    table = reported(FOLDER)
    turtle = table[(table["artefact"] == "turtle-benchmark") & (table["metric"] == "accuracy")]
    assert len(turtle) == 26
    assert turtle["reported"].mean() == pytest.approx(67.55, abs=0.005)
    hume = table[(table["method"] == "HUME") & (table["dataset"] == "imagenet")]
    assert hume["spaces"].unique().tolist() == ["MoCo + DINO"]
    probe = table[table["method"] == "supervised linear probe"]
    assert probe["spaces"].unique().tolist() == ["MoCo"]


def test_attempted_numbers_are_those_in_the_spaces_of_a_suite():
    numbers = reported(FOLDER)
    pair = attempted(numbers, ["clip-vit-l-14", "dinov2-vit-g-14", "moco"])
    assert set(pair["spaces"]) == {"CLIP ViT-L/14 + DINOv2 ViT-g/14", "MoCo"}
    nothing = attempted(numbers, ["clip-vit-b-32", "dinov2-vit-s-14"])
    assert nothing.empty
    assert nothing.columns.equals(numbers.columns)


def test_scoreboard_compares_the_mean_over_seeds_on_the_test_split(tmp_path):
    pair = "clip-vit-l-14+dinov2-vit-g-14"
    board = scoreboard(
        FOLDER,
        scores(
            ("cifar10", "turtle", pair, 0, "test", "cluster_accuracy", 0.98),
            ("cifar10", "turtle", pair, 1, "test", "cluster_accuracy", 0.992),
            ("cifar10", "turtle", pair, 0, "train", "cluster_accuracy", 0.10),
            ("pets", "turtle", pair, 0, "test", "cluster_accuracy", 0.90),
            ("stl10", "linear-probe", "moco", 0, "test", "cluster_accuracy", 0.95),
        ),
        tmp_path,
    )

    def row(method, dataset):
        chosen = (board["method"] == method) & (board["dataset"] == dataset)
        (found,) = board[chosen & (board["metric"] == "accuracy")].to_dict("records")
        return found

    cifar = row("TURTLE", "cifar10")
    assert cifar["ours"] == pytest.approx(98.6)  # reported 99.5, tolerance 1.0
    assert cifar["difference"] == pytest.approx(-0.9)
    assert cifar["status"] == "met"
    assert row("TURTLE", "pets")["status"] == "missed"  # reported 92.3
    assert row("supervised linear probe", "stl10")["status"] == "met"  # better counts
    assert (board["status"] == "not run").sum() == len(board) - 3


def test_without_scores_every_number_is_not_run(tmp_path):
    board = scoreboard(FOLDER, scores(), tmp_path / "none")
    assert len(board) == len(reported(FOLDER))
    assert set(board["status"]) == {"not run"}
    assert board[["ours_by", "split", "ours", "date", "hardware"]].isna().all(axis=None)
    assert board["tolerance"].notna().all()


def test_every_variant_answers_a_number_in_its_own_way(tmp_path):
    rows = [
        ("stl10", f"hume-{regime}{vote}", "moco+dino", 0, split, "cluster_accuracy", value)
        for regime, split, value in (
            ("inductive", "test", 0.93),
            ("transductive", "test", 0.1),
            ("transductive", "all", 0.9),
        )
        for vote in ("", "-rematched")
    ]
    for regime, day in (("inductive", 1), ("transductive", 2)):
        folder = tmp_path / "stl10" / f"hume-{regime}" / "moco+dino"
        folder.mkdir(parents=True)
        made = {"date": f"2026-11-0{day}", "hardware": "a GPU"}
        (folder / "made.json").write_text(json.dumps(made))
    assert len(fits_made(tmp_path)) == 2

    board = scoreboard(FOLDER, scores(*rows), tmp_path)
    run = board[board["status"] != "not run"]
    assert len(run) == 8  # both rows of the slides, each beside both regimes and both votes
    first = run[run["artefact"] == "hume-vs-supervised"].set_index("ours_by")  # reported 93.2
    assert first["ours"].to_dict() == pytest.approx(
        {
            "hume-inductive": 93,
            "hume-inductive-rematched": 93,
            "hume-transductive": 90,
            "hume-transductive-rematched": 90,
        }
    )
    assert first["status"].tolist() == ["met", "met", "missed", "missed"]
    assert first["split"].tolist() == ["test", "test", "all", "all"]
    assert first["date"].tolist() == ["2026-11-01"] * 2 + ["2026-11-02"] * 2
    second = run[run["artefact"] == "hume-vs-unsupervised"]  # reported 90.8
    assert set(second["status"]) == {"met"}
    shown = scoreboard_overview(board)
    assert "HUME, inductive, re-matched" in set(shown["ours by"])

from pathlib import Path

import pandas as pd
import pytest

from hume_turtle.reporting.scoreboard import reported, scoreboard
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


def test_scoreboard_compares_the_mean_over_seeds_on_the_test_split():
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


def test_without_scores_every_number_is_not_run():
    board = scoreboard(FOLDER, scores())
    assert set(board["status"]) == {"not run"}
    assert board["ours"].isna().all()

"""Views of a hand-made long table of scores."""

import pandas as pd
import pytest

from hume_turtle.tables import benchmark_table, overview, vs_baselines_table

PAIR = "clip-vit-l-14+dinov2-vit-g-14"
COLUMNS = ["dataset", "method", "spaces", "seed", "split", "metric", "value"]
SCORES = pd.DataFrame(
    [
        ("cifar10", "turtle", PAIR, 0, "test", "cluster_accuracy", 0.98),
        ("cifar10", "turtle", PAIR, 1, "test", "cluster_accuracy", 0.99),
        ("cifar10", "turtle", PAIR, 0, "train", "cluster_accuracy", 0.10),
        ("pets", "turtle", PAIR, 0, "test", "cluster_accuracy", 0.90),
        ("pets", "k-means", PAIR, 0, "test", "cluster_accuracy", 0.70),
        ("pets", "turtle", PAIR, 0, "test", "ari", 0.80),
    ],
    columns=COLUMNS,
)
NUMBERS = pd.DataFrame(
    [("TURTLE", "CLIP ViT-L/14 + DINOv2 ViT-g/14", "cifar10", "accuracy", 99.5)],
    columns=["method", "spaces", "dataset", "metric", "reported"],
)


def test_benchmark_shows_reported_ours_and_the_difference():
    table = benchmark_table(SCORES, NUMBERS)
    key = ["dataset", "method", "metric"]
    rows = table.set_index(key).sort_index()
    cifar = rows.loc[("cifar10", "turtle", "cluster_accuracy")]
    assert cifar["mean"] == pytest.approx(98.5)  # of the test split alone
    assert cifar["deviation"] == pytest.approx(0.7071, abs=1e-4)
    assert cifar["reported"] == 99.5
    assert cifar["difference"] == pytest.approx(-1.0)
    pets = rows.loc[("pets", "turtle", "cluster_accuracy")]
    assert pd.isna(pets["reported"])
    assert pd.isna(pets["difference"])
    assert pd.isna(pets["deviation"])  # one seed


def test_the_mean_is_over_all_datasets_or_missing():
    table = benchmark_table(SCORES, NUMBERS)
    means = table[table["dataset"] == "mean"]
    assert means["method"].tolist() == ["turtle"]  # k-means lacks cifar10, ARI lacks it too
    assert means["mean"].item() == pytest.approx((98.5 + 90.0) / 2)


def test_overview_has_a_column_a_dataset_and_dashes_for_what_is_missing():
    shown = overview(benchmark_table(SCORES, NUMBERS))
    assert shown.columns.tolist() == ["method", "spaces", "cifar10", "pets", "mean"]
    assert shown["method"].tolist() == ["turtle", "k-means"]
    assert shown.loc[0, "cifar10"] == "98.5 ± 0.7 (reported 99.5)"
    assert shown.loc[1].tolist()[2:] == ["–", "70.0", "–"]


def test_overview_without_a_single_complete_method_has_an_empty_mean():
    partial = SCORES[SCORES["method"] == "k-means"].assign(dataset="a")
    other = partial.assign(dataset="b", method="hume")
    shown = overview(benchmark_table(pd.concat([partial, other]), NUMBERS))
    assert (shown["mean"] == "–").all()


def test_vs_baselines_puts_seconds_beside_accuracy_where_measured():
    seconds = pd.DataFrame(
        [("pets", "turtle", PAIR, "seconds", 2.0), ("pets", "turtle", PAIR, "seconds", 4.0)],
        columns=["dataset", "method", "spaces", "metric", "value"],
    )
    table = vs_baselines_table(SCORES, seconds).set_index("dataset")
    assert table.loc["pets", "turtle"] == pytest.approx(90.0)
    assert table.loc["pets", "k-means"] == pytest.approx(70.0)
    assert table.loc["pets", "turtle seconds"] == pytest.approx(3.0)
    assert pd.isna(table.loc["cifar10", "turtle seconds"])
    assert pd.isna(table.loc["pets", "hume"])
    assert "turtle seconds" not in vs_baselines_table(SCORES, seconds[:0])

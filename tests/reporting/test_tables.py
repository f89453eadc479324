"""Views of a hand-made long table of scores."""

import pandas as pd
import pytest

from hume_turtle.pipeline.suite import Suite
from hume_turtle.reporting.tables import (
    aggregation_overview,
    available_fits,
    available_scores,
    baselines_overview,
    benchmark_table,
    comparison,
    curve_table,
    dataset_table,
    overview,
    reliability_overview,
    rising_spaces,
    vs_baselines_table,
)

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
    assert cifar["std"] == pytest.approx(0.7071, abs=1e-4)
    assert cifar["reported"] == 99.5
    assert cifar["difference"] == pytest.approx(-1.0)
    pets = rows.loc[("pets", "turtle", "cluster_accuracy")]
    assert pd.isna(pets["reported"])
    assert pd.isna(pets["difference"])
    assert pd.isna(pets["std"])  # one seed


def test_the_mean_is_over_all_datasets_or_missing():
    table = benchmark_table(SCORES, NUMBERS)
    means = table[table["dataset"] == "mean"]
    assert means["method"].tolist() == ["turtle"]  # neither k-means nor any ARI has cifar10
    assert means["mean"].item() == pytest.approx((98.5 + 90.0) / 2)


def test_overview_has_one_column_per_spaces_and_dashes_for_what_is_missing():
    other = SCORES[SCORES["method"] == "k-means"].assign(spaces="pixels")
    shown = overview(benchmark_table(pd.concat([SCORES, other]), NUMBERS))
    pair = PAIR.replace("+", " + ")
    assert shown.columns.tolist() == ["dataset", "method", "pixels", pair]
    assert shown["method"].tolist() == ["TURTLE", "TURTLE", "k-means"]
    assert shown.loc[0].tolist() == ["cifar10", "TURTLE", "–", "98.5 ± 0.7 (reported 99.5)"]
    assert shown.loc[2].tolist() == ["pets", "k-means", "70.0", "70.0"]


def test_spaces_rise_with_turtles_mean_and_single_ones_come_first():
    rows = [("turtle", "b", 0.5), ("turtle", "a", 0.7), ("turtle", "a+b", 0.1)]
    frame = pd.DataFrame([*rows, ("k-means", "b", 0.9)], columns=["method", "spaces", "mean"])
    assert rising_spaces(frame) == ["b", "a", "a+b"]
    assert rising_spaces(frame.assign(method="k-means")) == ["a", "b", "a+b"]  # b: 0.5 and 0.9


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


def test_unrun_adds_the_reported_numbers_that_have_no_score():
    numbers = pd.concat([NUMBERS, NUMBERS.assign(dataset="cars", reported=64.6)])
    table = benchmark_table(SCORES, numbers, unrun=True)
    assert len(table) == len(benchmark_table(SCORES, numbers)) + 1
    cars = table[table["dataset"] == "cars"].iloc[0]
    assert (cars["method"], cars["spaces"], cars["reported"]) == ("turtle", PAIR, 64.6)
    assert pd.isna(cars["mean"])
    assert pd.isna(cars["difference"])
    nothing = benchmark_table(SCORES[:0], numbers, unrun=True)
    assert sorted(nothing["dataset"]) == ["cars", "cifar10"]
    assert nothing["mean"].isna().all()
    assert benchmark_table(SCORES[:0], NUMBERS[:0], unrun=True).empty


def test_dataset_table_has_one_row_per_dataset_and_the_mean_of_those_run():
    numbers = pd.concat([NUMBERS, NUMBERS.assign(dataset="cars", reported=64.6)])
    table = benchmark_table(SCORES, numbers, unrun=True)
    columns = {"k": ("k-means", PAIR), "t": ("turtle", PAIR)}
    shown = dataset_table(table, columns, datasets=["pets", "mnist"]).set_index("dataset")
    assert shown.index.tolist() == ["pets", "mnist", "cars", "cifar10", "mean of 2"]
    assert shown.columns.tolist() == ["k", "t", "reported", "difference"]
    assert shown.loc["cifar10"].tolist() == ["–", "98.5 ± 0.7", "99.5", "−1.0"]
    assert shown.loc["pets"].tolist() == ["70.0", "90.0", "–", "–"]
    assert shown.loc["mnist"].tolist() == ["–"] * 4
    assert shown.loc["cars"].tolist() == ["–", "–", "64.6", "–"]
    # k-means was not run on cifar10, and no number is reported for pets.
    assert shown.loc["mean of 2"].tolist() == ["–", "94.2", "–", "–"]


def test_dataset_table_of_nothing_run_has_the_reported_mean():
    numbers = pd.concat([NUMBERS, NUMBERS.assign(dataset="cars", reported=64.5)])
    table = benchmark_table(SCORES[:0], numbers, unrun=True)
    last = dataset_table(table, {"t": ("turtle", PAIR)}).iloc[-1]
    assert last.tolist() == ["mean of 2", "–", "82.0", "–"]


def test_comparison_sets_ours_beside_reported():
    shown = comparison(benchmark_table(SCORES, NUMBERS)).set_index(["dataset", "method"])
    assert shown.loc[("cifar10", "TURTLE")].tolist() == [
        *(PAIR, "99.5", "98.5 ± 0.7", "−1.0"),
        *("–", "–", "–"),  # no ARI there
    ]
    assert shown.loc[("pets", "TURTLE"), "ARI ours"] == "80.0"
    assert "mean" not in shown.index.get_level_values("dataset")


def test_a_reported_number_is_compared_with_every_variant_and_shown_once():
    cold = SCORES[SCORES["method"] == "turtle"].replace({"method": {"turtle": "turtle-cold"}})
    warm = cold.assign(method="turtle-warm", value=cold["value"] - 0.01)
    table = benchmark_table(pd.concat([cold, warm]), NUMBERS, unrun=True)
    cifar = table[table["dataset"] == "cifar10"]
    assert cifar["method"].tolist() == ["turtle-cold", "turtle-warm"]  # and no row without ours
    assert cifar["difference"].tolist() == pytest.approx([-1, -2])
    shown = comparison(cifar)
    assert shown["ACC reported"].tolist() == ["99.5", "–"]
    assert shown["ACC difference"].tolist() == ["−1.0", "−2.0"]
    columns = {"cold": ("turtle-cold", PAIR), "warm": ("turtle-warm", PAIR)}
    assert dataset_table(cifar, columns).values.tolist() == [
        ["cifar10", "98.5 ± 0.7", "97.5 ± 0.7", "99.5", "−2.0"],
        ["mean of 1", "98.5", "97.5", "99.5", "−2.0"],
    ]


def test_baselines_overview_counts_datasets_that_both_were_run_on():
    shown = baselines_overview(vs_baselines_table(SCORES, SCORES[:0]))
    assert shown["spaces"].tolist() == [PAIR]
    assert shown["TURTLE − k-means"].tolist() == ["+20.0"]
    assert shown["ahead of k-means"].tolist() == ["1 of 1"]
    assert shown["TURTLE − HUME"].tolist() == ["–"]
    assert shown["ahead of HUME"].tolist() == ["–"]


def test_available_scores_and_fits_are_those_that_exist(tmp_path):
    params = {"suite": "s", "root": ".", "datasets": ["cifar10", "pets", "dtd"]}
    params["fit"] = {"split": "train", "seeds": [0], "hume": {}, "turtle": {}}
    suite = Suite(tmp_path, params)
    assert set(available_scores(suite)) == set(COLUMNS)
    assert available_scores(suite).empty
    assert available_fits(suite, "hume") == {}
    folder = tmp_path / "data" / "s" / "scores"
    folder.mkdir(parents=True)
    SCORES[SCORES["dataset"] == "pets"].to_csv(folder / "pets.csv", index=False)
    (folder / "dtd.csv").write_text("\n")  # of no method
    assert set(available_scores(suite)["dataset"]) == {"pets"}


def test_overviews_have_one_row_per_curve_and_dashes_for_datasets_without():
    single = [(1, draw, value, value, value) for draw, value in enumerate((0.8, 0.9))]
    rows = [*single, (2, 0, 0.85, 0.9, 1.0)]
    curve = pd.DataFrame(rows, columns=["runs", "draw", "single", "best", "vote"])
    curves = {("stl10", "hume", "moco+dino"): curve}
    assert set(curve_table(curves)["dataset"]) == {"stl10"}
    shown = aggregation_overview(curves, ["pets", "stl10"])
    assert shown.values.tolist() == [
        ["pets", *"–" * 8],
        ["stl10", "HUME", "moco+dino", "2", "85.0 ± 7.1", "80.0", "90.0", "90.0", "100.0"],
    ]
    sure = pd.DataFrame({"kept": [1, 2, 4], "mean": [1, 0.9, 0.8], "std": 0.0, "seeds": 2})
    curves = {("stl10", "hume-inductive", "moco+dino"): sure}
    assert curve_table(curves)["kept"].tolist() == [1, 2, 4]
    assert reliability_overview(curves, ["stl10", "dtd"]).values.tolist() == [
        ["stl10", "HUME, inductive", "moco+dino", "100.0 ± 0.0", *["80.0 ± 0.0"] * 5],
        ["dtd", *"–" * 8],
    ]
    assert curve_table({}).empty
    assert len(aggregation_overview({}, ["dtd"])) == 1

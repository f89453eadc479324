"""Which spaces are shown, TURTLE beside zero-shot transfer, and encoders by size."""

import numpy as np
import pandas as pd
import pytest

from hume_turtle.reporting.spaces import (
    architecture_overview,
    architecture_table,
    benchmark_columns,
    main_spaces,
    overview_of_spaces,
    paired,
    spaces_by_size,
    text_encoders,
    text_space,
)
from hume_turtle.reporting.tables import COLUMNS, benchmark_table

PAIR = "clip-vit-l-14+dinov2-vit-g-14"
PUBLISHED = ("TURTLE", "CLIP ViT-L/14 + DINOv2 ViT-g/14", "cars", "accuracy", 64.6)
NUMBERS = pd.DataFrame([PUBLISHED], columns=["method", "spaces", "dataset", "metric", "reported"])


def scores(*rows) -> pd.DataFrame:
    """The long table of (dataset, method, spaces, seed, cluster accuracy) on the test split."""
    long = [(d, m, s, "test", seed, "cluster_accuracy", value) for d, m, s, seed, value in rows]
    return pd.DataFrame(long, columns=COLUMNS)


def test_main_spaces_are_the_published_ones_if_run_or_if_nothing_was():
    others = [(d, "turtle", s, 0, 0.9) for d in ("a", "b") for s in ("p", "q", "p+q")]
    table = benchmark_table(scores(*others), NUMBERS, unrun=True)
    assert main_spaces(table) == "p+q"
    run = scores(*others, ("cars", "turtle", PAIR, 0, 0.1))
    assert main_spaces(benchmark_table(run, NUMBERS, unrun=True)) == PAIR
    assert main_spaces(benchmark_table(run[:0], NUMBERS, unrun=True)) == PAIR
    assert main_spaces(benchmark_table(run[:0], NUMBERS[:0], unrun=True)) == ""


def test_main_spaces_follow_what_was_run_not_how_well():
    rows = [
        ("a", "turtle", "p", 0, 0.1),
        ("b", "turtle", "p", 0, 0.1),
        ("a", "turtle", "q", 0, 1.0),
    ]
    assert main_spaces(benchmark_table(scores(*rows), NUMBERS)) == "p"


def test_encoders_with_text_are_in_the_order_of_their_size():
    rows = [("a", "turtle", s, 0, 0.5) for s in ("clip-vit-b-32", "clip-rn50x4", "dino", "a+b")]
    rows.append(("a", "zero-shot", "open_clip:x:y", 0, 0.5))
    table = benchmark_table(scores(*rows), NUMBERS)
    assert text_encoders(table) == ["clip-rn50x4", "clip-vit-b-32", "open_clip:x:y"]
    assert text_space(table, "dino+clip-rn50x4") == "clip-rn50x4"
    assert text_space(table, "dino") == "open_clip:x:y"
    assert text_space(table[:0], "p+q") == "p"


def test_benchmark_columns_are_the_combination_and_what_was_run_beside_it():
    rows = [
        ("a", "hume", "moco+dino", 0, 0.5),
        ("a", "zero-shot", "p", 0, 0.5),
        ("a", "zero-shot", "elsewhere", 0, 0.5),
    ]
    table = benchmark_table(scores(*rows), NUMBERS, unrun=True)
    assert list(benchmark_columns(table, "p+q").values()) == [
        ("k-means", "p+q"),
        ("hume", "moco+dino"),
        *(("turtle", spaces) for spaces in ("p", "q", PAIR, "p+q")),  # the published one, not run
        ("zero-shot", "p"),
        ("linear-probe", "p+q"),
    ]
    assert len(benchmark_columns(table, PAIR)) == 6


def test_spaces_by_size():
    rows = [("a", "turtle", s, 0, 0.5) for s in ("z", "p+q", "clip-vit-l-14", "clip-rn50", "q+r")]
    singles, pairs = spaces_by_size(benchmark_table(scores(*rows), NUMBERS, unrun=True))
    assert list(singles) == ["clip-rn50", "clip-vit-l-14", "z"]
    assert pairs == {"p + q": ("turtle", "p+q"), "q + r": ("turtle", "q+r")}


def test_paired_is_sorted_by_the_difference_with_missing_ones_last():
    rows = [
        *(("a", "turtle", "p", seed, value) for seed, value in enumerate((0.4, 0.6))),
        ("b", "turtle", "p", 0, 0.9),
        ("c", "turtle", "p", 0, 0.9),
        ("a", "zero-shot", "p", 0, 0.7),
        ("b", "zero-shot", "p", 0, 0.3),
    ]
    table = benchmark_table(scores(*rows), NUMBERS, unrun=True)
    both = paired(table, ("turtle", "p"), ("zero-shot", "p"))
    assert both["dataset"].tolist() == ["b", "a", "c"]
    np.testing.assert_allclose(both["difference"], [60, -20, np.nan])
    np.testing.assert_allclose(both["first"], [90, 50, 90])
    alone = paired(table, ("turtle", "p"), ("zero-shot", "q"))
    assert alone["difference"].isna().all()
    assert paired(table, ("hume", "p"), ("zero-shot", "q")).empty


def test_architectures_are_compared_on_the_datasets_that_all_were_run_on():
    rows = [
        (dataset, method, spaces, seed, value + seed / 10)
        for dataset, value in (("a", 0.2), ("b", 0.4), ("c", 0.8))
        for method, spaces in (
            ("turtle", "clip-rn50"),
            ("turtle", "dino+clip-rn50"),
            ("turtle", "clip-rn50+clip-vit-l-14"),  # two encoders with text: no second space
            ("turtle", "dino"),
            ("k-means", "clip-rn50"),
            ("zero-shot", "clip-rn50"),
            ("turtle", "clip-vit-l-14"),
        )
        for seed in ((0,) if method == "zero-shot" else (0, 1))
        if (dataset, spaces) != ("c", "clip-vit-l-14")
    ]
    table = architecture_table(scores(*rows))
    assert set(table["datasets"]) == {2}  # one encoder was not run on c
    rows = table.set_index(["encoder", "method"])
    assert rows.index.tolist() == [
        ("clip-rn50", "turtle"),
        ("clip-rn50", "turtle + dino"),
        ("clip-rn50", "zero-shot"),
        ("clip-vit-l-14", "turtle"),
    ]
    assert rows.loc[("clip-rn50", "turtle"), "mean"] == pytest.approx(35)
    assert rows.loc[("clip-rn50", "turtle"), "std"] == pytest.approx(10 / np.sqrt(2))
    assert rows.loc[("clip-rn50", "zero-shot"), "mean"] == pytest.approx(30)
    shown = architecture_overview(table).set_index("encoder")
    assert shown.loc["clip-vit-l-14"].tolist() == ["35.0 ± 7.1", "–", "–"]


def test_no_architecture_without_a_common_dataset():
    apart = scores(("a", "turtle", "clip-rn50", 0, 0.5), ("b", "zero-shot", "clip-rn50", 0, 0.5))
    assert architecture_table(apart).empty
    assert architecture_table(apart[:0]).empty
    assert architecture_overview(architecture_table(apart)).empty


def test_overview_of_spaces_has_means_only_of_what_was_run_everywhere():
    rows = [
        ("a", "turtle", "p", 0, 0.5),
        ("b", "turtle", "p", 0, 0.7),
        ("a", "k-means", "p", 0, 0.5),
    ]
    shown = overview_of_spaces(benchmark_table(scores(*rows), NUMBERS, unrun=True))
    assert shown.to_dict("list") == {"spaces": ["p"], "ACC TURTLE": ["60.0"]}

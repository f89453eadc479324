"""Which variant stands for a method, and on which rows each is scored."""

import pandas as pd

from hume_turtle.reporting.methods import evaluated, main_method, one_variant
from hume_turtle.reporting.tables import COLUMNS


def scores(*rows) -> pd.DataFrame:
    """The long table of (dataset, method, split)."""
    long = [(d, m, "a+b", split, 0, "ari", 0.5) for d, m, split in rows]
    return pd.DataFrame(long, columns=COLUMNS)


def of_methods(*methods) -> pd.DataFrame:
    return scores(*(("pets", method, "test") for method in methods))


def test_the_selected_variant_stands_for_turtle_then_the_warm_start():
    variants = ["turtle-selected", "turtle-warm", "turtle", "turtle-cold", "turtle-other"]
    for first in range(len(variants)):
        assert (
            main_method(of_methods(*variants[:first:-1], variants[first]), "turtle")
            == (variants[first])
        )
    regimes = ("hume-transductive", "hume-inductive-rematched", "hume-inductive")
    assert main_method(of_methods(*regimes), "hume") == "hume-inductive"
    assert main_method(of_methods("k-means"), "turtle") == "turtle"


def test_one_variant_is_left_under_the_name_of_its_method():
    run = ("turtle-cold", "k-means", "turtle-warm", "hume-inductive", "hume-transductive")
    assert one_variant(of_methods(*run))["method"].tolist() == ["k-means", "turtle", "hume"]
    assert one_variant(of_methods("turtle"))["method"].tolist() == ["turtle"]
    assert one_variant(of_methods()).empty


def test_a_transductive_method_is_scored_on_all_rows_where_they_have_labels():
    rows = [("pets", "hume-transductive", split) for split in ("train", "test", "all")]
    rows += [("pets", "hume-inductive", split) for split in ("train", "test")]
    rows += [("imagenet", "hume-transductive", "test")]  # no labels of its training rows
    found = evaluated(scores(*rows))
    assert found[["dataset", "method", "split"]].values.tolist() == [
        ["pets", "hume-transductive", "all"],
        ["pets", "hume-inductive", "test"],
        ["imagenet", "hume-transductive", "test"],
    ]
    assert evaluated(scores()).empty

"""Numbers of two runs: which columns are numbers, how rows pair, and what the tolerances are."""

from io import StringIO

import numpy as np
import pandas as pd
import pytest

from hume_turtle.pipeline.differences import FACTOR, FLOOR, SCORE, differences, mean_scores


def table(text: str) -> pd.DataFrame:
    return pd.read_csv(StringIO(text.replace(" ", "\n")), dtype=str, keep_default_na=False)


def sizes(*arguments) -> dict[str, float]:
    return differences("t", *arguments).set_index("name")["size"].to_dict()


def scores(of_datasets: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        (dataset, "turtle", "letters", "test", "cluster_accuracy", seed, value)
        for dataset, values in of_datasets.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=[*SCORE, "seed", "value"])


def test_the_tolerance_of_a_mean_is_of_two_means_over_as_many_seeds():
    means, spread = mean_scores(scores({"digits": [0.90, 0.92, 0.94], "other": [0.8, 0.8, 0.8]}))
    assert means["value"].tolist() == ["0.920000", "0.800000"]
    key = ("turtle", "letters", "test", "cluster_accuracy")
    assert spread["digits", *key] == pytest.approx((0.02, 3))
    assert spread["mean", *key] == pytest.approx((0.01, 3))
    found = sizes(means, means.assign(value=["0.93", "0.81"]), spread)
    digits, other = found.values()
    assert digits == pytest.approx(0.01 / (FACTOR * 0.02 * np.sqrt(2 / 3)))
    assert other == pytest.approx(0.01 / (FLOOR * 0.92))


def test_tables_in_percent_and_columns_named_after_methods_have_the_spread_of_their_scores():
    _, spread = mean_scores(scores({"digits": [0.90, 0.92, 0.94]}))
    committed = table("dataset,spaces,turtle,hume digits,letters,92.0,50.0")
    here = table("dataset,spaces,turtle,hume digits,letters,93.0,51.0")
    found = sizes(committed, here, spread)
    assert found["t: digits letters turtle"] == pytest.approx(1 / (FACTOR * 2 * np.sqrt(2 / 3)))
    assert found["t: digits letters hume"] == pytest.approx(1 / (FLOOR * 50))


def test_single_runs_have_the_spread_of_their_table_whatever_the_order_of_rows():
    head = "spaces,seed,outer_lr,accuracy "
    rows = "a,0,0.5,10.5 a,1,0.5,12.5 a,2,0.5,14.5 b,,0.1,50.5"  # b without a seed
    other = "b,,0.1,50.6 a,0,0.5,21.5 a,1,0.5,12.5 a,2,0.5,14.5"
    found = sizes(table(head + rows), table(head + other), {}, ["outer_lr"])
    assert found["t: a 0 0.5 accuracy"] == pytest.approx(11 / (FACTOR * 2 * np.sqrt(2)))
    assert found["t: b 0.1 accuracy"] == pytest.approx(0.1 / (FLOOR * 50.5))
    assert sorted(found.values())[:2] == [0, 0]


def test_a_space_whose_seeds_agree_has_the_spread_of_the_methods_other_spaces():
    both = scores({"digits": [0.9, 0.9]}), scores({"digits": [0.8, 0.9]}).assign(spaces="moco")
    _, spread = mean_scores(pd.concat(both))
    own = np.std([0.8, 0.9], ddof=1)
    pooled, n = spread["digits", "turtle", "letters", "test", "cluster_accuracy"]
    assert (pooled, n) == pytest.approx((own / np.sqrt(2), 2))
    assert spread["digits", "turtle", "moco", "test", "cluster_accuracy"] == pytest.approx((own, 2))


def test_a_table_of_single_fits_is_called_after_its_method():
    _, spread = mean_scores(scores({"digits": [0.90, 0.92, 0.94]}))
    committed = table("dataset,spaces,lr,cluster_accuracy digits,letters,0.1,0.925")
    here = table("dataset,spaces,lr,cluster_accuracy digits,letters,0.1,0.935")
    found = differences("turtle-selection", committed, here, spread, ["lr"])
    assert found["size"].tolist() == pytest.approx([0.01 / (FACTOR * 0.02 * np.sqrt(2))])


def test_what_is_missing_on_one_side_is_infinitely_far_and_on_both_no_number():
    committed = table("spaces,x,y a,0.5, b,0.5,0.5")
    here = table("spaces,x,y a,0.5, c,0.5,")
    found = sizes(committed, here, {})
    assert found == {"t: a x": 0, "t: b x": np.inf, "t: b y": np.inf, "t: c x": np.inf}
    assert set(sizes(committed, committed[:0], {}).values()) == {np.inf}  # a whole table
    renamed = committed.rename(columns={"spaces": "space", "x": "z"})
    assert set(sizes(committed, renamed, {}).values()) == {np.inf}


def test_measured_times_are_the_same_or_infinitely_far():
    committed = table("case,ratio,turtle_seconds a,1.5,0.5 b,2.5,0.25")
    here = table("case,ratio,turtle_seconds a,1.5,0.5 b,2.5,0.2500001")
    found = differences("speed", committed, here, {}).set_index("name")["size"]
    assert found.tolist() == [0, 0, 0, np.inf]
    assert differences("t", committed, here, {})["size"].tolist() == [0, 0, 0, np.inf]

"""What is scored beside the truth: the cases as stated, and tables that say what was chosen."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from hume_turtle.benchmarks import choices
from hume_turtle.benchmarks.choices import Data, mixtures, toy_sets


def test_mixtures_have_the_classes_sizes_and_distances_that_they_state():
    cases = list(mixtures())
    assert [len(np.unique(case.y)) for case in cases] == [*choices.BALANCED, *choices.UNBALANCED]
    largest = cases[8]  # 30 balanced classes
    (rows,) = largest.spaces
    assert rows.shape == (choices.ROWS, choices.DIM)
    centres = np.stack([rows[largest.y == c].mean(0) for c in range(30)])
    apart = np.square(centres[:, None] - centres).sum(-1)[np.triu_indices(30, 1)]
    np.testing.assert_allclose(np.sqrt(apart.mean()), choices.DISTANCE, rtol=0.1)
    sizes = np.bincount(cases[-1].y)  # 20 unbalanced ones
    assert 0.05 < sizes[-1] / sizes[0] < 0.3
    assert not any(case.seen for case in cases)


def test_scikit_learns_sets_are_standardised():
    for case in toy_sets():
        (rows,) = case.spaces
        np.testing.assert_allclose(rows.std(0), 1)
        assert len(rows) == len(case.y)


def test_the_tables_say_what_was_chosen(blobs, tmp_path, monkeypatch):
    spaces, planted = blobs(90, 3, (6,))
    monkeypatch.setattr(choices, "toy_sets", lambda: iter([Data("blobs", spaces, planted)]))
    for name in ("suite_data", "subsets"):
        monkeypatch.setattr(choices, name, lambda suite: iter([]))
    monkeypatch.setattr(choices, "mixtures", lambda: iter([]))
    choices.measure_choices(SimpleNamespace(root=tmp_path))
    (number,) = pd.read_csv(tmp_path / "data/measured/number-of-classes.csv").to_dict("records")
    assert (number["case"], number["classes"], number["chosen"]) == ("blobs", 3, 3)
    assert number["certain"]
    (sizes,) = pd.read_csv(tmp_path / "data/measured/class-sizes.csv").to_dict("records")
    assert sizes["gamma auto"] == sizes["gamma 10"] == 1
    assert sizes["gammas"] == "10 10"
    assert {*number, *sizes} >= {"date", "hardware", "seen"}

"""The number of classes: the rule by hand, and planted classes found without labels."""

import numpy as np
import pytest

from hume_turtle import Turtle, select_n_classes
from hume_turtle.estimators.number_of_classes import (
    NumberOfClasses,
    alike,
    check_candidates,
    power_law,
)

CANDIDATES = np.arange(2, 11)


def found(unexplained, agreement=None, trend=None):
    """A result over 2 to 10 classes; the trend is 0.1 everywhere."""
    ones = np.ones(len(CANDIDATES))
    agreement = 0.5 * ones if agreement is None else np.array(agreement)
    return NumberOfClasses(CANDIDATES, np.array(unexplained), 0.1 * ones, agreement, 100)


def curve(**dips):
    """A share of 0.1 but for some candidates: `curve(c5=0.04)`."""
    values = {int(name[1:]): value for name, value in dips.items()}
    return [values.get(number, 0.1) for number in CANDIDATES]


def test_the_deepest_dip_is_chosen_not_the_smallest_share():
    trend = 0.01 * CANDIDATES
    result = NumberOfClasses(CANDIDATES, trend * curve(c6=0.05) / 0.1, trend, 0 * trend, 100)
    assert result.unexplained[0] < result.unexplained[4]
    assert result.chosen == 6
    np.testing.assert_allclose(result.dip[4], np.log(2))


def test_a_deep_dip_that_the_halves_agree_about_is_certain():
    agreement = curve(c5=0.9)
    result = found(curve(c5=0.04), agreement)
    assert (result.chosen, result.certain) == (5, True)
    assert "5 classes" in result.reason
    assert "60% less than the trend" in result.reason
    assert "0.90" in result.reason


@pytest.mark.parametrize(
    ("unexplained", "agreement", "words"),
    [
        (curve(c5=0.09), None, "No number of classes stands out"),
        (curve(c5=0.04, c8=0.05), None, "8 classes stand out nearly as much"),
        (curve(c5=0.04), curve(c2=0.9), "The halves agree better about 2 classes"),
    ],
)
def test_what_makes_a_number_uncertain_is_said(unexplained, agreement, words):
    result = found(unexplained, agreement)
    assert result.chosen == 5
    assert not result.certain
    assert words in result.reason


def test_a_neighbour_of_the_deepest_dip_is_no_rival():
    assert found(curve(c5=0.04, c6=0.045)).certain


def test_the_trend_is_a_power_law_that_a_dip_does_not_move():
    values = 0.01 * CANDIDATES**0.7
    np.testing.assert_allclose(power_law(CANDIDATES, values), values)
    dipped = values.copy()
    dipped[3] /= 10
    np.testing.assert_allclose(power_law(CANDIDATES, dipped), values, rtol=0.05)
    np.testing.assert_allclose(power_law(np.array([2]), np.array([0.3])), [0.3])


def test_the_table_has_a_row_for_each_candidate():
    table = found(curve(c5=0.04)).table()
    assert [*table] == ["n_classes", "unexplained", "trend", "dip", "agreement"]
    assert table["n_classes"].tolist() == CANDIDATES.tolist()


def test_groups_are_of_similar_size_and_hold_every_candidate_once():
    groups = list(alike(list(range(2, 41))))
    assert [number for group in groups for number in group] == list(range(2, 41))
    assert all(group[-1] <= 1.5 * group[0] + 1 for group in groups)


@pytest.mark.parametrize(
    ("candidates", "n", "words"),
    [
        ([], 100, "empty"),
        ([1, 2], 100, "candidates=1 must be an integer >= 2"),
        ([2.5], 100, "must be an integer"),
        (range(2, 30), 100, "100 rows are too few to compare up to 29 classes: 116 are needed"),
    ],
)
def test_bad_candidates_are_refused(candidates, n, words):
    with pytest.raises(ValueError, match=words):
        check_candidates(candidates, n)


def test_candidates_by_default_are_those_that_the_rows_bear():
    assert check_candidates(None, 10_000) == list(range(2, 41))
    assert check_candidates(None, 57) == [2, 3, 4, 5]
    assert check_candidates(None, 9) == [2]
    assert check_candidates([5, 3, 5], 100) == [3, 5]


def test_bad_rows_are_refused_before_any_fit():
    with pytest.raises(ValueError, match="NaN"):
        select_n_classes([np.full((40, 3), np.nan)])
    with pytest.raises(ValueError, match="seed"):
        select_n_classes([np.ones((40, 3))], seed=-1)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_planted_classes_are_counted(blobs, n_classes):
    spaces, _ = blobs(160, n_classes, (6, 5))
    result = select_n_classes(spaces, range(2, 8))
    assert (result.chosen, result.certain) == (n_classes, True)
    again = select_n_classes([100 * space for space in spaces], range(2, 8))
    assert again.chosen == n_classes  # at any scale


def test_rows_without_classes_are_uncertain():
    rows = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    result = select_n_classes(rows, range(2, 9))
    assert not result.certain
    assert "No number of classes stands out" in result.reason


def test_rows_that_are_copies_of_two_are_two_classes():
    rows = np.repeat([[0.0, 1.0, 2.0], [2.0, 0.0, 1.0]], 40, axis=0)
    result = select_n_classes(rows, range(2, 6))
    assert np.isfinite(result.dip).all()
    assert result.unexplained[0] == result.unexplained.min()


def test_turtle_takes_the_number_that_is_chosen(blobs, tmp_path):
    spaces, planted = blobs(80, 3, (6,))
    model = Turtle("auto", gamma="auto", recipe="fast").fit(spaces)
    assert model.n_classes_ == model.n_classes_choice_.chosen == 3
    assert model.n_classes == "auto"  # what was asked for stays
    assert all(len({*model.labels_[planted == c]}) == 1 for c in range(3))
    model.save(tmp_path / "model.npz")
    loaded = Turtle.load(tmp_path / "model.npz")
    assert (loaded.n_classes_, loaded.gamma_) == (3, model.gamma_)
    assert (loaded.predict(spaces) == model.labels_).all()

"""Baselines and scores against scikit-learn, the recordings, and data made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import KFold, cross_val_score

from hume_turtle.estimators import logistic, rows
from hume_turtle.estimators.kmeans import KMeansBaseline, kmeans
from hume_turtle.estimators.rows import JoinedRows
from hume_turtle.estimators.scores import cross_validation_score, generalization_score
from hume_turtle.evaluation.linear_probe import LinearProbe, linear_probe
from tests.helpers.gaussians import blobs

PARITY = Path(__file__).parents[1] / "data" / "parity"


pytestmark = pytest.mark.usefixtures("one_thread")


def test_one_space_is_raw_and_several_are_scaled():
    a, b = blobs()[0], blobs(d=3, seed=1)[0].astype(np.float16)
    np.testing.assert_array_equal(JoinedRows(a)[:], a)
    np.testing.assert_array_equal(JoinedRows([a])[:], a)
    assert JoinedRows(b).dtype == JoinedRows(b)[:].dtype == torch.float32
    joined = JoinedRows([a, b])[:]
    assert joined.shape == (150, 9)
    np.testing.assert_allclose(np.linalg.norm(joined[:, :6], axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(joined[:, 6:], axis=1), 1, rtol=1e-6)
    a[0] = 0
    assert torch.isfinite(JoinedRows([a, b])[:]).all()


def test_kmeans_finds_separate_blobs_in_one_and_joined_spaces():
    features, labels = blobs(spread=0.1)
    more, _ = blobs(spread=0.1, d=4, seed=1)
    for spaces in (features, [features], [features.astype(np.float16), more]):
        model = KMeansBaseline(3, seed=0).fit(spaces)
        assert adjusted_rand_score(labels, model.labels_) == 1
        np.testing.assert_array_equal(model.predict(spaces), model.labels_)
        np.testing.assert_array_equal(kmeans(spaces, 3), model.labels_)


def test_probe_on_digits_equals_the_best_of_scikit_learn():
    features, labels = load_digits(return_X_y=True)
    features = features / 16
    train, test = slice(0, 1198), slice(1198, None)
    probe = linear_probe(features[train], labels[train])
    assert probe.scores_.shape == (9,)
    assert probe.scores_.max() == probe.scores_[int(np.log10(probe.C_)) + 4]
    theirs = LogisticRegression(C=probe.C_, max_iter=1000).fit(features[train], labels[train])
    ours = (probe.predict(features[test]) == labels[test]).mean()
    assert ours == pytest.approx(theirs.score(features[test], labels[test]), abs=0.005)
    assert ours > 0.91


def test_probe_takes_memory_maps_half_precision_and_any_labels(tmp_path):
    features, labels = blobs(spread=0.1)
    labels = np.array([-4, 70, 11])[labels]
    np.save(tmp_path / "z.npy", features.astype(np.float16))
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    for space in (features, mapped, torch.tensor(features).bfloat16(), np.rint(50 * features)):
        probe = LinearProbe(grid=(0.1, 10.0)).fit([space, space], labels)
        np.testing.assert_array_equal(probe.predict([space, space]), labels)
        np.testing.assert_array_equal(probe.classes_, [-4, 11, 70])


@pytest.mark.parametrize("grid", ["quick", (1.0,)])
def test_probe_reads_rows_that_cannot_be_held(grid, monkeypatch, tmp_path):
    features, labels = blobs(5, spread=2.5)
    spaces = [features.astype(np.float16), features[:, ::-1]]
    held = LinearProbe(grid=grid).fit(spaces, labels)
    np.save(tmp_path / "z.npy", spaces[0])
    monkeypatch.setattr(rows, "HELD", 100)
    monkeypatch.setattr(rows, "BLOCK", 70)
    sizes, read_rows = [], JoinedRows._read
    monkeypatch.setattr(
        JoinedRows, "_read", lambda *args: sizes.append(len(z := read_rows(*args))) or z
    )
    spaces[0] = np.load(tmp_path / "z.npy", mmap_mode="r")
    probe = LinearProbe(grid=grid).fit(spaces, labels)
    np.testing.assert_allclose(probe.scores_, held.scores_, atol=0.04)
    assert (probe.predict(spaces) == held.predict(spaces)).mean() > 0.95
    assert max(sizes) == 4 * 70 // 12  # rows of twelve columns


def test_grids_have_names():
    features, labels = blobs(spread=2.0)
    for grid, first, count in (("published", 1e-6, 96), ("quick", 1e-4, 9), ((0.1, 1.0), 0.1, 2)):
        probe = LinearProbe(grid=grid).fit(features, labels)
        assert probe.scores_.shape == (count,)
        assert first <= probe.C_ <= max(1, 1 / first)
    for bad in ("full", ""):
        with pytest.raises(ValueError, match="must be one of quick, published"):
            linear_probe(features, labels, grid=bad)


def test_probe_gives_the_same_bits_again():
    features, labels = blobs(spread=2.0)
    first, second = (LinearProbe(seed=3).fit(features, labels) for _ in range(2))
    np.testing.assert_array_equal(first.coef_, second.coef_)
    np.testing.assert_array_equal(first.scores_, second.scores_)


@pytest.mark.parametrize("name", ["hume_random_init", "hume_anneal_fixed_init"])
def test_cross_validation_score_of_the_recordings(name):
    with np.load(PARITY / f"{name}.npz") as recording:
        score = cross_validation_score(recording["z2"], recording["labels_final"])
        assert score == pytest.approx(recording["cross_validation_score"].item(), abs=1e-4)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("spread", [0.3, 2.5])
def test_scores_equal_those_of_scikit_learn(n_classes, spread):
    features, labels = blobs(n_classes, spread=spread)
    for ours, C, seed in ((generalization_score, 1.0, 0), (cross_validation_score, np.inf, 1)):
        folds = KFold(10, shuffle=True, random_state=seed)
        model = LogisticRegression(C=C, max_iter=1000 if np.isfinite(C) else 100)
        expected = cross_val_score(model, features, labels, cv=folds).mean()
        assert ours(features, labels) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_cross_validation_ends_where_scikit_learn_does():
    features, labels = blobs(4, spread=2.5)
    features = features * np.logspace(-1, 1, 6)  # so that no fold converges in a hundred steps
    folds = KFold(10, shuffle=True, random_state=1)
    scores = [
        cross_val_score(LogisticRegression(C=np.inf, **steps), features, labels, cv=folds).mean()
        for steps in ({}, {"max_iter": 20})
    ]
    assert scores[0] != scores[1]
    assert cross_validation_score(features, labels) == pytest.approx(scores[0])
    assert cross_validation_score(features, labels, max_iter=20) == pytest.approx(scores[1])


def test_scores_of_rows_that_cannot_be_held(monkeypatch):
    features, labels = blobs(4, spread=2.5)
    scores = [generalization_score, cross_validation_score]
    held = [score(features, labels) for score in scores]
    monkeypatch.setattr(rows, "HELD", 100)
    monkeypatch.setattr(rows, "BLOCK", 70)
    monkeypatch.setattr(logistic, "WHOLE", 0)
    assert [score(features, labels) for score in scores] == pytest.approx(held, abs=0.01)


def test_several_labelings_have_the_scores_of_each():
    features, labels = blobs(spread=2.5)
    labelings = np.stack([labels, np.roll(labels, 7), labels % 2])
    for score in (generalization_score, cross_validation_score):
        together = score(features, labelings)
        np.testing.assert_array_equal(together, [score(features, one) for one in labelings])
    with pytest.raises(ValueError, match="150 rows but there are 149 labels"):
        generalization_score(features, labelings[:, 1:])


def test_generalization_score_averages_over_spaces():
    (a, labels), (b, _) = blobs(spread=2.5), blobs(spread=2.5, seed=1)
    apart = [generalization_score(space, labels) for space in (a, b)]
    assert generalization_score([a, b], labels) == pytest.approx(np.mean(apart))


def test_generalization_score_prefers_learnable_labels_and_never_one_class():
    features, labels = blobs(spread=0.3)
    shuffled = np.random.default_rng(0).permutation(labels)
    one_class = np.zeros_like(labels)
    scores = [generalization_score(features, y) for y in (labels, shuffled, one_class)]
    assert scores[0] > 0.99 > 0.6 > scores[1] > scores[2] == 0
    assert cross_validation_score(features, one_class) == 0


def test_scores_count_a_class_of_one_member_as_an_error():
    features, labels = blobs(2, n=40, spread=0.1)
    features[0], labels[0] = -50, 9
    for score in (generalization_score, cross_validation_score):
        assert score(features, labels) == pytest.approx(39 / 40)
    lonely = np.arange(40) == 0  # one training part holds a single class
    assert generalization_score(features, lonely) == pytest.approx(39 / 40)


def test_bad_input():
    features, labels = blobs()
    broken = features.copy()
    broken[3, 2], broken[4, 1] = np.nan, np.inf
    for fit in (lambda z: kmeans(z, 3), lambda z: linear_probe(z, labels),
                lambda z: generalization_score(z, labels)):  # fmt: skip
        for spaces, message in (
            ([features, broken], "space 1 holds 2 values that are NaN or infinite"),
            ([features, features[:9]], "space 1 has 9 rows, but space 0 has 150"),
            ([], "the list of spaces is empty"),
            (features[0], r"space 0 has 1 dimension\(s\) with shape \(6,\)"),
        ):
            with pytest.raises(ValueError, match=message):
                fit(spaces)
    for n_classes in (1, 151):
        with pytest.raises(ValueError, match=f"n_classes is {n_classes}"):
            kmeans(features, n_classes)
    with pytest.raises(ValueError, match="150 rows but there are 149 labels"):
        cross_validation_score(features, labels[1:])
    with pytest.raises(ValueError, match="folds is 10"):
        generalization_score(features[:9], labels[:9])
    with pytest.raises(ValueError, match="two classes"):
        linear_probe(features, np.zeros(150))
    with pytest.raises(ValueError, match="grid must hold positive values"):
        linear_probe(features, labels, grid=(0.0, 1.0))
    with pytest.raises(ValueError, match="one side is empty"):
        linear_probe(features, labels, held_out=1.0)
    with pytest.raises(ValueError, match="fitted on 6 columns, got 5"):
        linear_probe(features, labels, grid=(1.0,)).predict(features[:, :5])

"""Both estimators in scikit-learn's world: its own checks, pipelines, pickle, kinds of input."""

import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import sklearn
import torch
from scipy import sparse
from sklearn.base import clone, is_clusterer
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    estimator_checks_generator,
    parametrize_with_checks,
)
from sklearn.utils.validation import check_is_fitted

from hume_turtle import Hume, Turtle
from hume_turtle.checks import check_spaces
from hume_turtle.estimators import hume, turtle, turtle_fast
from hume_turtle.estimators.labeling import label_rows
from tests.helpers import quick as helpers

quick = partial(helpers.quick, device="cpu")
BOTH = pytest.mark.parametrize("kind", [Turtle, Hume])
pytestmark = pytest.mark.usefixtures("one_thread")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


# scikit-learn's own checks.


class HumeOfOneArray(Hume):
    """HUME with one array as both of its spaces, so that scikit-learn can check all the rest."""

    def fit(self, X, y=None):
        return super().fit([X, X], y)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


OBJECTS = "arrays of objects are refused: they may hold anything, None and text too"
LISTS = "it passes rows as a list, and a list is always a list of spaces"
SEVERAL = "a fit on two spaces has no single number of features"


def expected_failed_checks(estimator):
    """The checks that cannot pass, by name, and why."""
    if isinstance(estimator, Turtle):
        return {"check_dtype_object": OBJECTS, "check_clustering": LISTS}
    numbers = ("check_n_features_in", "check_n_features_in_after_fitting")
    return {"check_dtype_object": OBJECTS, **dict.fromkeys(numbers, SEVERAL)}


@parametrize_with_checks(
    [
        Turtle(3, outer_steps=5, inner_steps=2, device="cpu"),
        Turtle(3, recipe="fast", device="cpu"),
        quick(HumeOfOneArray, 2),
    ],
    expected_failed_checks=expected_failed_checks,
    xfail_strict=True,
)
def test_scikit_learns_checks(estimator, check, monkeypatch):
    for name, fewer in (("RESTARTS", 4), ("SCREENING", 5), ("OUTER_STEPS", 10)):
        monkeypatch.setattr(turtle_fast, name, fewer)  # the fast recipe, in less time
    check(estimator)


class TurtleOfRows(Turtle):
    """TURTLE for one space only, for which a list of rows needs no list around it."""

    def fit(self, X, y=None):
        return super().fit([X], y)


def test_scikit_learns_check_of_clusterings_but_for_its_list():
    checks = [
        check
        for estimator, check in estimator_checks_generator(TurtleOfRows(3, recipe="fast"))
        if check.func.__name__ == "check_clustering"
    ]
    assert len(checks) == 2, "from memory and from a memory map"
    for check in checks:
        check(TurtleOfRows(3, recipe="fast", device="cpu"))


def test_scikit_learns_check_of_column_names():
    check_dataframe_column_names_consistency("Turtle", quick(Turtle))


def test_tags_say_what_kind_of_input_is_needed():
    assert is_clusterer(Turtle(3))
    assert is_clusterer(Hume(3))
    assert get_tags(Turtle(3)).input_tags.two_d_array
    assert not get_tags(Hume(3)).input_tags.two_d_array
    for kind in (Turtle, Hume):
        tags = get_tags(kind(3))
        assert not tags.input_tags.sparse
        assert not tags.input_tags.allow_nan
        assert not tags.target_tags.required


@BOTH
def test_no_argument_is_taken_for_metadata(kind, spaces):
    assert not [name for name in dir(kind) if name.startswith("set_") and "_request" in name]
    with sklearn.config_context(enable_metadata_routing=True):
        assert quick(kind).fit_predict(spaces).shape == (24,)


# y, predictions, pipelines, copies.


@BOTH
def test_y_is_never_read(kind, spaces):
    class Untouchable:
        def __getattribute__(self, name):
            raise AssertionError("a fit must not see labels")

    plain = quick(kind).fit(spaces=spaces)
    for other in (quick(kind).fit(spaces, Untouchable()), quick(kind).fit(spaces, y=[1])):
        assert (other.heads_[0] == plain.heads_[0]).all()
    labels = quick(kind).fit_predict(spaces, np.arange(24))
    assert (labels == plain.labels_).all()
    assert (labels == plain.predict(spaces)).all()


@BOTH
def test_not_fitted(kind, spaces):
    model = quick(kind)
    assert not hasattr(model, "n_features_in_")
    assert not hasattr(model, "feature_names_in_")
    for method in (model.predict, model.predict_proba, model.confidence):
        with pytest.raises(NotFittedError, match=f"{kind.__name__} is not fitted: call fit"):
            method(spaces)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    check_is_fitted(model.fit(spaces))
    with pytest.raises(NotFittedError):
        check_is_fitted(clone(model))


@BOTH
def test_pickles(kind, spaces):
    model = quick(kind, seed=4)
    for source in (model, model.fit(spaces)):
        copy = pickle.loads(pickle.dumps(source))
        assert copy.get_params() == source.get_params()
    assert (copy.predict_proba(spaces) == model.predict_proba(spaces)).all()
    assert set(vars(copy)) == set(vars(model))


def test_a_pipeline_of_one_space(spaces):
    space = 100 + 10 * spaces[0]
    pipeline = make_pipeline(StandardScaler(), quick(Turtle))
    scaled = StandardScaler().fit_transform(space)
    alone = quick(Turtle).fit(scaled)
    assert (pipeline.fit_predict(space) == alone.labels_).all()
    assert (pipeline.fit(space, np.arange(24)).predict(space) == alone.labels_).all()
    assert (pipeline.predict_proba(space) == alone.predict_proba(scaled)).all()
    assert (pipeline[-1].confidence(pipeline[:-1].transform(space)) > 1 / 3).all()
    pipeline.set_params(turtle__seed=3)
    assert clone(pipeline).get_params()["turtle__seed"] == 3
    assert pickle.loads(pickle.dumps(pipeline)).fit(space)[-1].seed == 3


def test_the_number_of_features_of_one_space(spaces, tmp_path):
    model = quick(Turtle).fit(spaces[0])
    assert model.n_features_in_ == 5
    model.save(tmp_path / "model.npz")
    assert Turtle.load(tmp_path / "model.npz").n_features_in_ == 5
    assert quick(Turtle).fit([spaces[1]]).n_features_in_ == 4
    for several in (model.fit(spaces), quick(Hume).fit(spaces)):
        assert not hasattr(several, "n_features_in_")
    model.fit(spaces[0])
    for narrow in (spaces[1], [spaces[1]], torch.from_numpy(spaces[1])):
        with pytest.raises(ValueError, match="X has 4 features, but Turtle is expecting 5"):
            model.predict(narrow)
    with pytest.raises(ValueError, match="space 0 has 4 dimensions, but the fit used 5"):
        model.predict([spaces[1].tolist()])
    with pytest.raises(ValueError, match="2 spaces given, but the fit used 1"):
        model.predict(spaces)


# Kinds of input.


@pytest.fixture
def frames(spaces):
    pandas = pytest.importorskip("pandas")
    return [pandas.DataFrame(z, columns=[f"f{i}" for i in range(z.shape[1])]) for z in spaces]


def test_column_names_of_one_frame(frames, spaces, tmp_path):
    frame = frames[0]
    for given in (frame, [frame]):
        model = quick(Turtle).fit(given)
        assert model.feature_names_in_.tolist() == ["f0", "f1", "f2", "f3", "f4"]
    (same,) = quick(Turtle).fit_many(frame, [{"seed": 1}])
    assert same.feature_names_in_.dtype == object
    model.save(tmp_path / "model.npz")
    loaded = Turtle.load(tmp_path / "model.npz")
    assert (loaded.feature_names_in_ == model.feature_names_in_).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (loaded.predict(frame) == model.labels_).all()
    for method in (loaded.predict, loaded.predict_proba, loaded.confidence):
        with pytest.raises(ValueError, match="feature names should match"):
            method(frame[frame.columns[::-1]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(spaces[0])
    assert not hasattr(model.fit(spaces[0]), "feature_names_in_")
    assert not hasattr(quick(Turtle).fit(frames), "feature_names_in_")


@BOTH
def test_frames_of_any_numbers(kind, spaces):
    pandas = pytest.importorskip("pandas")
    whole = [np.round(z) for z in spaces]
    expected = quick(kind).fit(whole)
    frame = pandas.DataFrame(whole[0])
    mixed = frame.astype({0: "int64", 1: "float16", 2: "Int32", 3: "Float64"})
    for first in (frame, frame.astype("int16"), frame.astype("Int64"), mixed):
        model = quick(kind).fit([first, pandas.DataFrame(whole[1])])
        np.testing.assert_allclose(model.heads_[0], expected.heads_[0], rtol=1e-4, atol=1e-6)
    flags = frame > 0
    assert check_spaces(flags.assign(more=1.5))[0].dtype == np.float32
    gap = mixed.copy()
    gap.loc[3, 2] = pandas.NA
    with pytest.raises(ValueError, match="space 1 holds 1 values that are NaN"):
        quick(kind).fit([whole[0], gap])


@BOTH
def test_frames_with_other_columns_are_refused_by_name(kind, frames):
    one, two = frames
    words = one.assign(name="x", kind="y").astype({"kind": "category"})
    with pytest.raises(ValueError, match=r"space 0 has columns that hold no numbers: name, kind$"):
        quick(kind).fit([words, two])
    many = two.assign(**{f"text{i}": "x" for i in range(7)})
    with pytest.raises(ValueError, match=r"space 1 has columns .*: text0, .*, text4 and 2 more"):
        quick(kind).fit([one, many])
    model = quick(kind).fit(frames)
    with pytest.raises(ValueError, match="columns that hold no numbers: name"):
        model.predict([words, two])


def test_a_frame_is_not_copied():
    pandas = pytest.importorskip("pandas")
    values = np.ones((4, 3), np.float32)
    (space,) = check_spaces(pandas.DataFrame(values, copy=False))
    assert np.shares_memory(space, values)


def test_whatever_offers_itself_as_an_array(spaces):
    """A frame of polars, for example: NumPy's protocol is all that is needed."""

    class Frame:
        def __array__(self, dtype=None, copy=None):
            return spaces[0]

    assert np.shares_memory(check_spaces([Frame()])[0], spaces[0])
    assert quick(Turtle).fit(Frame()).n_features_in_ == 5


def test_a_list_is_a_list_of_spaces(spaces):
    rows = spaces[0].tolist()
    assert [z.shape for z in check_spaces([rows, spaces[1]])] == [(24, 5), (24, 4)]
    (space,) = check_spaces([rows])
    np.testing.assert_array_equal(space, spaces[0])
    assert [z.shape for z in check_spaces(np.stack([spaces[1]] * 2).tolist())] == [(24, 4)] * 2
    with pytest.raises(ValueError, match=r"space 0 has 1 dimension\(s\) with shape \(5,\).*list"):
        check_spaces(rows)


@BOTH
def test_sparse_matrices_are_refused(kind, spaces):
    z = spaces[1]
    for bad in (sparse.csr_array(z), sparse.coo_matrix(z), torch.from_numpy(z).to_sparse()):
        with pytest.raises(ValueError, match=r"space 1 is a sparse matrix, .* not supported"):
            quick(kind).fit([spaces[0], bad])


def test_a_memory_map_is_not_copied(tmp_path, spaces):
    np.save(tmp_path / "z.npy", spaces[0])
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    assert np.shares_memory(check_spaces([mapped])[0], mapped)
    model = quick(Turtle).fit(mapped)
    assert (model.confidence(mapped) == model.confidence(spaces[0])).all()


@GPU
@pytest.mark.gpu
@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_on_any_device(kind, spaces, dtype):
    tensors = [torch.from_numpy(np.round(z)).to("cuda", dtype) for z in spaces]
    for device in ("cpu", "cuda"):
        model = quick(kind, device=device).fit(tensors)
        assert (model.predict(tensors) == model.labels_).all()
        assert model.confidence(tensors).shape == (24,)


# Confidence.


@pytest.mark.parametrize("model", [quick(Turtle), quick(Hume), quick(Hume, n_runs=3)])
def test_confidence_is_the_probability_of_the_predicted_class(model, spaces):
    model = clone(model).fit(spaces)
    proba, confidence = model.predict_proba(spaces), model.confidence(spaces)
    assert confidence.shape == (24,)
    assert confidence.dtype == np.float32
    assert (confidence == proba.max(axis=1)).all()
    assert (confidence == proba[np.arange(24), model.predict(spaces)]).all()
    assert (model.confidence([z[:1] for z in spaces]).shape) == (1,)
    with pytest.raises(ValueError, match="space 0 has 4 dimensions, but the fit used 5"):
        model.confidence([spaces[1], spaces[1]])


def test_confidence_holds_no_row_for_every_class(monkeypatch, spaces):
    """Both estimators work on chunks; the result does not depend on their size."""
    kinds = quick(Turtle), quick(Hume), quick(Hume, n_runs=3)
    models = [model.fit(spaces) for model in kinds]
    expected = [model.confidence(spaces) for model in models]
    monkeypatch.setattr(turtle, "label_rows", lambda *a: label_rows(*a, numbers=50))
    monkeypatch.setattr(hume, "LOGITS_AT_ONCE", 50)
    monkeypatch.setattr(hume, "VOTES_AT_ONCE", 20)
    found = [model.confidence(spaces) for model in models]
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_hume_labels_with_the_first_space_alone(spaces):
    model = quick(Hume, n_runs=2).fit(spaces)
    assert (model.confidence(spaces[0]) == model.confidence(spaces)).all()
    shares = np.unique(model.confidence(spaces)).tolist()  # of one and a half votes and one
    assert shares in (pytest.approx([0.6]), pytest.approx([0.6, 1]), pytest.approx([1]))

"""What both estimators promise: bad input refused, odd input accepted, saving, quiet imports."""

import io
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import hume_turtle
from hume_turtle import Hume, Turtle
from hume_turtle.checks import check_number, check_spaces
from hume_turtle.core import precision
from hume_turtle.core.precision import pick_device, precision_name
from hume_turtle.estimators.base import groups
from hume_turtle.progress import progress
from tests.helpers.quick import quick

ROOT = Path(hume_turtle.__file__).parents[2]
ENDLESS = 10**9  # outer steps: a test that got as far as working would never end
BOTH = pytest.mark.parametrize("kind", [Turtle, Hume])


# Spaces that are refused, before any work.

GOOD = np.ones((24, 5), np.float32)


def with_value(value, dtype=np.float64):
    space = np.ones((24, 4), dtype)
    space[7, 2] = value
    return space


BAD_SPACES = {
    "empty list": ([], "list of spaces is empty"),
    "empty tuple": ((), "list of spaces is empty"),
    "rows differ": ([GOOD, GOOD[:23]], r"space 1 has 23 rows, but space 0 has 24"),
    "NaN": ([GOOD, with_value(np.nan)], r"space 1 holds 1 values that are NaN or infinite"),
    "infinite": ([with_value(np.inf), GOOD], r"space 0 holds 1 values"),
    "minus infinite": ([GOOD, with_value(-np.inf)], r"space 1 holds 1 values"),
    "NaN in half": ([GOOD, with_value(np.nan, np.float16)], r"space 1 holds 1 values"),
    "NaN in torch": ([GOOD, torch.from_numpy(with_value(np.nan))], r"space 1 holds 1 values"),
    "NaN in bfloat16": ([GOOD, torch.full((24, 4), torch.nan).bfloat16()], r"space 1 holds 96"),
    "overflow": ([GOOD, with_value(1e300)], r"space 1 holds 1 values .* in float32"),
    "overflow in torch": ([GOOD, torch.from_numpy(with_value(-1e39))], r"space 1 holds 1 values"),
    "few rows": ([GOOD[:2], GOOD[:2]], r"space 0 has 2 rows, fewer than n_classes=3"),
    "no rows": ([GOOD[:0], GOOD[:0]], r"space 0 is empty.*\(0, 5\)"),
    "no columns": ([GOOD, GOOD[:, :0]], r"space 1 is empty.*\(24, 0\)"),
    "no dimension": ([GOOD, 3.0], r"space 1 has 0 dimension"),
    "one dimension": ([GOOD, GOOD[0]], r"space 1 has 1 dimension.*\(5,\)"),
    "one dimension, alone": (GOOD[0], r"space 0 has 1 dimension"),
    "three dimensions": ([GOOD, GOOD[None]], r"space 1 has 3 dimension"),
    "a list of rows": (GOOD.tolist(), r"space 0 has 1 dimension.*each item of a list is taken as"),
    "three dimensions, alone": (np.ones((2, 24, 5)), r"space 0 has 3 dimension"),
    "three dimensions in torch": ([GOOD, torch.ones(1, 24, 5)], r"space 1 has 3 dimension"),
    "ragged": ([GOOD, [[1.0, 2.0], [1.0]]], r"space 1 is not a two-dimensional array"),
    "objects": ([GOOD, np.array([[None] * 4] * 24)], r"space 1 has dtype object"),
    "strings": ([GOOD, np.full((24, 4), "1")], r"space 1 has dtype <U1"),
    "complex": ([GOOD, np.ones((24, 4), complex)], r"space 1 has dtype complex128"),
    "complex torch": ([GOOD, torch.ones(24, 4, dtype=torch.cfloat)], r"space 1 has dtype .*compl"),
    "times": ([GOOD, np.zeros((24, 4), "datetime64[s]")], r"space 1 has dtype datetime64"),
    "numbers as objects": ([GOOD, np.ones((24, 4), object)], r"space 1 has dtype object"),
    "sparse": ([GOOD, csr_array(np.eye(24))], r"space 1 is a sparse matrix"),
    "None": (None, r"space 0 has dtype object"),
    "None inside": ([GOOD, None], r"space 1 has dtype object"),
    "a dict": ({"z": GOOD}, r"space 0 has dtype object"),
}


@BOTH
@pytest.mark.parametrize("case", BAD_SPACES)
def test_bad_spaces_are_refused_before_any_work(kind, case):
    bad, message = BAD_SPACES[case]
    with pytest.raises(ValueError, match=message):
        kind(3, outer_steps=ENDLESS).fit(bad)
    with pytest.raises(ValueError, match=message):
        kind(3, outer_steps=ENDLESS).fit_many(bad, [{}, {"seed": 1}])


@BOTH
def test_predict_refuses_other_spaces(kind, spaces):
    model = quick(kind).fit(spaces)
    z1, z2 = spaces
    for bad, message in (
        ([z1[:, :4], z2], r"space 0 has 4 dimensions, but the fit used 5"),
        ([z1[0], z2], r"space 0 has 1 dimension"),
        ([with_value(np.nan)[:, [2] * 5], z2], r"space 0 holds 5 values"),
        ([z1, z2[:5]], r"space 1 has 5 rows"),
        ([z1, z2, z2], r"3 spaces given"),
        ([], r"empty"),
        ([z1[:0], z2[:0]], r"space 0 is empty"),
    ):
        for method in (model.predict, model.predict_proba, model.confidence):
            with pytest.raises(ValueError, match=message):
                method(bad)
    assert len(model.predict([z[:1] for z in spaces])) == 1, "one row will do, though fewer than C"
    if kind is Turtle:
        with pytest.raises(ValueError, match=r"1 spaces given, but the fit used 2"):
            model.predict(z1)
        with pytest.raises(ValueError, match=r"space 1 has 5 dimensions, but the fit used 4"):
            model.predict([z1, z1])


@BOTH
def test_nothing_works_before_fit(kind, spaces, tmp_path):
    model = kind(3)
    for method in (model.predict, model.predict_proba, model.confidence):
        with pytest.raises(NotFittedError, match=f"this {kind.__name__} is not fitted: call fit"):
            method(spaces)
    with pytest.raises(NotFittedError, match="not fitted"):
        model.save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


# Settings that are refused.

NUMBERS = [0, -1, "3", None, [3], np.nan, np.inf, True]
BAD_SETTINGS = {
    "n_classes": [*NUMBERS, 1, 2.0, 2.5, np.float64(3), 2**70, 10**400],
    "outer_steps": [*NUMBERS, 10.0],
    "inner_steps": [*NUMBERS, 10.0],
    "inner_lr": [*NUMBERS, 1e300, 10**400],
    "outer_lr": [*NUMBERS, 1e300],
    "seed": [*NUMBERS[1:], 1.0, 2**64, 10**400],
    "device": ["gpu", 3.5, None, []],
}
BAD_TURTLE = {
    "gamma": [*NUMBERS[1:], 1e300],
    "batch_size": [*NUMBERS, 1e4],
    "warm_start": ["cold", None, 2, 0.0, []],
}
BAD_HUME = {
    "temperature": NUMBERS,
    "gamma": NUMBERS[1:],
    "n_subsets": NUMBERS,
    "subset_size": [*NUMBERS, 1],
    "train_fraction": [*NUMBERS, 1.0, 1.2, 1e-3],
    "n_runs": NUMBERS,
    "anneal": ["no", None, 2],
    "random_inner_init": ["no", None, 2],
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Turtle, name) for name in BAD_SETTINGS | BAD_TURTLE]
    + [(Hume, name) for name in BAD_SETTINGS | BAD_HUME],
)
def test_bad_settings_are_refused_before_any_work(kind, name, spaces):
    for value in (BAD_SETTINGS | (BAD_TURTLE if kind is Turtle else BAD_HUME))[name]:
        model = kind(**{"n_classes": 3, "outer_steps": ENDLESS, name: value})
        with pytest.raises(ValueError, match=name):
            model.fit(spaces)
        if name != "device":
            with pytest.raises(ValueError, match=name):
                kind(3, outer_steps=ENDLESS).fit_many(spaces, [{}, {name: value}])


def test_check_number_takes_numpy_numbers_and_names_the_bound():
    for value in (2, np.int8(2), np.uint64(2)):
        check_number("steps", value, 1, integer=True)
    for value in (0.5, 1, np.float16(0.5), np.int64(1)):
        check_number("lr", value, 0, exclusive=True)
    check_number("gamma", 0, 0)
    with pytest.raises(ValueError, match=r"lr=0 must be a number > 0"):
        check_number("lr", 0, 0, exclusive=True)
    with pytest.raises(ValueError, match=r"lr=inf must be a number > 0 and <= 3.4e\+38"):
        check_number("lr", float("inf"), 0, exclusive=True)
    with pytest.raises(ValueError, match=r"steps=1.5 must be an integer >= 1$"):
        check_number("steps", 1.5, 1, integer=True)


@BOTH
def test_fit_many_refuses_settings_it_does_not_know(kind, spaces):
    model = kind(3, outer_steps=ENDLESS)
    with pytest.raises(ValueError, match=r"settings\[1\] names \['learning_rate'\]"):
        model.fit_many(spaces, [{}, {"learning_rate": 1.0}])
    with pytest.raises(ValueError, match=r"settings\[0\] names \['device'\]"):
        model.fit_many(spaces, [{"device": "cpu"}])
    with pytest.raises(ValueError, match="settings is empty"):
        model.fit_many(spaces, [])
    with pytest.raises(ValueError, match="n_classes=100"):
        model.fit_many(spaces, [{}, {"n_classes": 100}])


@BOTH
def test_a_failed_fit_leaves_the_fitted_model_alone(kind, spaces):
    model = quick(kind).fit(spaces)
    labels = model.labels_
    with pytest.raises(ValueError, match="NaN"):
        model.fit([with_value(np.nan), spaces[1]])
    assert model.labels_ is labels


@BOTH
def test_a_fit_that_ran_away_is_an_error(kind, spaces):
    extreme = {"outer_lr": 3e38} if kind is Turtle else {"temperature": 1e-42}
    with pytest.raises(ValueError, match=r"seed 4 diverged.*outer_lr"):
        quick(kind, seed=4, outer_steps=6, **extreme).fit(spaces)


# Input that is accepted.


def variants(space, tmp_path):
    """The same integers in every guise."""
    np.save(tmp_path / "half.npy", space.astype(np.float16))
    readonly = space.copy()
    readonly.flags.writeable = False
    padded = np.zeros((2 * len(space), 2 * space.shape[1]), np.float32)
    padded[::2, ::2] = space
    yield "float64", space.astype(np.float64)
    yield "float16", space.astype(np.float16)
    yield "big-endian", space.astype(">f4")
    yield "int64", space.astype(np.int64)
    yield "int8", space.astype(np.int8)
    yield "lists", space.tolist()
    yield "tuples", [tuple(row) for row in space.tolist()]
    yield "read-only", readonly
    yield "Fortran order", np.asfortranarray(space)
    yield "strided", padded[::2, ::2]
    yield "negative strides", space[::-1, ::-1].copy()[::-1, ::-1]
    yield "memory map", np.load(tmp_path / "half.npy", mmap_mode="r")
    yield "torch", torch.from_numpy(space.copy())
    yield "torch with a gradient", torch.from_numpy(space.copy()).requires_grad_()
    yield "torch half", torch.from_numpy(space).half()
    yield "torch bfloat16", torch.from_numpy(space).bfloat16()
    yield "torch float64", torch.from_numpy(space).double()
    yield "torch int", torch.from_numpy(space).int()
    yield "torch transposed", torch.from_numpy(space.T.copy()).T


@BOTH
def test_the_same_numbers_in_any_guise(kind, spaces, tmp_path):
    z1, z2 = (np.round(z) for z in spaces)
    model = quick(kind).fit([z1, z2])
    for name, space in variants(z1, tmp_path):
        other = quick(kind).fit([space, z2])
        assert np.allclose(other.heads_[0], model.heads_[0], rtol=1e-4, atol=1e-6), name
        assert (other.labels_ == model.labels_).all(), name
        assert other.confidence([space, z2]).shape == (24,), name
        proba = other.predict_proba([space, z2])
        assert np.allclose(proba, model.predict_proba([z1, z2]), rtol=1e-4, atol=1e-5), name


@BOTH
def test_pandas_and_bool_and_tuple_of_spaces(kind, spaces):
    pandas = pytest.importorskip("pandas")
    frames = tuple(pandas.DataFrame(z) for z in spaces)
    model = quick(kind).fit(frames)
    assert (model.labels_ == quick(kind).fit(spaces).labels_).all()
    flags = [z > 0 for z in spaces]
    assert (quick(kind).fit(flags).labels_ == quick(kind).fit([1 * f for f in flags]).labels_).all()


def awkward():
    rng = np.random.default_rng(0)
    space = rng.normal(size=(12, 4)).astype(np.float32)
    constant, zero = space.copy(), space.copy()
    constant[:, 1], zero[:, 2] = 1e3, 0
    yield "constant column", constant
    yield "column of zeros", zero
    yield "duplicated rows", np.repeat(space[:4], 3, axis=0)
    yield "all rows equal", np.repeat(space[:1], 12, axis=0)
    yield "all zeros", np.zeros((12, 4), np.float32)
    yield "as many rows as classes", space[:3]
    yield "tiny", space * np.float32(1e-6)
    yield "smallest", space * np.float32(1e-38)
    yield "large", space * np.float32(1e4)
    yield "half's largest", np.full((12, 4), 65504, np.float16)
    yield "integers", np.arange(48).reshape(12, 4)


@BOTH
@pytest.mark.parametrize("name", [name for name, _ in awkward()])
def test_awkward_spaces_get_a_labeling_without_nan(kind, name):
    space = dict(awkward())[name]
    for extra in ({}, {"inner_lr": 1.0, "outer_lr": 1.0}):
        model = quick(kind, **extra, outer_steps=5, inner_steps=20)
        for pair in ([space, space], [space, space[:, :3]]):
            labels = model.fit(pair).labels_
            assert labels.shape == (len(space),)
            assert labels.dtype == np.int64
            assert labels.min() >= 0
            assert labels.max() <= 2
            proba = model.predict_proba(pair)
            assert np.isfinite(proba).all()
            np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-4)
            assert all(np.isfinite(values).all() for values in model.history_.values())


@BOTH
def test_the_input_is_left_alone(kind, spaces):
    before = [z.copy() for z in spaces]
    tensors = [torch.from_numpy(z) for z in spaces]
    model = quick(kind).fit(tensors)
    model.predict(tensors)
    assert all((a == b).all() for a, b in zip(before, spaces))


@BOTH
def test_gradients_and_dtype_of_the_caller_do_not_matter(kind, spaces):
    expected = quick(kind).fit(spaces)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            model = quick(kind).fit(spaces)
            assert not torch.is_grad_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all((a == b).all() for a, b in zip(model.heads_, expected.heads_))
    assert all(head.dtype == np.float32 for head in model.heads_)


# Saving and loading.


@pytest.fixture(params=[Turtle, Hume, "several runs"])
def fitted(request, spaces):
    if request.param == "several runs":
        return quick(Hume, n_runs=2).fit(spaces)
    return quick(request.param, seed=np.int64(3), inner_lr=np.float32(0.1)).fit(spaces)


def rewrite(path, **changes):
    """Save the arrays of a file again with some replaced, or dropped where None."""
    with np.load(path) as file:
        arrays = {**dict(file), **changes}
    np.savez(path, **{name: values for name, values in arrays.items() if values is not None})


def test_round_trip_to_the_bit(fitted, spaces, tmp_path):
    path = tmp_path / "new" / "folder" / "model.fit"
    fitted.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["model.fit"]
    loaded = type(fitted).load(str(path), device="cpu")
    assert loaded.get_params() == {**fitted.get_params(), "device": "cpu"}
    for name, values in vars(fitted).items():
        restored = getattr(loaded, name)
        if name == "heads_":
            assert all(a.dtype == b.dtype for a, b in zip(values, restored, strict=True))
            assert all((a == b).all() for a, b in zip(values, restored, strict=True))
        elif name == "history_":
            assert list(values) == list(restored)
            assert all((values[key] == restored[key]).all() for key in values)
        elif name == "precision_":
            assert values == restored == "fp32"
        elif name.endswith("_"):
            assert values.dtype == restored.dtype
            np.testing.assert_array_equal(values, restored)
    assert (loaded.predict_proba(spaces) == fitted.predict_proba(spaces)).all()
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    assert (loaded.fit(spaces).labels_ == fitted.labels_).all()


def test_the_file_holds_no_pickle(fitted, tmp_path):
    path = tmp_path / "model.npz"
    fitted.save(path)
    with np.load(path, allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)
        assert "device" not in json.loads(str(file["header"]))["settings"]


def test_an_object_array_is_refused_unread(fitted, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = tmp_path / "model.npz"
    fitted.save(path)
    rewrite(path, **{"fitted/labels_": np.array([Trap()], dtype=object)})
    with pytest.raises(ValueError, match="not a file that save"):
        type(fitted).load(path)
    assert not (tmp_path / "sprung").exists()


def test_damaged_files_are_refused(fitted, tmp_path):
    path, damaged = tmp_path / "model.npz", tmp_path / "damaged.npz"
    fitted.save(path)
    whole = path.read_bytes()
    contents = [b"", b"PK", b"hello, world\n" * 100, whole[100:]]
    contents += [whole[:size] for size in range(1, len(whole) - 1, len(whole) // 20)]
    rng = np.random.default_rng(0)
    for place in rng.integers(len(whole), size=200):
        contents.append(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    messages = []
    for content in contents:
        damaged.write_bytes(content)
        try:
            type(fitted).load(damaged)  # a few bytes of a zip carry no meaning
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 0.8 * len(contents)
    assert all(str(damaged) in message for message in messages)
    for other in (np.ones(3), np.array("{}"), np.array("[1]"), np.array("3")):
        np.save(damaged.with_suffix(".npy"), other)
        np.savez(damaged, header=other)
        for file in (damaged, damaged.with_suffix(".npy")):
            with pytest.raises(ValueError, match=r"damaged\.np"):
                type(fitted).load(file)


def test_missing_files_keep_their_error(tmp_path):
    for kind in (Turtle, Hume):
        with pytest.raises(FileNotFoundError):
            kind.load(tmp_path / "nothing.npz")


def test_the_other_estimators_file_is_refused(spaces, tmp_path):
    for kind, other in ((Turtle, Hume), (Hume, Turtle)):
        quick(kind).fit(spaces).save(tmp_path / "model")
        with pytest.raises(ValueError, match=f"holds '{kind.__name__}'.*not a {other.__name__}"):
            other.load(tmp_path / "model")


def test_a_file_of_another_format_is_refused(fitted, tmp_path):
    path = tmp_path / "model.npz"
    fitted.save(path)
    with np.load(path) as file:
        header = json.loads(str(file["header"]))
    for change in (
        {"format": 1},
        {"format": None},
        {"settings": {**header["settings"], "n_classes": 1}},
        {"settings": {**header["settings"], "n_classes": 4}},
        {"settings": {**header["settings"], "unknown": 1}},
        {"settings": {**header["settings"], "device": "cpu"}},
        {"settings": []},
        {"settings": None},
    ):
        rewrite(path, header=np.array(json.dumps({**header, **change})))
        with pytest.raises(ValueError, match=r"model\.npz"):
            type(fitted).load(path)


def test_arrays_that_do_not_fit_together_are_refused(fitted, tmp_path):
    head, labels = fitted.heads_[0], fitted.labels_
    changes = [
        {"head/0": head[..., :2, :]},
        {"head/0": head[0]},
        {"head/0": head[None]},
        {"head/0": head * np.float32(np.nan)},
        {"head/0": head.astype(str)},
        {"head/0": None},
        {"fitted/labels_": None},
        {"fitted/labels_": labels[:0]},
        {"fitted/labels_": labels[None]},
        {"fitted/labels_": labels + 3},
        {"fitted/labels_": labels - 3},
        {"fitted/labels_": labels / 2},
    ]
    if isinstance(fitted, Hume):
        changes += [
            {"fitted/run_labels_": fitted.run_labels_[:, 1:]},
            {"fitted/run_scores_": np.zeros(9)},
            {"fitted/run_scores_": None},
        ]
    path = tmp_path / "model.npz"
    for change in changes:
        if "head/0" in change and change["head/0"] is None and isinstance(fitted, Turtle):
            change["head/1"] = None
        fitted.save(path)
        rewrite(path, **change)
        with pytest.raises(ValueError, match=r"model\.npz is not a whole saved"):
            type(fitted).load(path)


def test_an_interrupted_save_leaves_the_old_file(fitted, tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    fitted.save(path)
    old = path.read_bytes()

    def interrupted(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted.save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


# Imports, the progress bar, scikit-learn's habits.


def test_import_and_fit_need_only_four_packages(tmp_path):
    program = """
    import sys

    class Blocked:
        names = ("matplotlib pandas seaborn tqdm lightly timm open_clip torchvision PIL dvc "
                 "papermill nbformat IPython yaml").split()

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in self.names:
                raise ImportError(f"{name} is blocked")

    sys.meta_path.insert(0, Blocked())
    sys.stderr.isatty = lambda: True  # asks for a progress bar, and there is no tqdm
    import numpy as np
    from hume_turtle import Hume, Turtle
    from hume_turtle.estimators.selection import select

    rows = np.random.default_rng(0).normal(size=(20, 4))
    quick = dict(outer_steps=2, inner_steps=2)
    for model in (Turtle(2, **quick), Hume(2, **quick, n_runs=2, n_subsets=2)):
        model.fit([rows, rows])
        model.save("model.npz")
        labels = type(model).load("model.npz").predict([rows, rows])
        assert (labels == model.labels_).all()
        select(model, [rows, rows], {"seed": [0, 1]}).chosen
    Turtle("auto", recipe="fast").fit(rows)
    print("done", *sorted(set(Blocked.names) & set(sys.modules)))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.stdout == "done\n", result.stderr
    assert result.stderr == ""


def test_the_progress_bar_shows_on_a_terminal_only(spaces, capfd, monkeypatch):
    for kind in (Turtle, Hume):
        quick(kind).fit(spaces)
    assert capfd.readouterr() == ("", "")
    pytest.importorskip("tqdm")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    if "TQDM_DISABLE" in os.environ:  # tqdm read it when it was imported
        pytest.skip("progress bars are switched off in this environment")
    for kind in (Turtle, Hume):
        monkeypatch.setattr(sys, "stderr", Terminal())
        quick(kind).fit(spaces)
        assert kind.__name__.upper() in sys.stderr.getvalue()
    monkeypatch.setattr(sys, "stderr", None)
    assert list(progress(iter("abc"), 3, "label")) == ["a", "b", "c"]


@BOTH
def test_scikit_learns_habits(kind, spaces):
    model = quick(kind, 3, seed=5)
    params = model.get_params()
    assert params["seed"] == 5
    assert kind(**params).get_params() == params
    assert model.set_params(seed=6) is model
    assert model.seed == 6
    copy = clone(model)
    assert copy is not model
    assert copy.get_params() == model.get_params()
    assert f"{kind.__name__}(" in repr(model)
    assert "seed=6" in repr(model)
    assert model.fit(spaces) is model
    assert not hasattr(clone(model), "labels_")
    assert (copy.fit_predict(spaces) == model.labels_).all()
    assert model.get_params() == copy.get_params(), "fit changes no setting"
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(unknown=1)


def test_defaults_are_the_published_ones():
    assert Turtle(10).get_params() == {
        "n_classes": 10,
        "gamma": 10.0,
        "outer_steps": 6000,
        "inner_steps": 10,
        "inner_lr": 1e-3,
        "outer_lr": 1e-3,
        "batch_size": 10_000,
        "warm_start": False,
        "class_prior": None,
        "precision": "fp32",
        "recipe": "published",
        "seed": 0,
        "device": "auto",
    }
    assert Hume(10).get_params() == {
        "n_classes": 10,
        "temperature": 0.1,
        "gamma": 10.0,
        "outer_steps": 1000,
        "inner_steps": 300,
        "n_subsets": 20,
        "subset_size": 10_000,
        "train_fraction": 0.9,
        "inner_lr": 1e-3,
        "outer_lr": 1e-3,
        "anneal": True,
        "random_inner_init": True,
        "inner": "exact",
        "rank": None,
        "recipe": "published",
        "precision": "fp32",
        "n_runs": 1,
        "seed": 0,
        "device": "auto",
    }


@BOTH
def test_a_fit_is_fp32_unless_asked_otherwise(kind, spaces, monkeypatch):
    """Also where the device multiplies bfloat16 in hardware."""
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    assert quick(kind).fit(spaces).precision_ == "fp32"
    assert quick(kind, precision="auto").fit(spaces).precision_ == "bf16"
    for device in ("cpu", "cuda", "mps"):
        name = precision_name(kind(3).precision, torch.device(device))
        assert name == "fp32", device


def test_devices():
    assert pick_device("cpu") == pick_device(torch.device("cpu")) == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="device='tpu9'"):
        pick_device("tpu9")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device='cuda:0': PyTorch finds no GPU here"):
        pick_device("cuda:0")


def test_groups_are_alike_but_for_the_named_settings():
    a, b, c, d = Turtle(3), Turtle(3, seed=1), Turtle(3, warm_start=True), Turtle(3, gamma=1)
    assert groups([a, c, b, d], apart_from=("seed", "gamma")) == [[a, b, d], [c]]
    assert groups([a, b], apart_from=()) == [[a], [b]]


def test_check_spaces_keeps_the_precision_and_memory_maps(tmp_path):
    np.save(tmp_path / "z.npy", np.ones((4, 3), np.float16))
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    (space,) = check_spaces(mapped)
    assert space.dtype == np.float16
    assert np.shares_memory(space, mapped)
    assert check_spaces([np.ones((4, 3))])[0].dtype == np.float64
    assert check_spaces([np.ones((4, 3), int)])[0].dtype == np.float32
    assert check_spaces(torch.ones(4, 3).bfloat16())[0].dtype == torch.bfloat16

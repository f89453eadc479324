"""TURTLE against a literal reference: one run at a time, PyTorch's layers, optimiser, autograd."""

import itertools
from math import log

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations

from hume_turtle import Turtle
from hume_turtle.core.batching import Batches
from hume_turtle.core.objectives import turtle_objective
from hume_turtle.core.products import head_gradient, linear_logits
from hume_turtle.core.sampling import draw_batches
from hume_turtle.core.task_encoders import SoftmaxEncoder, draw_heads
from hume_turtle.core.turtle_solver import minimise_turtle, turtle_gradient
from hume_turtle.estimators import turtle, turtle_fast
from hume_turtle.estimators.labeling import hard_labels, label_rows, soft_labels
from hume_turtle.evaluation.metrics import cluster_accuracy
from tests.helpers.parity import digits

CPU = torch.device("cpu")


def streams(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def random_spaces(n, dims, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, dim, generator=generator) for dim in dims]


def layers_of(heads, run):
    layers = [nn.Linear(head.shape[2] - 1, head.shape[1]) for head in heads]
    for layer, head in zip(layers, heads):
        layer.weight.data = head[run, :, :-1].clone()
        layer.bias.data = head[run, :, -1].clone()
    return layers


def literal_turtle(spaces, run, encoder_heads, starts, batches, settings, warm_start):
    """algorithms.md, TURTLE, step by step for one run; returns its encoder, heads and history."""
    gamma, inner_steps, inner_lr, outer_lr = settings
    encoder = [parametrizations.weight_norm(layer) for layer in layers_of(encoder_heads, run)]
    outer = torch.optim.Adam([p for layer in encoder for p in layer.parameters()], lr=outer_lr)
    history = []
    for t, rows in enumerate(batches):
        batch = [space if rows is None else space[rows] for space in spaces]
        if t == 0 or not warm_start:
            heads = layers_of(starts[t], run)
            inner = torch.optim.Adam([p for h in heads for p in h.parameters()], lr=inner_lr)
        labelings = [layer(z).softmax(1) for layer, z in zip(encoder, batch)]  # (B, C)
        labeling = sum(labelings) / len(labelings)
        for _ in range(inner_steps):
            inner.zero_grad()
            sum(cross_entropy(h(z), labeling.detach()) for h, z in zip(heads, batch)).backward()
            inner.step()
        error = sum(cross_entropy(h(z).detach(), labeling) for h, z in zip(heads, batch))
        entropy = sum(-(t.mean(0) * t.mean(0).log()).sum() for t in labelings)
        loss = error - gamma * entropy
        outer.zero_grad()
        loss.backward()
        outer.step()
        history.append([loss.item(), error.item(), entropy.item()])
    return encoder, heads, torch.tensor(history)


@pytest.mark.parametrize("batch_size", [16, 40])
@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("dims", [[5], [4, 6, 3]])
def test_agrees_with_a_literal_reference_run_by_run(dims, warm_start, batch_size):
    n, classes, steps, inner_steps = 40, 3, 8, 4
    gammas, inner_lrs, outer_lrs = [10.0, 0.0, 2.0], [0.01, 0.1, 0.03], [0.05, 0.02, 0.01]
    spaces = random_spaces(n, dims)
    draws = streams(0, 1, 2)
    encoder_heads = draw_heads(dims, classes, draws)
    starts = [draw_heads(dims, classes, draws) for _ in range(1 if warm_start else steps)]
    batches = list(draw_batches(n, batch_size, steps, *streams(5)))
    encoder = SoftmaxEncoder.from_heads(encoder_heads)
    inner, history = minimise_turtle(
        Batches(spaces, batch_size, CPU, torch.float32),
        batches,
        encoder,
        iter(starts),
        gamma=torch.tensor(gammas),
        inner_steps=inner_steps,
        inner_lr=torch.tensor(inner_lrs),
        outer_lr=torch.tensor(outer_lrs),
        warm_start=warm_start,
    )
    assert {name: h.shape for name, h in history.items()} == dict.fromkeys(
        ("loss", "cross_entropy", "entropy"), (steps, 3)
    )
    for run in range(3):
        settings = gammas[run], inner_steps, inner_lrs[run], outer_lrs[run]
        expected_encoder, expected_inner, expected = literal_turtle(
            spaces, run, encoder_heads, starts, batches, settings, warm_start
        )
        ours = torch.stack([h[:, run] for h in history.values()], dim=1)  # (T, 3)
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
        for found, layers in ((encoder.heads(), expected_encoder), (inner, expected_inner)):
            for head, layer in zip(found, layers):
                weights = torch.cat([layer.weight, layer.bias[:, None]], dim=1)
                torch.testing.assert_close(head[run], weights, rtol=1e-3, atol=1e-4)


def test_batches_hold_distinct_rows():
    batches = list(draw_batches(20, 8, 5, *streams(0)))
    assert [len(set(rows.tolist())) for rows in batches] == [8] * 5
    assert all(rows.min() >= 0 and rows.max() < 20 for rows in batches)
    assert len({tuple(rows.tolist()) for rows in batches}) == 5
    assert all(torch.equal(a, b) for a, b in zip(batches, draw_batches(20, 8, 5, *streams(0))))
    for size in (20, 21):
        assert list(draw_batches(20, size, 3, *streams(0))) == [None] * 3


@pytest.mark.parametrize("recipe", ["published", "fast"])
def test_every_seed_draws_its_own_batches(monkeypatch, blobs, recipe):
    module = turtle if recipe == "published" else turtle_fast
    drawn = []

    def record(n, size, steps, stream):
        batches = list(draw_batches(n, size, steps, stream))
        drawn.append(batches[0])
        return iter(batches)

    monkeypatch.setattr(module, "draw_batches", record)
    spaces, _ = blobs(50, 3, (5,))
    steps = {"outer_steps": 2} if recipe == "published" else {}
    model = Turtle(3, batch_size=20, recipe=recipe, **steps)
    model.fit_many(spaces, [{"seed": 0}, {"seed": 1}, {"seed": 0, "gamma": 1.0}])
    assert len(drawn) == 2, "equal seeds share their batches and are solved together"
    assert not torch.equal(*drawn)


SETTINGS = [
    {"seed": 3},
    {"seed": 4, "gamma": 1.0},
    {"seed": 3, "warm_start": True, "inner_lr": 0.05},
    {"outer_lr": 0.002},
    {"seed": 4, "warm_start": True},
    {"n_classes": 3},
    {"batch_size": 20, "seed": np.int64(1)},
    {"batch_size": 20, "seed": 2},
    {"batch_size": 20, "seed": 2, "warm_start": True},  # shares its batches with the one before
    {"batch_size": 20, "n_classes": 2, "gamma": 3.0},  # and these, with classes that are absent
    {"batch_size": 20, "n_classes": 6, "warm_start": True, "inner_lr": 0.05},
]


def test_batched_runs_equal_solo_fits(blobs):
    spaces, _ = blobs(50, 4, (5, 7))
    template = Turtle(4, outer_steps=15, outer_lr=0.03, inner_lr=0.01)
    joint = template.fit_many(spaces, SETTINGS)
    for setting, model in zip(SETTINGS, joint, strict=True):
        params = {**template.get_params(), **setting}
        assert model.get_params() == params
        alone = Turtle(**params).fit(spaces)
        for a, b in zip(alone.heads_, model.heads_, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
        for name, values in alone.history_.items():
            assert values.shape == model.history_[name].shape == (15,)
            np.testing.assert_allclose(model.history_[name], values, rtol=1e-4, atol=1e-4)
        assert (alone.labels_ == model.labels_).mean() > 0.97
        assert (model.predict(spaces) == model.labels_).mean() > 0.97
    for a, b in itertools.combinations(joint, 2):
        assert a.heads_[0].shape != b.heads_[0].shape or np.abs(a.heads_[0] - b.heads_[0]).max() > 0
    assert not hasattr(template, "labels_")


@pytest.mark.parametrize("warm_start", [False, True])
def test_same_seed_same_bits(blobs, warm_start):
    spaces, _ = blobs(50, 4, (5, 7))
    torch.manual_seed(1)
    first = Turtle(4, outer_steps=10, warm_start=warm_start, batch_size=30).fit(spaces)
    torch.manual_seed(2)
    second = Turtle(4, outer_steps=10, warm_start=warm_start, batch_size=30).fit(spaces)
    assert all((a == b).all() for a, b in zip(first.heads_, second.heads_, strict=True))
    assert all((values == second.history_[name]).all() for name, values in first.history_.items())
    other = Turtle(4, outer_steps=10, warm_start=warm_start, batch_size=30, seed=1).fit(spaces)
    assert (first.heads_[0] != other.heads_[0]).any()


def test_warm_and_cold_start_differ_and_batches_matter(blobs):
    spaces, _ = blobs(50, 4, (5,))
    cold, warm, small, whole, larger = Turtle(4, outer_steps=5).fit_many(
        spaces,
        [{}, {"warm_start": True}, {"batch_size": 10}, {"batch_size": 50}, {"batch_size": 51}],
    )
    assert (cold.heads_[0] != warm.heads_[0]).any()
    assert (cold.heads_[0] != small.heads_[0]).any()
    assert (whole.heads_[0] == larger.heads_[0]).all()
    np.testing.assert_allclose(whole.heads_[0], cold.heads_[0], atol=1e-5)  # solved with `warm`


def test_one_array_is_one_space(blobs):
    (space,), _ = blobs(30, 3, (5,))
    alone, listed = (Turtle(3, outer_steps=5).fit(z) for z in (space, [space]))
    assert (alone.heads_[0] == listed.heads_[0]).all()
    assert (alone.predict(space) == listed.predict((space,))).all()


def test_history_is_taken_before_each_step(blobs):
    spaces, _ = blobs(40, 3, (5, 4))
    model = Turtle(3, outer_steps=6, gamma=2.0, seed=7).fit(spaces)
    assert set(model.history_) == {"loss", "cross_entropy", "entropy"}
    loss, error, entropy = (model.history_[name] for name in ("loss", "cross_entropy", "entropy"))
    assert loss.shape == error.shape == entropy.shape == (6,)
    np.testing.assert_allclose(loss, error - 2 * entropy, rtol=1e-5)
    start = draw_heads([5, 4], 3, streams(7))
    taus = [
        (torch.from_numpy(z) @ h[0, :, :-1].T + h[0, :, -1]).softmax(1)
        for z, h in zip(spaces, start)
    ]
    expected = sum(-(t.mean(0) * t.mean(0).log()).sum() for t in taus)
    np.testing.assert_allclose(entropy[0], expected.item(), rtol=1e-5)
    assert (entropy <= 2 * log(3) + 1e-5).all()


def test_predict_proba_is_the_mean_softmax_of_new_rows(blobs):
    spaces, _ = blobs(60, 3, (5, 4))
    fitted, new = [z[:40] for z in spaces], [z[40:] for z in spaces]
    model = Turtle(3, outer_steps=5).fit(fitted)
    assert model.labels_.dtype == np.int64
    assert (model.predict(fitted) == model.labels_).all()
    proba = model.predict_proba(new)
    assert proba.shape == (20, 3)
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-5)
    logits = [torch.from_numpy(z @ h[:, :-1].T + h[:, -1]) for z, h in zip(new, model.heads_)]
    expected = sum(z.softmax(1) for z in logits) / 2
    np.testing.assert_allclose(proba, expected.numpy(), rtol=1e-4, atol=1e-6)
    assert (model.predict(new) == proba.argmax(1)).all()
    assert (model.predict([z[:1] for z in new]) == proba[:1].argmax(1)).all()


def test_rows_are_labelled_in_chunks():
    spaces = [space.numpy() for space in random_spaces(23, [4, 3])]
    heads = draw_heads([4, 3], 5, streams(0, 1))
    whole = soft_labels(heads, spaces)
    assert whole.shape == (2, 23, 5)
    parts = list(label_rows(heads, spaces, numbers=7 * 7))
    assert [part.shape[2] for part in parts] == [7, 7, 7, 2]
    np.testing.assert_allclose(torch.cat(parts, 2).mT, whole, rtol=1e-4, atol=1e-6)
    assert (hard_labels(heads, spaces) == whole.argmax(-1)).all()


def test_logits_that_overflow_are_an_error_and_not_a_nan_labeling():
    (head,) = draw_heads([4], 2, streams(0))
    with pytest.raises(ValueError, match="overflow"):
        hard_labels([head.abs() * 100], [np.full((3, 4), 3e38, np.float32)])


@pytest.mark.parametrize("dims", [(8,), (8, 12)])
@pytest.mark.parametrize("warm_start", [False, True])
def test_finds_planted_classes(blobs, dims, warm_start):
    spaces, planted = blobs(120, 4, dims)
    model = Turtle(4, outer_steps=200, outer_lr=0.01, inner_lr=0.01, warm_start=warm_start)
    many = model.fit_many([z[:90] for z in spaces], [{"seed": seed} for seed in range(3)])
    best = min(many, key=lambda run: run.history_["loss"][-1])
    assert cluster_accuracy(planted[:90], best.labels_) == 1.0
    assert cluster_accuracy(planted[90:], best.predict([z[90:] for z in spaces])) == 1.0
    assert len(np.unique(best.labels_)) == 4


def published_accuracies(names, seeds, warm_start=True):
    """Cluster accuracies (%) on the published program's digits, with the defaults otherwise."""
    spaces, labels = digits(names)
    template = Turtle(10, warm_start=warm_start, device="cpu")
    models = template.fit_many(spaces, [{"seed": seed} for seed in seeds])
    return [100 * cluster_accuracy(labels, model.labels_) for model in models]


def test_published_accuracy_with_glyphs_like():
    assert published_accuracies(["glyphs_like"], [0]) == pytest.approx([98.44], abs=0.5)


@pytest.mark.slow
def test_published_accuracy_with_moco_like():
    found = published_accuracies(["moco_like"], range(3))
    assert found == pytest.approx([90.43, 90.32, 90.32], abs=0.5)


@pytest.mark.slow
def test_published_accuracy_with_glyphs_like_of_three_seeds():
    assert published_accuracies(["glyphs_like"], range(3)) == pytest.approx([98.44] * 3, abs=0.5)


@pytest.mark.slow
def test_published_accuracy_with_both():
    """One of the published program's three seeds ended at 95.77; the best is the mark."""
    found = published_accuracies(["moco_like", "glyphs_like"], range(3))
    assert max(found) == pytest.approx(98.94, abs=0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "published"),
    [
        (["glyphs_like"], [94.77, 94.94, 94.82]),
        (["moco_like", "glyphs_like"], [95.49, 95.33, 94.99]),
    ],
)
def test_published_accuracy_of_a_cold_start(names, published):
    """Seeds differ, so the means are compared.

    Over both programs and both cases a seed's standard deviation is 0.34 points, and that of the
    difference of two means of three seeds 0.28: the tolerance is four of these.
    """
    found = published_accuracies(names, range(3), warm_start=False)
    assert np.mean(found) == pytest.approx(np.mean(published), abs=1.1)


@pytest.mark.parametrize("prior", [None, [0.6, 0.3, 0.1]])
@pytest.mark.parametrize("n_spaces", [1, 2, 3])
def test_explicit_gradient_is_that_of_the_objective(n_spaces, prior):
    """The hot loop's gradient, term by term against autograd in float64."""
    stream = torch.Generator().manual_seed(n_spaces)
    dims, runs = (4, 3, 5)[:n_spaces], 2
    spaces = [torch.randn(28, d + 1, generator=stream, dtype=torch.float64) for d in dims]

    def heads():
        return [torch.randn(runs, 3, d + 1, generator=stream, dtype=torch.float64) for d in dims]

    encoder, inner = SoftmaxEncoder.from_heads(heads()), heads()
    gamma = torch.tensor([10.0, 0.5], dtype=torch.float64)
    prior = None if prior is None else torch.tensor(prior, dtype=torch.float64).log()

    inner_logits = [linear_logits(head, space) for head, space in zip(inner, spaces)]
    expected_terms = turtle_objective(encoder.labelings(spaces), inner_logits, gamma, prior)
    expected = torch.autograd.grad(expected_terms[0].sum(), encoder.parameters())

    with torch.no_grad():
        labelings = encoder.labelings(spaces)
        by_logits, terms = turtle_gradient(labelings, inner_logits, gamma, prior)
        by_heads = [head_gradient(g, space) for g, space in zip(by_logits, spaces)]
        found = encoder.gradients(by_heads)
    for ours, theirs in zip((*terms, *found), (*expected_terms, *expected), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-12)

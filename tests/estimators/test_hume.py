"""HUME against a literal reference: autograd through the unrolled inner loop, one run at a time."""

import itertools
from math import log

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from hume_turtle import Hume
from hume_turtle.core import hume_solver
from hume_turtle.core.task_encoders import OrthonormalEncoder, draw_heads, with_constant
from hume_turtle.core.unrolled import HeadSpace, UnrolledDescent, split_at
from hume_turtle.estimators import hume
from hume_turtle.estimators.scores import cross_validation_score
from hume_turtle.evaluation.metrics import cluster_accuracy

CPU = torch.device("cpu")
QUICK = {  # the temperature keeps labelings of small spaces soft, so that gradients are not zero
    "temperature": 1.0,
    "outer_steps": 4,
    "inner_steps": 15,
    "n_subsets": 2,
    "subset_size": 30,
    "inner_lr": 0.1,
    "outer_lr": 0.1,
}


def streams(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def literal_sparsemax(logits):
    """Row by row (n, C): the support of k largest is right if its threshold separates it."""
    rows = []
    for z in logits:
        for k in range(1, len(z) + 1):
            values = z.sort(descending=True).values
            threshold = (values[:k].sum() - 1) / k
            if values[k - 1] > threshold and (k == len(z) or values[k] <= threshold):
                rows.append((z - threshold).clamp_min(0))
                break
    return torch.stack(rows)


def literal_loss(weight, z1, z2, rows, head, fraction, temperature, eta, steps, lr):
    """algorithms.md, HUME, step 3 for one subset: loss, train error, test error, entropy."""
    n_train = int(len(rows) * fraction)
    train, test = rows[:n_train], rows[n_train:]
    tau_train = literal_sparsemax(z1[train] @ weight.T / temperature)
    tau_test = literal_sparsemax(z1[test] @ weight.T / temperature)
    W, b = head[:, :-1].clone().requires_grad_(), head[:, -1].clone().requires_grad_()
    for _ in range(steps):
        train_loss = nn.functional.cross_entropy(z2[train] @ W.T + b, tau_train)
        dW, db = torch.autograd.grad(train_loss, (W, b), create_graph=True)
        W, b = W - lr * dW, b - lr * db
    test_loss = nn.functional.cross_entropy(z2[test] @ W.T + b, tau_test)
    mean = torch.cat([tau_train, tau_test]).mean(0)
    mean = mean[mean > 0]
    entropy = -(mean * mean.log()).sum()
    return torch.stack([test_loss - eta * entropy, train_loss, test_loss, entropy])


class Problem:
    """Random spaces, encoders, subsets and heads in float64, and PyTorch's layers to match."""

    def __init__(self, runs=2, subsets=3, steps=1, n=30, size=20, d1=6, d2=5, classes=3, seed=0):
        generator = torch.Generator().manual_seed(seed)
        z1 = torch.randn(n, d1, generator=generator, dtype=torch.float64)
        self.z1 = z1 / z1.norm(dim=1, keepdim=True)
        self.z2 = torch.randn(n, d2, generator=generator, dtype=torch.float64)
        self.subsets = torch.stack(
            [torch.randperm(n, generator=generator)[:size] for _ in range(steps * runs * subsets)]
        ).view(steps, runs, subsets, size)
        (heads,) = draw_heads([d2], steps * runs * subsets * classes, [generator])
        self.heads = heads.double().view(steps, runs, subsets, classes, d2 + 1)
        torch.manual_seed(seed)
        self.layers = [
            parametrizations.orthogonal(nn.Linear(d1, classes, bias=False).double())
            for _ in range(runs)
        ]
        self.encoder = OrthonormalEncoder(
            torch.stack([p.parametrizations.weight.original.detach() for p in self.layers]),
            torch.stack([p.parametrizations.weight[0].base for p in self.layers]),
        )

    def literal(self, t, run, subset, *settings):
        rows, head = self.subsets[t, run, subset], self.heads[t, run, subset]
        return literal_loss(self.layers[run].weight, self.z1, self.z2, rows, head, *settings)

    def gradient(self, eta):
        return hume_solver.hume_gradient(
            self.encoder,
            self.z1,
            HeadSpace(with_constant(self.z2)),
            self.subsets[0],
            self.heads[0],
            n_train=14,
            temperature=0.2,
            gamma=torch.tensor(eta, dtype=torch.float64),
            descent=UnrolledDescent(9, 0.5),
        )


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("d1", [6, 3])
@pytest.mark.parametrize("eta", [[0.0, 0.0], [10.0, 0.5]])
def test_gradient_is_autograd_through_the_unrolled_inner_loop(monkeypatch, eta, d1, share):
    """Whether the subsets share products with all rows or each gathers its own."""
    problem = Problem(d1=d1)
    monkeypatch.setattr(hume_solver, "worth_sharing", lambda *_: share)
    gradient, terms = problem.gradient(eta)
    assert gradient.shape == (2, 3, d1)
    assert terms.shape == (4, 2, 3)
    for run in range(2):
        expected = [problem.literal(0, run, s, 0.7, 0.2, eta[run], 9, 0.5) for s in range(3)]
        torch.testing.assert_close(terms[:, run], torch.stack(expected, 1))
        loss = torch.stack(expected)[:, 0].mean()
        original = problem.layers[run].parametrizations.weight.original
        (by_autograd,) = torch.autograd.grad(loss, original)
        torch.testing.assert_close(gradient[run], by_autograd, rtol=1e-8, atol=1e-10)
        assert by_autograd.norm() > 1e-4


@pytest.mark.parametrize("eta", [0.0, 3.0])
def test_objective_against_finite_differences(eta):
    problem = Problem(runs=1, subsets=2)
    index = problem.subsets[0, 0, 0]
    rows = problem.encoder.weight.detach().clone().requires_grad_()
    space1, space2 = problem.z1[index], HeadSpace(with_constant(problem.z2)[index])

    def loss(rows):
        return hume_solver.hume_loss(
            rows,
            space1,
            space2,
            problem.heads[0],
            *split_at(14, len(index)),
            temperature=0.5,
            gamma=torch.tensor([eta], dtype=torch.float64),
            descent=UnrolledDescent(6, 0.8),
        )[0]

    assert torch.autograd.gradcheck(loss, (rows,))


def test_subsets_share_products_where_they_are_much_of_the_data():
    def subset(size, device="cpu"):
        return torch.empty(1, 20, size, device=device)

    assert hume_solver.worth_sharing(100, subset(100))
    assert hume_solver.worth_sharing(100, subset(50))
    assert not hume_solver.worth_sharing(100, subset(49))
    assert hume_solver.worth_sharing(100, subset(5, "meta"))
    assert not hume_solver.worth_sharing(101, subset(5, "meta"))
    assert not hume_solver.worth_sharing(100, subset(100)[:, :1]), "nothing to share with"


def test_the_second_order_part_matters():
    """With the first-order gradient, the training labels held fixed, this reference would fail."""
    problem = Problem(runs=1, subsets=1)
    gradient, _ = problem.gradient([0.0])
    rows, head = problem.subsets[0, 0, 0], problem.heads[0, 0, 0]
    weight = problem.layers[0].weight
    tau = literal_sparsemax(problem.z1[rows] @ weight.T / 0.2)
    W = head.clone().requires_grad_()
    z = with_constant(problem.z2)[rows]
    for _ in range(9):
        error = nn.functional.cross_entropy(z[:14] @ W.T, tau[:14].detach())
        W = (W - 0.5 * torch.autograd.grad(error, W)[0]).detach().requires_grad_()
    loss = nn.functional.cross_entropy(z[14:] @ W.T.detach(), tau[14:])
    (first_order,) = torch.autograd.grad(loss, problem.layers[0].parametrizations.weight.original)
    assert (gradient[0] - first_order).norm() > 0.01 * gradient.norm()


@pytest.mark.parametrize("anneal", [False, True])
def test_minimisation_is_clipped_adam_with_annealing(anneal):
    """Entropy weights 0.1 and 1000: in the first step only the second run is clipped."""
    steps, eta, outer_lr = 6, [0.1, 1000.0], [0.02, 0.05]
    problem = Problem(steps=steps)
    gradients = []
    history = hume_solver.minimise_hume(
        problem.z1,
        HeadSpace(with_constant(problem.z2)),
        problem.encoder,
        problem.subsets,
        iter(problem.heads),
        UnrolledDescent(5, 0.5),
        train_fraction=0.7,
        temperature=1.5,
        gamma=torch.tensor(eta, dtype=torch.float64),
        outer_lr=torch.tensor(outer_lr, dtype=torch.float64),
        anneal_at=(2, 4) if anneal else (),
        watch=lambda gradient, *_: gradients.append(gradient),
    )
    assert list(history) == ["loss", "train_loss", "test_loss", "entropy"]
    for run, layer in enumerate(problem.layers):
        adam = torch.optim.Adam(layer.parameters(), lr=outer_lr[run])
        temperature = 1.5
        for t in range(steps):
            if anneal and t in (2, 4):
                temperature /= 10
                adam.param_groups[0]["lr"] *= 0.1
            terms = torch.stack(
                [problem.literal(t, run, s, 0.7, temperature, eta[run], 5, 0.5) for s in range(3)]
            )
            adam.zero_grad()
            terms[:, 0].mean().backward()
            gradient = layer.parametrizations.weight.original.grad
            torch.testing.assert_close(gradients[t][run], gradient, rtol=1e-5, atol=1e-7)
            norm = nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
            assert t > 0 or (norm > 1) == (run == 1)
            adam.step()
            for values, expected in zip(history.values(), terms.T):
                torch.testing.assert_close(values[t, run], expected, rtol=1e-5, atol=1e-7)
        ours = problem.encoder.weight[run]
        torch.testing.assert_close(ours, layer.weight, rtol=1e-5, atol=1e-7)


def test_annealing_comes_after_its_outer_iterations(blobs, monkeypatch):
    assert hume.ANNEAL_AT == (100, 200)
    monkeypatch.setattr(hume, "ANNEAL_AT", (3, 5))
    spaces, _ = blobs(24, 3, (5, 4))
    before, after, fixed = (
        Hume(3, **{**QUICK, "outer_steps": steps, "anneal": anneal}).fit(spaces)
        for steps, anneal in ((3, True), (4, True), (4, False))
    )
    for name in before.history_:
        assert (before.history_[name] == after.history_[name][:3]).all()
        assert (before.history_[name] == fixed.history_[name][:3]).all()
    assert after.history_["loss"][3] != fixed.history_["loss"][3]
    for model, temperature in ((before, 1.0), (after, 0.1), (fixed, 1.0)):
        logits = torch.from_numpy(unit(spaces[0]) @ model.heads_[0][0].T)
        expected = literal_sparsemax(logits / temperature)
        np.testing.assert_allclose(model.predict_proba(spaces), expected, rtol=0, atol=1e-4)


def unit(space):
    return space / np.linalg.norm(space, axis=1, keepdims=True)


def test_inner_heads_are_fresh_for_every_subset_or_one_for_the_run():
    fresh = hume.draw_inner_heads(4, 3, 2, True, streams(0, 1))
    first, second = next(fresh), next(fresh)
    assert first.shape == (2, 2, 3, 5)
    drawn = [*first.flatten(0, 1), *second.flatten(0, 1)]
    assert all((a != b).any() for a, b in itertools.combinations(drawn, 2))
    assert first.abs().max() <= 4**-0.5
    fixed = hume.draw_inner_heads(4, 3, 2, False, streams(0, 1))
    first, second = next(fixed), next(fixed)
    assert first.shape == (2, 2, 3, 5)
    assert torch.equal(first, second)
    assert torch.equal(first[:, 0], first[:, 1])
    assert (first[0] != first[1]).any()


def test_subsets_hold_distinct_rows():
    draws = list(hume.draw_subsets(20, 8, 3, 4, streams(0, 1)))
    assert [d.shape for d in draws] == [(2, 3, 8)] * 4
    for subset in torch.stack(draws).view(-1, 8):
        assert len(set(subset.tolist())) == 8
        assert subset.min() >= 0
        assert subset.max() < 20
    (whole,) = hume.draw_subsets(5, 8, 1, 1, streams(0))
    assert sorted(whole.flatten().tolist()) == list(range(5))
    assert len({tuple(s.tolist()) for s in torch.stack(draws).view(-1, 8)}) == 24


def test_l2_normalise():
    rows = np.array([[3, 4], [0, 0], [3e-30, 4e-30], [3e30, 4e30], [0, -2]], np.float32)
    expected = [[0.6, 0.8], [0, 0], [0.6, 0.8], [0.6, 0.8], [0, -1]]
    np.testing.assert_allclose(hume.l2_normalise(rows, CPU), expected, rtol=1e-6)


def test_the_scale_of_the_first_space_does_not_matter(blobs):
    (z1, z2), _ = blobs(30, 3, (5, 4))
    scales = np.exp2(np.random.default_rng(0).integers(-5, 5, size=(30, 1))).astype(np.float32)
    first, second = (Hume(3, **QUICK).fit([z, z2]) for z in (z1, z1 * scales))
    np.testing.assert_allclose(first.heads_[0], second.heads_[0], rtol=1e-4, atol=1e-5)


def test_finds_planted_classes_inductive_and_transductive(blobs):
    spaces, planted = blobs(120, 3, (6, 8))
    train, test = [z[:80] for z in spaces], [z[80:] for z in spaces]
    model = Hume(3, outer_steps=40, inner_steps=15, n_subsets=2, inner_lr=0.1, outer_lr=0.05)
    inductive = max(
        model.fit_many(train, [{"seed": s} for s in range(4)]),
        key=lambda run: -run.history_["loss"][-5:].mean(),
    )
    assert cluster_accuracy(planted[:80], inductive.labels_) == 1.0
    labels = inductive.predict(test)
    assert cluster_accuracy(planted[80:], labels) == 1.0
    assert (inductive.predict(test[0]) == labels).all()
    assert (inductive.predict([test[0]]) == labels).all()
    assert (inductive.predict_proba(test[0]) == inductive.predict_proba(test)).all()
    transductive = model.set_params(outer_steps=3).fit(spaces)
    assert transductive.labels_.shape == (120,)
    assert (transductive.predict(spaces[0]) == transductive.labels_).all()


def test_fitted_arrays(blobs):
    spaces, _ = blobs(30, 3, (5, 4))
    model = Hume(3, **QUICK).fit(spaces)
    assert model.labels_.shape == (30,)
    assert model.labels_.dtype == np.int64
    assert model.run_labels_.shape == (1, 30)
    assert np.isnan(model.run_scores_).all()
    assert {name: h.shape for name, h in model.history_.items()} == dict.fromkeys(
        ("loss", "train_loss", "test_loss", "entropy"), (4, 1)
    )
    loss, test_loss, entropy = (model.history_[k] for k in ("loss", "test_loss", "entropy"))
    np.testing.assert_allclose(loss, test_loss - 10 * entropy, rtol=1e-4)
    assert (entropy <= log(3) + 1e-5).all()
    (rows,) = model.heads_
    assert rows.shape == (1, 3, 5)
    np.testing.assert_allclose(rows[0] @ rows[0].T, np.eye(3), rtol=0, atol=1e-5)
    labels = (unit(spaces[0]) @ rows[0].T).argmax(1)
    assert (model.labels_ == labels).all()
    assert (model.predict(spaces) == labels).all()
    proba = model.predict_proba(spaces)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-5)
    assert proba.dtype == np.float32


def test_a_high_temperature_does_not_blur_the_labels(blobs):
    spaces, _ = blobs(30, 3, (5, 4))
    model = Hume(3, **{**QUICK, "temperature": 1e7}).fit(spaces)
    assert (model.labels_ == (unit(spaces[0]) @ model.heads_[0][0].T).argmax(1)).all()
    assert (model.predict(spaces) == model.labels_).all()


@pytest.mark.parametrize("random_inner_init", [False, True])
def test_same_seed_same_bits(blobs, random_inner_init):
    spaces, _ = blobs(30, 3, (5, 4))
    model = Hume(3, **QUICK, random_inner_init=random_inner_init)
    torch.manual_seed(1)
    first = model.fit(spaces).heads_[0]
    torch.manual_seed(2)
    assert (model.fit(spaces).heads_[0] == first).all()
    assert (model.set_params(seed=1).fit(spaces).heads_[0] != first).any()
    other = model.set_params(seed=0, random_inner_init=not random_inner_init).fit(spaces)
    assert (other.heads_[0] != first).any()


SETTINGS = [
    {"seed": 3},
    {"seed": 4, "gamma": 1.0},
    {"n_runs": 2, "outer_lr": 0.03},
    {"random_inner_init": False},
    {"temperature": 2.0, "seed": np.int64(3)},
    {"n_classes": 5},
]


def test_batched_runs_equal_solo_fits(blobs):
    spaces, _ = blobs(30, 3, (5, 4))
    template = Hume(3, **QUICK)
    for setting, model in zip(SETTINGS, template.fit_many(spaces, SETTINGS), strict=True):
        params = {**template.get_params(), **setting}
        assert model.get_params() == params
        alone = Hume(**params).fit(spaces)
        np.testing.assert_allclose(alone.heads_[0], model.heads_[0], rtol=1e-2, atol=1e-3)
        for name, values in alone.history_.items():
            assert values.shape == model.history_[name].shape == (4, params.get("n_runs", 1))
            np.testing.assert_allclose(model.history_[name], values, rtol=1e-3, atol=1e-3)
        assert (alone.labels_ == model.labels_).mean() > 0.95
        for score, labels in zip(model.run_scores_, model.run_labels_):
            expected = cross_validation_score(spaces[1], labels) if model.n_runs > 1 else np.nan
            np.testing.assert_allclose(score, expected, atol=0.04)


def test_majority_vote_of_matched_runs(blobs, monkeypatch):
    scores = iter([0.5, 0.9, 0.7, 0.9])
    monkeypatch.setattr(hume, "cross_validation_score", lambda *_, **__: next(scores))
    (z1, z2), _ = blobs(60, 3, (5, 4))
    noise = np.random.default_rng(0).normal(size=z1.shape).astype(np.float32)
    spaces = [z1 + 3 * noise, z2]  # hard enough for runs to disagree
    model = Hume(3, **QUICK, n_runs=4, seed=2).fit(spaces)
    assert model.run_labels_.shape == (4, 60)
    assert all(values.shape == (4, 4) for values in model.history_.values())
    votes = np.stack([(model.run_labels_ == c).sum(0) for c in range(3)])  # (C, n)
    best = 1  # the first of the two with the highest score
    for i, label in enumerate(model.labels_):
        winners = np.flatnonzero(votes[:, i] == votes[:, i].max())
        assert label in winners
        if len(winners) > 1 and model.run_labels_[best, i] in winners:
            assert label == model.run_labels_[best, i]
    assert (model.predict(spaces) == model.labels_).all()
    assert (model.predict(spaces[0][:7]) == model.labels_[:7]).all()
    np.testing.assert_allclose(model.predict_proba(spaces).sum(1), 1, rtol=1e-5)
    for run, labels in enumerate(model.run_labels_):
        alone = Hume(3, **QUICK, seed=2 + run).fit(spaces).labels_
        assert cluster_accuracy(alone, labels) > 0.95, "each run is a fit of its own"
        agreement = [
            (np.array(order)[labels] == model.run_labels_[best]).mean()
            for order in itertools.permutations(range(3))
        ]
        assert agreement[0] == max(agreement), "classes are numbered as in the best run"
        rows = model.heads_[0][run]
        assert (labels == (unit(spaces[0]) @ rows.T).argmax(1)).all(), "heads match their labels"


def test_rows_of_zeros_are_labelled_alike_in_fit_and_predict(blobs, monkeypatch):
    scores = iter([0.5, 0.7, 0.9, 0.7])
    monkeypatch.setattr(hume, "cross_validation_score", lambda *_, **__: next(scores))
    spaces, _ = blobs(40, 3, (5, 4))
    spaces[0][::4] = 0
    model = Hume(3, **QUICK, n_runs=4).fit(spaces)
    assert (model.predict(spaces) == model.labels_).all()
    assert (model.run_scores_ == [0.5, 0.7, 0.9, 0.7]).all()
    for labels, rows in zip(model.run_labels_, model.heads_[0]):
        assert (labels == (spaces[0] @ rows.T).argmax(1)).all()


@pytest.fixture
def hard(blobs):
    """Spaces in which runs disagree, and as many new rows of the same classes."""
    (z1, z2), _ = blobs(120, 3, (5, 4))
    noise = np.random.default_rng(0).normal(size=z1.shape).astype(np.float32)
    spaces = [z1 + 3 * noise, z2]
    return [z[:60] for z in spaces], [z[60:] for z in spaces]


@pytest.fixture
def quick_score(monkeypatch):
    """In place of cross-validation: the variance between classes, however they are numbered."""

    def score(space, labels, **_):
        means = np.stack([space[labels == c].mean(0) for c in np.unique(labels)])
        return float((np.bincount(labels)[np.unique(labels)] @ (means**2).sum(1)) / len(labels))

    monkeypatch.setattr(hume, "cross_validation_score", score)


def published_vote(labelings, best, n_classes):
    """Of every matching of a run's classes to the best run's the one with most agreement."""
    votes = np.zeros((labelings.shape[1], n_classes), int)
    for labels in labelings:
        renamed = max(
            (np.array(names)[labels] for names in itertools.permutations(range(n_classes))),
            key=lambda renamed: (renamed == labelings[best]).sum(),
        )
        votes[np.arange(len(labels)), renamed] += 1
    return votes.argmax(1)  # of a tie the lowest class


def test_the_vote_as_published_matches_on_the_rows_it_is_given(hard, quick_score):
    spaces, new = hard
    model = Hume(3, **QUICK, n_runs=4, seed=2).fit(spaces)
    rows = [unit(new[0]) @ head.T for head in model.heads_[0]]
    labelings = np.stack([logits.argmax(1) for logits in rows])  # (4, 60)
    expected = published_vote(labelings, int(np.argmax(model.run_scores_)), 3)
    found = model.predict_rematched(new)
    np.testing.assert_array_equal(found, expected)
    assert (found != model.predict(new)).any(), "four runs tie, and the classes match otherwise"
    assert (model.predict_rematched(new[0]) == found).all()
    some = slice(0, 7)
    assert (model.predict(new[0][some]) == model.predict(new)[some]).all()


def test_a_single_run_votes_alone(hard):
    spaces, new = hard
    model = Hume(3, **QUICK).fit(spaces)
    np.testing.assert_array_equal(model.predict_rematched(new), model.predict(new))


def test_rows_are_labelled_in_chunks(hard, quick_score, monkeypatch):
    spaces, _ = hard
    model = Hume(3, **QUICK, n_runs=2).fit(spaces)
    monkeypatch.setattr(hume, "LOGITS_AT_ONCE", 6 * 7)  # seven rows at a time
    assert [part.shape[-1] for part in model._logits(spaces[0])] == [7] * 8 + [4]
    np.testing.assert_array_equal(model.predict(spaces), model.labels_)
    one = Hume(3, **QUICK).fit(spaces)
    assert one.predict_proba(spaces).shape == (60, 3)


@pytest.mark.parametrize("blocks", [[2, 2], [1, 2, 1], [1, 1, 1, 1], [4]])
@pytest.mark.parametrize("settings", [QUICK, {"recipe": "fast"}], ids=["published", "fast"])
def test_parts_joined_are_the_fit_of_all_runs(
    hard, quick_score, short_recipe, tmp_path, settings, blocks
):
    spaces, new = hard
    whole = Hume(3, **settings, n_runs=4, seed=2).fit(spaces)
    parts = []
    for k, runs in enumerate(blocks):
        Hume(3, **settings, n_runs=runs, seed=2 + sum(blocks[:k])).fit(spaces).save(tmp_path / "p")
        parts.append(Hume.load(tmp_path / "p"))
    before = [part.heads_[0].copy() for part in parts]
    joined = Hume.join(parts[::-1], spaces)  # in any order
    assert joined.get_params() == whole.get_params()
    assert joined.precision_ == whole.precision_
    np.testing.assert_array_equal(joined.run_labels_, whole.run_labels_)
    np.testing.assert_array_equal(joined.labels_, whole.labels_)
    np.testing.assert_allclose(joined.run_scores_, whole.run_scores_, rtol=1e-5)
    np.testing.assert_allclose(joined.heads_[0], whole.heads_[0], rtol=1e-3, atol=1e-4)
    for name, values in whole.history_.items():
        np.testing.assert_allclose(joined.history_[name], values, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(joined.predict(new), whole.predict(new))
    np.testing.assert_array_equal(joined.predict_rematched(new), whole.predict_rematched(new))
    assert all((part.heads_[0] == heads).all() for part, heads in zip(parts, before))
    joined.save(tmp_path / "joined")
    assert (Hume.load(tmp_path / "joined").labels_ == whole.labels_).all()


def test_a_single_part_is_itself(hard):
    spaces, _ = hard
    part = Hume(3, **QUICK).fit(spaces)
    joined = Hume.join([part], spaces)
    assert joined.n_runs == 1
    assert np.isnan(joined.run_scores_).all()
    np.testing.assert_array_equal(joined.labels_, part.labels_)


def test_parts_that_do_not_belong_together(hard):
    spaces, new = hard
    first, second, third = Hume(3, **QUICK).fit_many(spaces, [{"seed": s} for s in range(3)])
    other = Hume(3, **QUICK, seed=1, gamma=1.0).fit(spaces)
    rough = Hume(3, **QUICK, seed=1).fit(spaces)
    rough.precision_ = "bf16"
    cases = [
        ([], spaces, "at least one fitted Hume"),
        ([first, "second"], spaces, "at least one fitted Hume"),
        ([first, Hume(3, seed=1)], spaces, "not fitted"),
        ([first, third], spaces, "seed=2 should have seed=1.*without gap or overlap"),
        ([first, second, second], spaces, "seed=1 should have seed=2"),
        ([first, other], spaces, "seed=1 has other settings than that with seed=0"),
        ([first, rough], spaces, "seed=1 ran in bf16, the first in fp32"),
        ([first, second], spaces[:1], "two spaces.*1 given"),
        ([first, second], [z[:50] for z in spaces], "has 60 rows, the spaces 50"),
        ([first, second], new, "of other rows"),
        ([first, second], [spaces[0][::-1], spaces[1]], "of other rows"),
        ([first, second], [spaces[1], spaces[0]], "space 0 has 4 dimensions"),
    ]
    for parts, rows, message in cases:
        with pytest.raises(ValueError, match=message):
            Hume.join(parts, rows)


def test_as_many_classes_as_dimensions(blobs):
    spaces, _ = blobs(30, 4, (4, 6))
    model = Hume(4, **QUICK).fit(spaces)
    rows = model.heads_[0][0]
    np.testing.assert_allclose(rows @ rows.T, np.eye(4), rtol=0, atol=1e-5)
    assert set(model.labels_) <= set(range(4))


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ([(20, 5)], "two spaces.*1 given"),
        ([(20, 5), (20, 4), (20, 4)], "two spaces.*3 given"),
        ([(20, 2), (20, 4)], "space 0 has 2 dimensions"),
    ],
)
def test_spaces_that_do_not_fit(spaces, message):
    arrays = [np.ones(shape, np.float32) for shape in spaces]
    with pytest.raises(ValueError, match=message):
        Hume(3, outer_steps=10**9).fit(arrays)


@pytest.mark.parametrize("train_fraction", [0.01, 0.999, 1.0, 1.5])
def test_a_fraction_that_leaves_no_rows(blobs, train_fraction):
    spaces, _ = blobs(20, 3, (5, 4))
    if train_fraction == 0.999:  # 19 of 20 rows train, and one tests
        Hume(3, **QUICK, train_fraction=train_fraction).fit(spaces)
        return
    with pytest.raises(ValueError, match=r"train_fraction=.* subset of 20 rows"):
        Hume(3, outer_steps=10**9, train_fraction=train_fraction).fit(spaces)


@pytest.fixture
def short_recipe(monkeypatch):
    """The fast recipe with a schedule that takes no time."""
    schedule = hume.FAST._replace(outer_steps=6, anneal_at=(2, 4), restarts=3)
    monkeypatch.setattr(hume, "FAST", schedule)
    return schedule


def test_fast_keeps_the_restart_with_the_lowest_objective(blobs, short_recipe, monkeypatch):
    monkeypatch.setattr(hume, "ANNEAL_AT", short_recipe.anneal_at)
    monkeypatch.setattr(hume, "cross_validation_score", lambda *_, **__: 0.5)
    spaces, _ = blobs(60, 3, (5, 4))
    model = Hume(3, recipe="fast", n_runs=2, seed=4).fit(spaces)
    assert model.heads_[0].shape == (2, 3, 5)
    assert model.history_["loss"].shape == (6, 2)
    for run in range(2):
        ends = []
        for restart in range(3):  # each alone, by the settings that the recipe stands for
            setting = {"seed": hume.derived_seed(4 + run, restart), "outer_steps": 6}
            setting |= {"n_subsets": 1, "outer_lr": short_recipe.outer_lr, "inner": "coarse"}
            alone = Hume(3, **setting).fit(spaces)
            ends.append(alone.history_["loss"][:, 0])
        assert len({round(float(end[0]), 3) for end in ends}) == 3, "restarts differ"
        best = min(ends, key=lambda end: end.mean())
        np.testing.assert_allclose(model.history_["loss"][:, run], best, rtol=0.02)


def test_fast_labels_at_its_own_last_temperature(blobs, short_recipe):
    spaces, _ = blobs(30, 3, (5, 4))
    model = Hume(3, recipe="fast").fit(spaces)
    expected = literal_sparsemax(torch.from_numpy(unit(spaces[0]) @ model.heads_[0][0].T) / 1e-3)
    np.testing.assert_allclose(model.predict_proba(spaces), expected, rtol=0, atol=1e-3)
    assert (Hume(3, recipe="fast").fit(spaces).heads_[0] == model.heads_[0]).all()


def test_lowest_of_the_restarts_of_each_run():
    loss = np.zeros((12, 6))
    loss[2:] = [3, 1, 2, 5, 6, 4]  # the first iterations do not count
    loss[:2, 0] = -1e9
    assert hume.lowest(loss, 3).tolist() == [1, 5]
    assert hume.lowest(loss, 1).tolist() == [0, 1, 2, 3, 4, 5]
    loss[-1, 1] = np.nan
    assert hume.lowest(loss, 3).tolist() == [2, 5]


def test_seeds_of_restarts_differ_where_generators_look():
    seeds = [hume.derived_seed(seed, r) for seed in range(20) for r in range(8)]
    assert [hume.derived_seed(seed, 0) for seed in (0, 7)] == [0, 7]
    assert len({seed % 2**32 for seed in seeds}) == 160


@pytest.mark.parametrize("name", hume.SET_BY_RECIPE)
def test_fast_decides_its_settings_itself(blobs, name):
    other = {"anneal": False, "inner": "coarse", "rank": 3, "inner_lr": 0.1, "outer_lr": 0.1}
    spaces, _ = blobs(30, 3, (5, 4))
    with pytest.raises(ValueError, match=f"^{name}=.*recipe='fast' decides"):
        Hume(3, recipe="fast", **{name: other.get(name, 7)}).fit(spaces)


def test_unknown_recipe(blobs):
    with pytest.raises(ValueError, match="recipe='slow' must be one of published, fast"):
        Hume(3, recipe="slow").fit(blobs(30, 3, (5, 4))[0])


@pytest.mark.parametrize("changes", [{"rank": 3}, {"inner": "coarse"}])
def test_approximate_fits_come_close_to_exact_ones(blobs, changes):
    spaces, _ = blobs(60, 3, (5, 4))
    settings = {**QUICK, "inner_steps": 100, "inner_lr": 1e-3}
    exact, close = (Hume(3, **settings, **c).fit(spaces) for c in ({}, changes))
    np.testing.assert_allclose(exact.history_["loss"], close.history_["loss"], rtol=0.01)


def test_bfloat16_moves_few_labels(blobs):
    spaces, _ = blobs(120, 3, (6, 8))
    settings = {**QUICK, "outer_steps": 20}
    exact, rough = (Hume(3, **settings, precision=p).fit(spaces) for p in ("fp32", "bf16"))
    assert (exact.labels_ == rough.labels_).mean() > 0.95
    difference = abs(exact.history_["test_loss"] - rough.history_["test_loss"])
    assert 0 < difference.max() < 0.05


def test_predict_takes_at_most_two_spaces(blobs):
    (z1, z2), _ = blobs(20, 3, (5, 4))
    model = Hume(3, **QUICK).fit([z1, z2])
    for spaces in ([z1, z2, z2], [z1] * 3):
        with pytest.raises(ValueError, match="3 spaces given"):
            model.predict(spaces)
    with pytest.raises(ValueError, match=r"space 0 has 4 dimensions.*used 5"):
        model.predict([z2, z1])

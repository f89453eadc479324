"""Logistic regressions against scikit-learn's coefficients, and their derivatives."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from hume_turtle.estimators import logistic, rows
from hume_turtle.estimators.logistic import (
    Design,
    fit_head,
    fit_parts,
    mean_cross_entropy,
    predict_head,
)
from hume_turtle.estimators.rows import JoinedRows
from tests.helpers.gaussians import blobs

pytestmark = pytest.mark.usefixtures("one_thread")


def folds(n: int, count: int = 5) -> np.ndarray:
    """The training rows of each fold, (count, n) bool."""
    parts = np.ones((count, n), bool)
    for part, (_, test) in zip(parts, KFold(count, shuffle=True, random_state=0).split(parts[0])):
        part[test] = False
    return parts


def assert_heads_equal(weight, bias, theirs: LogisticRegression, atol: float = 1e-5):
    if len(weight) == 2:  # scikit-learn keeps the difference only
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    np.testing.assert_allclose(weight, theirs.coef_, atol=atol)
    np.testing.assert_allclose(
        bias - bias.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=10 * atol
    )


def test_gradient_is_the_derivative_whatever_the_block(monkeypatch):
    features, labels = blobs(4, n=30)
    rows, targets = torch.tensor(features), torch.tensor(labels)
    weight = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(rows @ weight.T + bias, targets)
    expected.backward()
    for block in (2**22, 28):  # all rows together, then seven rows at a time
        monkeypatch.setattr("hume_turtle.estimators.rows.BLOCK", block)
        loss, d_weight, d_bias = mean_cross_entropy(weight.detach(), bias.detach(), rows, targets)
        torch.testing.assert_close(loss, expected.detach())
        torch.testing.assert_close(d_weight, weight.grad)
        torch.testing.assert_close(d_bias, bias.grad)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("C", [0.01, 1.0])
def test_head_has_the_coefficients_of_scikit_learn(n_classes, C):
    features, labels = blobs(n_classes, spread=2.0)
    weight, bias = fit_head(Design.of(JoinedRows(features), labels), C, tol=1e-8)
    theirs = LogisticRegression(C=C, tol=1e-8, max_iter=10_000).fit(features, labels)
    assert_heads_equal(weight, bias, theirs)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_start_is_where_the_fit_starts(n_classes):
    features, labels = blobs(n_classes, spread=2.0)
    design = Design.of(JoinedRows(features), labels)
    head = fit_head(design, 1.0, tol=1e-8)
    again = fit_head(design, 1.0, start=head, max_iter=0)
    np.testing.assert_allclose(again[0], head[0], atol=1e-9)
    np.testing.assert_allclose(again[1], head[1], atol=1e-9)


@pytest.mark.parametrize("whole", [True, False])  # the Hessian's blocks, or its diagonal
@pytest.mark.parametrize("block", [2**22, 100])  # all rows together, then a few at a time
@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("C", [0.01, 1.0])
def test_parts_have_the_coefficients_of_scikit_learn(n_classes, C, block, whole, monkeypatch):
    monkeypatch.setattr(rows, "BLOCK", block)
    monkeypatch.setattr(logistic, "WHOLE", logistic.WHOLE if whole else 0)
    features, labels = blobs(n_classes, spread=2.0)
    parts = folds(150)
    parts[0, 20:] = False  # parts may differ in size
    weights, biases = fit_parts(Design.of(JoinedRows(features), labels), parts, C, tol=1e-14)
    for part, weight, bias in zip(parts, weights, biases):
        theirs = LogisticRegression(C=C, tol=1e-8, max_iter=10_000)
        assert_heads_equal(weight, bias, theirs.fit(features[part], labels[part]))


def test_a_class_without_rows_is_no_class_of_that_part():
    features, labels = blobs(3, spread=2.0)
    design = Design.of(JoinedRows(features), labels)
    parts = np.stack([labels != 1, labels == 2, labels >= 0])
    weights, biases = fit_parts(design, parts, 1.0, tol=1e-14)
    theirs = LogisticRegression(tol=1e-8, max_iter=10_000)
    theirs.fit(features[parts[0]], labels[parts[0]])  # two classes are left
    assert_heads_equal(weights[0, [0, 2]], biases[0, [0, 2]], theirs)
    assert set(predict_head(JoinedRows(features), design.classes, weights[0], biases[0])) == {0, 2}
    assert set(predict_head(JoinedRows(features), design.classes, weights[1], biases[1])) == {2}


def test_parts_in_single_precision_are_near_the_optimum_after_few_steps(monkeypatch):
    """With the default tolerance: logits to 0.1 where scikit-learn's, at its own, are 0.5 away."""
    features, labels = load_digits(return_X_y=True)
    features = (features / 6).astype(np.float32)  # of order one, as TURTLE's spaces are
    evaluations, objective = [], logistic._Parts.objective
    monkeypatch.setattr(
        logistic._Parts, "objective", lambda *args: evaluations.append(1) or objective(*args)
    )
    parts = folds(len(labels), 3)
    weights, biases = fit_parts(Design.of(JoinedRows(features), labels), parts, 1.0)
    assert len(evaluations) < 40  # 48 with the Hessian's first blocks alone
    exact = LogisticRegression(tol=1e-7, max_iter=10_000).fit(features[parts[0]], labels[parts[0]])
    ours, theirs = features @ weights[0].T + biases[0], exact.decision_function(features)
    ours, theirs = (logits - logits.mean(1, keepdims=True) for logits in (ours, theirs))
    assert np.abs(ours - theirs).max() < 0.1


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_parts_do_not_mind_the_scale_of_a_space(scale):
    """Features times s and C over s² are the same problem."""
    features, labels = blobs(4, spread=2.0)
    parts = folds(150)
    weights, biases = fit_parts(Design.of(JoinedRows(features), labels), parts, 1.0, tol=1e-14)
    scaled = Design.of(JoinedRows((scale * features).astype(np.float32)), labels)
    again, more = fit_parts(scaled, parts, 1 / scale**2)
    np.testing.assert_allclose(scale * again, weights, atol=0.02)
    np.testing.assert_allclose(more - more.mean(1)[:, None], biases, atol=0.1)


def test_objective_of_parts_and_its_derivatives(monkeypatch):
    """Against cross-entropy and penalty written out, by autograd in float64."""
    features, labels = blobs(4, n=30)
    parts, C = folds(30), 0.5
    problems = logistic._Parts.of(Design.of(JoinedRows(features), labels), parts, C)
    rows = torch.nn.functional.pad(problems.rows, (0, 1), value=1.0)  # the constant column
    targets = torch.tensor(labels)
    heads = torch.randn(5, 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def written_out(head, part):
        error = torch.nn.functional.cross_entropy(rows[part] @ head.T, targets[part])
        return error + head[:, :-1].square().sum() / 2 / (C * part.sum())

    losses, gradients = problems.objective(heads)
    blocks = torch.zeros(4, 7, 7, dtype=torch.float64)
    for part, head, loss, gradient in zip(torch.tensor(parts), heads, losses, gradients):
        torch.testing.assert_close(loss.squeeze(), written_out(head, part))
        leaf = head.clone().requires_grad_()
        (expected,) = torch.autograd.grad(written_out(leaf, part), leaf)
        torch.testing.assert_close(gradient, expected)
        hessian = torch.autograd.functional.hessian(partial(written_out, part=part), head)
        blocks += torch.stack([hessian[c, :, c] for c in range(4)]) / len(parts)
    inverse = problems.inverse_hessian(heads)
    ridge = torch.diag_embed(1e-4 * blocks.diagonal(dim1=1, dim2=2))
    identity = torch.eye(7, dtype=torch.float64).expand(4, 7, 7)
    torch.testing.assert_close(inverse @ (blocks + ridge), identity, atol=1e-7, rtol=0)
    monkeypatch.setattr(logistic, "WHOLE", 0)
    diagonal = problems.inverse_hessian(heads)
    torch.testing.assert_close(diagonal, 1 / (blocks + ridge).diagonal(dim1=1, dim2=2))


def test_heads_of_rows_that_are_read_are_those_of_rows_that_are_held(monkeypatch):
    features, labels = blobs(4, spread=2.0)
    spaces = [features, features[:, ::2].astype(np.float16)]
    held, parts = Design.of(JoinedRows(spaces), labels), folds(150)
    monkeypatch.setattr(rows, "HELD", 100)
    monkeypatch.setattr(rows, "BLOCK", 70)
    read = Design.of(JoinedRows(spaces), labels)
    assert isinstance(held.rows, torch.Tensor)
    assert isinstance(read.rows, JoinedRows)
    for fit in (
        lambda d: fit_head(d, 1.0, tol=1e-8),
        lambda d: fit_parts(d, parts, 1.0, tol=1e-14),
    ):
        for one, other in zip(fit(held), fit(read)):
            np.testing.assert_allclose(one, other, atol=1e-5)

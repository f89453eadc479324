"""The unrolled inner loop against autograd through every step, and against itself."""

import pytest
import torch

from hume_turtle.core import unrolled
from hume_turtle.core.task_encoders import with_constant
from hume_turtle.core.unrolled import HeadSpace, Split, UnrolledDescent, split_at
from hume_turtle.estimators.hume_fast import Directions

C, B, N, DIM, TRAIN = 4, 5, 30, 6, 15  # B problems, of whose rows 15 train and 6 test


def problems(seed=0, dtype=torch.float64, n=N):
    """Z, starts, soft labels, and masks of the rows that train and test."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    order = torch.stack([torch.randperm(n, generator=generator) for _ in range(B)])
    mask = torch.zeros(B, n, dtype=torch.bool)
    train = Split(mask.scatter(1, order[:, :TRAIN], True), TRAIN)
    test = Split(mask.scatter(1, order[:, TRAIN : TRAIN + 6], True), 6)
    labeling = randn(C, B, n).softmax(0).requires_grad_()
    return (
        labeling,
        HeadSpace(with_constant(randn(n, DIM))),
        0.3 * randn(C, B, DIM + 1),
        train,
        test,
    )


def literal(labeling, space, start, train, test, steps, lr, change=None):
    """Gradient descent by autograd, a problem at a time; both errors, (B,) each.

    The heads are trained as `W_0 + U basisᵀ`; `change` is the basis, the identity by default.
    """
    train_losss, test_losss = [], []
    for b in range(B):
        tau, fits, holds = labeling[:, b], train.rows[b], test.rows[b]
        see = space.rows if change is None else space.rows @ change
        U = torch.zeros(C, see.shape[1], dtype=tau.dtype, requires_grad=True)
        fixed = start[:, b] @ space.rows.T  # (C, n)

        def error(U, rows, tau=tau, fixed=fixed, see=see):
            logits = (fixed + U @ see.T)[:, rows]
            return -(tau[:, rows] * logits.log_softmax(0)).sum(0).mean()

        for _ in range(steps):
            train_loss = error(U, fits)
            U = U - lr * torch.autograd.grad(train_loss, U, create_graph=True)[0]
        train_losss.append(train_loss)
        test_losss.append(error(U, holds))
    return torch.stack(train_losss), torch.stack(test_losss)


def tangent(gradient):
    """Without the constant of each row of data, which labels that sum to one do not see."""
    return gradient - gradient.mean(0)


def check_against_literal(found, expected, labeling, **tolerance):
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)
    weights = torch.arange(1, B + 1, dtype=labeling.dtype)
    ours, theirs = (
        torch.autograd.grad((test * weights).sum(), labeling)[0] for _, test in (found, expected)
    )
    assert theirs.norm() > 0.01
    torch.testing.assert_close(tangent(ours), tangent(theirs), **tolerance)


@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("stored", [1e9, 3000, 1])  # 1: one problem at a time
def test_is_autograd_through_every_step(monkeypatch, steps, stored):
    monkeypatch.setitem(unrolled.STORED_BYTES, "cpu", stored)
    given = problems(steps)
    found = UnrolledDescent(steps, 0.7).generalization_loss(*given)
    assert not found[0].requires_grad
    check_against_literal(found, literal(*given, steps, 0.7), given[0])


def test_the_first_rows_train_and_the_others_test():
    labeling, space, start, *_ = problems()
    rows = torch.arange(N).expand(B, -1)
    masks = Split(rows < 20, 20), Split(rows >= 20, 10)
    found = UnrolledDescent(5, 0.7).generalization_loss(labeling, space, start, *split_at(20, N))
    check_against_literal(found, literal(labeling, space, start, *masks, 5, 0.7), labeling)


def test_starts_keep_what_heads_do_not_learn_in():
    labeling, space, start, train, test = problems()
    directions = Directions(space.rows)
    low = directions.project(space.rows, 3)
    basis = torch.zeros(DIM + 1, 4, dtype=torch.float64)
    basis[:-1, :-1], basis[-1, -1] = directions.vectors[:, -3:], 1
    found = UnrolledDescent(5, 0.7).generalization_loss(labeling, low, start, train, test)
    expected = literal(labeling, space, start, train, test, 5, 0.7, basis)
    check_against_literal(found, expected, labeling)


def test_against_finite_differences():
    labeling, *rest = problems()
    descent = UnrolledDescent(6, 0.8)
    assert torch.autograd.gradcheck(
        lambda tau: descent.generalization_loss(tau, *rest)[1], (labeling,), fast_mode=True
    )


def test_lowers_the_training_error():
    _, space, start, train, test = problems()
    labeling = torch.eye(C, dtype=torch.float64)[torch.arange(N) % C].T[:, None].repeat(1, B, 1)
    errors = [
        UnrolledDescent(steps, 0.1).generalization_loss(labeling, space, start, train, test)[0]
        for steps in (1, 5, 50)
    ]
    assert (torch.stack(errors).diff(dim=0) < 0).all()


def test_many_problems_are_one_problem_many_times(monkeypatch):
    """In blocks of any size, to rounding; and twice the same bits from the same buffers."""
    given = problems(dtype=torch.float32)
    descent = UnrolledDescent(20, 0.3)
    whole = descent.solve(*given)
    assert all(torch.equal(a, b) for a, b in zip(whole, descent.solve(*given), strict=True))
    for stored in (20 * C * N * 4 * 2, 1):
        monkeypatch.setitem(unrolled.STORED_BYTES, "cpu", stored)
        for a, b in zip(whole, descent.solve(*given), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_buffers_serve_blocks_of_other_sizes():
    descent = UnrolledDescent(4, 0.3)
    for n in (20 + TRAIN, 50, 30):
        given = problems(n, n=n)
        check_against_literal(
            descent.generalization_loss(*given), literal(*given, 4, 0.3), given[0]
        )


def test_bfloat16_operands_come_close():
    labeling, space, start, train, test = problems(dtype=torch.float32)
    exact = UnrolledDescent(20, 0.3).solve(labeling, space, start, train, test)
    rough = UnrolledDescent(20, 0.3).solve(labeling, space.to(torch.bfloat16), start, train, test)
    assert all(part.dtype == torch.float32 for part in rough)
    for a, b in zip(exact, rough, strict=True):
        assert 0 < (a - b).norm() < 0.02 * a.norm()


def test_rows_outside_leave_no_trace():
    """Rows in neither part may hold anything: masked, they change nothing."""
    labeling, space, start, train, test = problems(dtype=torch.float32)
    train, test = (Split(part.rows & (torch.arange(N) < 20), part.count) for part in (train, test))
    before = UnrolledDescent(5, 0.3).solve(labeling, space, start, train, test)
    rows = space.rows.clone()
    rows[20:] *= 50
    after = UnrolledDescent(5, 0.3).solve(labeling, HeadSpace(rows), start, train, test)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b)

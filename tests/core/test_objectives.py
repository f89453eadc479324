"""The objectives against the papers' equations, written out, and their gradients."""

from math import log

import pytest
import torch
import torch.nn.functional as F

from hume_turtle.core.objectives import cross_entropy, entropy, hume_objective, turtle_objective


def test_objective_is_the_equation():
    generator = torch.Generator().manual_seed(0)
    labelings = [torch.randn(2, 3, 7, generator=generator).softmax(1) for _ in range(2)]
    logits = [torch.randn(2, 3, 7, generator=generator) for _ in range(2)]
    gamma = torch.tensor([10.0, 0.5])
    loss, error, balance = turtle_objective(labelings, logits, gamma)
    labeling = (labelings[0] + labelings[1]) / 2
    for run in range(2):
        expected_error = sum(F.cross_entropy(z[run].T, labeling[run].T) for z in logits)
        means = [t[run].mean(1) for t in labelings]
        expected_entropy = sum(-(mean * mean.log()).sum() for mean in means)
        torch.testing.assert_close(error[run], expected_error)
        torch.testing.assert_close(balance[run], expected_entropy)
        torch.testing.assert_close(loss[run], expected_error - gamma[run] * expected_entropy)


def test_known_shares_take_the_place_of_the_entropy():
    """−KL(mean τ || π) is 0 where the shares are π, and H − log C for a uniform π."""
    generator = torch.Generator().manual_seed(1)
    labelings = [torch.randn(3, 7, generator=generator).softmax(0)]
    logits = [torch.randn(3, 7, generator=generator)]
    loss, error, balance = turtle_objective(labelings, logits, 10.0, torch.full((3,), 1 / 3).log())
    torch.testing.assert_close(loss, error - 10 * (balance - log(3)))
    shares = labelings[0].mean(1)
    loss, error, _ = turtle_objective(labelings, logits, 10.0, shares.log())
    torch.testing.assert_close(loss, error)


@pytest.mark.parametrize("gamma", [0.0, 10.0])
def test_gradient_of_the_objective(gamma):
    generator = torch.Generator().manual_seed(0)
    z = [torch.randn(2, 3, 6, generator=generator, dtype=torch.float64) for _ in range(4)]
    scores = [s.requires_grad_() for s in z[:2]]
    assert torch.autograd.gradcheck(
        lambda a, b: turtle_objective([a.softmax(1), b.softmax(1)], z[2:], gamma)[0], scores
    )


def test_entropy_of_known_labelings():
    uniform = torch.full((1, 4, 6), 0.25)
    one_class = torch.eye(4)[:1].T.expand(1, 4, 6)
    balanced = torch.eye(4)[None]
    for labeling, expected in ((uniform, log(4)), (one_class, 0.0), (balanced, log(4))):
        torch.testing.assert_close(entropy(labeling.mean(-1)), torch.tensor([expected]))
    logits = torch.zeros(1, 4, 6)
    torch.testing.assert_close(cross_entropy(logits, balanced[..., [0] * 6]).item(), log(4))


def test_entropy_has_a_finite_gradient_at_an_empty_class():
    labeling = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]], requires_grad=True)
    entropy(labeling.mean(-1)).sum().backward()
    assert labeling.grad.isfinite().all()


def test_humes_objective_is_the_equation():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 7, generator=generator)
    labeling = torch.randn(2, 3, 7, generator=generator).softmax(1)
    shares = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    loss, test_loss, balance = hume_objective(logits, labeling, shares, 10.0)
    for run in range(2):
        torch.testing.assert_close(test_loss[run], F.cross_entropy(logits[run].T, labeling[run].T))
    expected = -(0.5 * log(0.5) + 0.3 * log(0.3) + 0.2 * log(0.2))
    torch.testing.assert_close(balance, torch.tensor([expected, 0.0]))
    torch.testing.assert_close(loss, test_loss - 10 * balance)
